//! The bare side of Redis: `PUBLISH` and `SUBSCRIBE` of the `redis` crate.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::Context;
use bytes::Bytes;
use futures_util::StreamExt;
use redis::{AsyncCommands, aio::MultiplexedConnection};
use tokio::task::JoinSet;

use super::{AHEAD, Bare, Pair};
use crate::bench::{
    Load,
    round::{Round, Watch},
};

const PIPELINE: usize = 256;
const PIPELINES_IN_FLIGHT: usize = 2;
/// The last message of a channel; those before it have arrived, as one connection sent them all.
const FENCE: &str = "end of the round";

pub(in crate::bench) struct Client(redis::Client);

impl Client {
    pub(in crate::bench) fn open(url: &str) -> anyhow::Result<Self> {
        // The query holds options of the library, which the bare client would not know.
        let (base, _) = scaleout::Query::split(url)?;
        // The library has read this URL before, so what is wrong with it has been said, and the
        // client's own words may repeat its password.
        let client = redis::Client::open(base)
            .ok()
            .context("the bare client refuses the URL")?;
        Ok(Self(client))
    }

    async fn connection(&self) -> anyhow::Result<MultiplexedConnection> {
        let connection = self.0.get_multiplexed_async_connection().await;
        connection.context("the bare client cannot connect")
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
            let mut connection = self.0.get_async_pubsub().await?;
            for channel in channels {
                connection.subscribe(channel).await?;
            }
            let mut fences = channels.len();
            let shown = if number == 0 {
                received.clone()
            } else {
                Arc::default()
            };
            tasks.spawn(async move {
                let mut messages = connection.into_on_message();
                let mut count = 0;
                while fences > 0 {
                    let message = messages
                        .next()
                        .await
                        .context("the subscriber was cut off")?;
                    if message.get_payload_bytes() == FENCE.as_bytes() {
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
}

impl Bare for Client {
    const BACKEND: &'static str = "redis";
    const THROUGHPUT: &'static str = "PUBLISH in pipelines of 256, two in flight";
    const SINGLE: &'static str = "PUBLISH on one multiplexed connection, as many in flight";
    type Pair = Connections;

    /// One connection sends pipelines.
    async fn throughput(&self, channel: &str, load: &Load) -> anyhow::Result<Round> {
        let connection = self.connection().await?;
        let channels = [channel.to_owned()];
        let (received, subscribers) = self.subscribe(&channels, load.subscribers).await?;

        let mut pipeline = redis::pipe();
        for _ in 0..PIPELINE {
            pipeline.publish(channel, &load.payload[..]).ignore();
        }
        let pipeline = Arc::new(pipeline);
        let sent = Arc::new(AtomicU64::new(0));
        let watch = Watch::start();
        let until = Instant::now() + load.lasts;
        let mut senders = JoinSet::new();
        for _ in 0..PIPELINES_IN_FLIGHT {
            let (mut connection, pipeline) = (connection.clone(), pipeline.clone());
            let (received, sent) = (received.clone(), sent.clone());
            senders.spawn(async move {
                while Instant::now() < until {
                    let ahead = sent
                        .load(Ordering::Relaxed)
                        .saturating_sub(received.load(Ordering::Relaxed));
                    if ahead > AHEAD {
                        // The subscriber has work for many times as long.
                        tokio::time::sleep(Duration::from_millis(1)).await;
                        continue;
                    }
                    sent.fetch_add(PIPELINE as u64, Ordering::Relaxed);
                    pipeline.exec_async(&mut connection).await?;
                }
                anyhow::Ok(())
            });
        }
        while let Some(result) = senders.join_next().await {
            result??;
        }
        finish(
            watch,
            connection,
            &channels,
            sent.load(Ordering::Relaxed),
            subscribers,
        )
        .await
    }

    /// One multiplexed connection, and for each channel a task that awaits its answer.
    async fn single(&self, prefix: &str, channels: usize, load: &Load) -> anyhow::Result<Round> {
        let connection = self.connection().await?;
        let channels: Vec<String> = (0..channels).map(|n| format!("{prefix}/{n}")).collect();
        let (_, subscribers) = self.subscribe(&channels, load.subscribers).await?;

        let stop = Arc::new(AtomicBool::new(false));
        let watch = Watch::start();
        let mut senders = JoinSet::new();
        for channel in channels.clone() {
            let (mut connection, load, stop) = (connection.clone(), load.clone(), stop.clone());
            senders.spawn(async move {
                let mut sent = 0;
                while !stop.load(Ordering::Relaxed) {
                    let _: u64 = connection.publish(&channel, &load.payload[..]).await?;
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
        finish(watch, connection, &channels, sent, subscribers).await
    }

    async fn pair(&self, channel: &str) -> anyhow::Result<Connections> {
        let mut subscriber = self.0.get_async_pubsub().await?;
        subscriber.subscribe(channel).await?;
        Ok(Connections {
            publisher: self.connection().await?,
            subscriber,
            channel: channel.to_owned(),
        })
    }
}

async fn finish(
    watch: Watch,
    mut connection: MultiplexedConnection,
    channels: &[String],
    sent: u64,
    mut subscribers: JoinSet<anyhow::Result<u64>>,
) -> anyhow::Result<Round> {
    for channel in channels {
        let _: u64 = connection.publish(channel, FENCE).await?;
    }
    let each = subscribers.len() as u64;
    let mut delivered = 0;
    while let Some(result) = subscribers.join_next().await {
        delivered += result??;
    }
    Ok(watch.stop(delivered / each, sent - delivered / each))
}

pub(in crate::bench) struct Connections {
    publisher: MultiplexedConnection,
    subscriber: redis::aio::PubSub,
    channel: String,
}

impl Pair for Connections {
    async fn send(&mut self, payload: &Bytes) -> anyhow::Result<Duration> {
        let started = Instant::now();
        let publish = async {
            let _: u64 = self.publisher.publish(&self.channel, &payload[..]).await?;
            Ok(())
        };
        let mut messages = self.subscriber.on_message();
        let deliver = async {
            messages
                .next()
                .await
                .context("the subscriber was cut off")?;
            anyhow::Ok(started.elapsed())
        };
        let ((), took) = tokio::try_join!(publish, deliver)?;
        Ok(took)
    }
}
