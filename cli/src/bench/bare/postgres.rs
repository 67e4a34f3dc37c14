//! The bare side of PostgreSQL: rows, `NOTIFY` and `LISTEN` with the `tokio-postgres` crate.

use std::{
    future::poll_fn,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::Context;
use bytes::Bytes;
use futures_util::future::try_join_all;
use tokio::{sync::mpsc, task::JoinSet};
use tokio_postgres::{AsyncMessage, Config, NoTls, Notification};

use super::{AHEAD, Bare, Pair};
use crate::bench::{
    Load,
    round::{Round, Watch},
};

/// Rows in a transaction where throughput counts.
const ROWS: usize = 64;
/// Connections that send such transactions. More are not faster: what notifies commits one after
/// the other.
const SENDERS: usize = 4;
/// Connections that send one row in a transaction each.
const SINGLE_SENDERS: usize = 64;
/// The last message of a channel.
const FENCE: &str = "end of the round";

const TABLE: &str = "CREATE TABLE IF NOT EXISTS scaleout_bench_bare
    (id bigserial PRIMARY KEY, channel text NOT NULL, body text NOT NULL)";
const DROP_TABLE: &str = "DROP TABLE IF EXISTS scaleout_bench_bare";
/// A row and its notification for each body, in one transaction.
const SEND: &str = "WITH sent AS (
    INSERT INTO scaleout_bench_bare (channel, body) SELECT $1, body FROM unnest($2::text[]) AS body
    RETURNING body
) SELECT count(pg_notify($1, body)) FROM sent";

pub(in crate::bench) struct Client(Config);

impl Client {
    pub(in crate::bench) fn open(url: &str) -> anyhow::Result<Self> {
        // The query holds options of the library, which the bare client would not know.
        let (base, _) = scaleout::Query::split(url)?;
        // The library has read this URL before, so what is wrong with it has been said, and the
        // client's own words may repeat its password.
        let config = base.parse().ok();
        Ok(Self(config.context("the bare client refuses the URL")?))
    }

    async fn connection(&self) -> anyhow::Result<tokio_postgres::Client> {
        let connected = self.0.connect(NoTls).await;
        let (client, driver) = connected.context("the bare client cannot connect")?;
        tokio::spawn(driver);
        Ok(client)
    }

    /// A connection that listens, and what it hears.
    async fn listen(&self, channels: &[String]) -> anyhow::Result<Listening> {
        let connected = self.0.connect(NoTls).await;
        let (client, mut driver) = connected.context("the bare client cannot connect")?;
        let (send, heard) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Some(Ok(message)) = poll_fn(|cx| driver.poll_message(cx)).await {
                if let AsyncMessage::Notification(notification) = message
                    && send.send(notification).is_err()
                {
                    return;
                }
            }
        });
        let commands: String = channels
            .iter()
            .map(|channel| format!("LISTEN \"{channel}\";"))
            .collect();
        client.batch_execute(&commands).await?;
        Ok(Listening { client, heard })
    }

    /// Subscribers that count until they have the fence of every channel. The number is what the
    /// first of them has counted so far.
    async fn subscribe(
        &self,
        channels: &[String],
        subscribers: usize,
    ) -> anyhow::Result<(Arc<AtomicU64>, JoinSet<anyhow::Result<u64>>)> {
        let received = Arc::new(AtomicU64::new(0));
        let mut tasks = JoinSet::new();
        for number in 0..subscribers {
            let mut listening = self.listen(channels).await?;
            let mut fences = channels.len();
            let shown = match number {
                0 => received.clone(),
                _ => Arc::default(),
            };
            tasks.spawn(async move {
                let mut count = 0;
                while fences > 0 {
                    if listening.next().await?.payload() == FENCE {
                        fences -= 1;
                    } else {
                        count += 1;
                        shown.store(count, Ordering::Relaxed);
                    }
                }
                Ok(count)
            });
        }
        Ok((received, tasks))
    }

    /// What senders and subscribers have done, once the fences have arrived.
    async fn finish(
        &self,
        watch: Watch,
        channels: &[String],
        sent: u64,
        mut subscribers: JoinSet<anyhow::Result<u64>>,
    ) -> anyhow::Result<Round> {
        let client = self.connection().await?;
        for channel in channels {
            let notify = "SELECT pg_notify($1, $2)";
            client.query_one(notify, &[channel, &FENCE]).await?;
        }
        let each = subscribers.len() as u64;
        let mut delivered = 0;
        while let Some(result) = subscribers.join_next().await {
            delivered += result??;
        }
        let round = watch.stop(delivered / each, sent - delivered / each);
        client.batch_execute(DROP_TABLE).await?;
        Ok(round)
    }
}

impl Bare for Client {
    const BACKEND: &'static str = "postgres";
    const THROUGHPUT: &'static str = "INSERT and pg_notify, 64 rows per transaction, 4 in flight";
    const SINGLE: &'static str = "INSERT and pg_notify, one row per transaction, 64 in flight";
    type Pair = Connections;

    async fn throughput(&self, channel: &str, load: &Load) -> anyhow::Result<Round> {
        let channels = [name(channel)];
        self.connection().await?.batch_execute(TABLE).await?;
        let (received, subscribers) = self.subscribe(&channels, load.subscribers).await?;
        let clients = try_join_all((0..SENDERS).map(|_| self.connection())).await?;
        let sent = Arc::new(AtomicU64::new(0));
        let watch = Watch::start();
        let until = Instant::now() + load.lasts;
        let mut senders = JoinSet::new();
        for client in clients {
            let (received, sent) = (received.clone(), sent.clone());
            let (channel, load) = (channels[0].clone(), load.clone());
            senders.spawn(async move {
                let statement = client.prepare(SEND).await?;
                while Instant::now() < until {
                    let ahead = sent
                        .load(Ordering::Relaxed)
                        .saturating_sub(received.load(Ordering::Relaxed));
                    if ahead > AHEAD {
                        tokio::time::sleep(Duration::from_millis(1)).await;
                        continue;
                    }
                    let first = sent.fetch_add(ROWS as u64, Ordering::Relaxed);
                    let rows = (first..)
                        .take(ROWS)
                        .map(|number| body(number, &load.payload));
                    let bodies: Vec<String> = rows.collect();
                    client.query_one(&statement, &[&channel, &bodies]).await?;
                }
                anyhow::Ok(())
            });
        }
        while let Some(result) = senders.join_next().await {
            result??;
        }
        let sent = sent.load(Ordering::Relaxed);
        self.finish(watch, &channels, sent, subscribers).await
    }

    async fn single(&self, prefix: &str, channels: usize, load: &Load) -> anyhow::Result<Round> {
        let channels: Vec<String> = (0..channels)
            .map(|number| name(&format!("{prefix}/{number}")))
            .collect();
        self.connection().await?.batch_execute(TABLE).await?;
        let (_, subscribers) = self.subscribe(&channels, load.subscribers).await?;
        let clients = try_join_all((0..SINGLE_SENDERS).map(|_| self.connection())).await?;
        let stop = Arc::new(AtomicBool::new(false));
        let watch = Watch::start();
        let mut senders = JoinSet::new();
        for (number, client) in clients.into_iter().enumerate() {
            // Each connection has channels of its own, and takes turns among them.
            let mine = channels.iter().skip(number).step_by(SINGLE_SENDERS);
            let mine: Vec<String> = mine.cloned().collect();
            let (load, stop) = (load.clone(), stop.clone());
            senders.spawn(async move {
                let statement = client.prepare(SEND).await?;
                let mut sent = 0;
                for channel in mine.iter().cycle() {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    let bodies = [body(sent, &load.payload)];
                    client
                        .query_one(&statement, &[channel, &&bodies[..]])
                        .await?;
                    sent += 1;
                }
                anyhow::Ok(sent)
            });
        }
        tokio::time::sleep(load.lasts).await;
        stop.store(true, Ordering::Relaxed);
        let mut sent = 0;
        while let Some(result) = senders.join_next().await {
            sent += result??;
        }
        self.finish(watch, &channels, sent, subscribers).await
    }

    async fn pair(&self, channel: &str) -> anyhow::Result<Connections> {
        let channel = name(channel);
        let publisher = self.connection().await?;
        publisher.batch_execute(TABLE).await?;
        Ok(Connections {
            statement: publisher.prepare(SEND).await?,
            subscriber: self.listen(std::slice::from_ref(&channel)).await?,
            publisher,
            channel,
            sent: 0,
        })
    }
}

/// Identifiers are cut at 63 bytes.
fn name(channel: &str) -> String {
    let tail = channel.len().saturating_sub(60);
    channel[tail..].to_owned()
}

/// Equal notifications of a transaction fold into one, so each has a number.
fn body(number: u64, payload: &Bytes) -> String {
    format!("{number:012}{}", String::from_utf8_lossy(payload))
}

struct Listening {
    /// The connection ends with it.
    #[expect(dead_code, reason = "held, not used")]
    client: tokio_postgres::Client,
    heard: mpsc::UnboundedReceiver<Notification>,
}

impl Listening {
    async fn next(&mut self) -> anyhow::Result<Notification> {
        let next = self.heard.recv().await;
        next.context("the subscriber was cut off")
    }
}

pub(in crate::bench) struct Connections {
    publisher: tokio_postgres::Client,
    statement: tokio_postgres::Statement,
    subscriber: Listening,
    channel: String,
    sent: u64,
}

impl Pair for Connections {
    async fn send(&mut self, payload: &Bytes) -> anyhow::Result<Duration> {
        self.sent += 1;
        let bodies = [body(self.sent, payload)];
        let started = Instant::now();
        let publish = async {
            self.publisher
                .query_one(&self.statement, &[&self.channel, &&bodies[..]])
                .await?;
            Ok(())
        };
        let deliver = async {
            self.subscriber.next().await?;
            anyhow::Ok(started.elapsed())
        };
        let ((), took) = tokio::try_join!(publish, deliver)?;
        Ok(took)
    }
}
