//! The bare side of RabbitMQ: confirmed publishes to a stream queue, consumed with acknowledgements,
//! with the `lapin` crate.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use bytes::Bytes;
use futures_util::StreamExt;
use lapin::{
    BasicProperties, Channel, Connection, ConnectionProperties, Consumer, PublisherConfirm,
    message::Delivery,
    options::{
        BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions,
        ConfirmSelectOptions, QueueDeclareOptions, QueueDeleteOptions,
    },
    types::{AMQPValue, FieldTable},
};
use tokio::task::JoinSet;

use super::{AHEAD, Bare, Pair};
use crate::bench::{
    Load,
    round::{Round, Watch},
};

const IN_FLIGHT: usize = 256;
const PREFETCH: u16 = 2_000;
/// How many deliveries are acknowledged at once.
const ACK: u64 = 500;
/// The last message of a stream.
const FENCE: &[u8] = b"end of the round";

pub(in crate::bench) struct Client(String);

impl Client {
    pub(in crate::bench) fn open(url: &str) -> anyhow::Result<Self> {
        // The query holds options of the library, which the bare client would not know, and the slash
        // at the end is a virtual host without a name to it.
        let (base, _) = scaleout::Query::split(url)?;
        Ok(Self(base.trim_end_matches('/').to_owned()))
    }

    async fn channel(&self) -> anyhow::Result<(Connection, Channel)> {
        // Its own words may repeat the URL's password.
        let connection = Connection::connect(&self.0, ConnectionProperties::default()).await;
        let connection = connection.ok().context("the bare client cannot connect")?;
        let channel = connection.create_channel().await?;
        Ok((connection, channel))
    }

    async fn publisher(&self, stream: &str) -> anyhow::Result<Publisher> {
        let (connection, channel) = self.channel().await?;
        channel
            .confirm_select(ConfirmSelectOptions::default())
            .await?;
        let mut arguments = FieldTable::default();
        arguments.insert(
            "x-queue-type".into(),
            AMQPValue::LongString("stream".into()),
        );
        let options = QueueDeclareOptions {
            durable: true,
            ..QueueDeclareOptions::default()
        };
        channel
            .queue_declare(stream.into(), options, arguments)
            .await?;
        Ok(Publisher {
            _connection: Arc::new(connection),
            channel,
            stream: stream.to_owned(),
        })
    }

    async fn subscriber(&self, stream: &str) -> anyhow::Result<Subscriber> {
        let (connection, channel) = self.channel().await?;
        channel
            .basic_qos(PREFETCH, BasicQosOptions::default())
            .await?;
        let mut arguments = FieldTable::default();
        arguments.insert(
            "x-stream-offset".into(),
            AMQPValue::LongString("next".into()),
        );
        let options = BasicConsumeOptions::default();
        let consumer = channel.basic_consume(stream.into(), "".into(), options, arguments);
        let consumer = consumer.await?;
        // RabbitMQ confirms a consumer before it looks where `next` is.
        channel
            .basic_qos(PREFETCH, BasicQosOptions::default())
            .await?;
        Ok(Subscriber {
            _connection: connection,
            channel,
            consumer,
        })
    }

    /// Subscribers that count until the fence. The number is what the first of them has counted.
    async fn subscribe(
        &self,
        stream: &str,
        subscribers: usize,
    ) -> anyhow::Result<(Arc<AtomicU64>, JoinSet<anyhow::Result<u64>>)> {
        let received = Arc::new(AtomicU64::new(0));
        let mut tasks = JoinSet::new();
        for number in 0..subscribers {
            let mut subscriber = self.subscriber(stream).await?;
            let shown = if number == 0 {
                received.clone()
            } else {
                Arc::default()
            };
            tasks.spawn(async move {
                let mut count = 0;
                loop {
                    let delivery = subscriber.next().await?;
                    if delivery.data == FENCE {
                        return Ok(count);
                    }
                    count += 1;
                    shown.store(count, Ordering::Relaxed);
                    if count % ACK == 0 {
                        subscriber.ack(delivery.delivery_tag).await?;
                    }
                }
            });
        }
        Ok((received, tasks))
    }
}

impl Bare for Client {
    const BACKEND: &'static str = "rabbitmq";
    const THROUGHPUT: &'static str = "confirmed publishes to a stream, 256 in flight";
    const SINGLE: &'static str = "confirmed publishes to a stream, as many in flight";
    type Pair = Ends;

    /// One channel, and the oldest confirmation awaited once 256 are.
    async fn throughput(&self, channel: &str, load: &Load) -> anyhow::Result<Round> {
        let publisher = self.publisher(channel).await?;
        let (received, subscribers) = self.subscribe(channel, load.subscribers).await?;
        let watch = Watch::start();
        let until = Instant::now() + load.lasts;
        let mut sent = 0;
        let mut confirms = VecDeque::with_capacity(IN_FLIGHT);
        while Instant::now() < until {
            if sent - received.load(Ordering::Relaxed).min(sent) > AHEAD {
                // The subscriber has work for many times as long.
                tokio::time::sleep(Duration::from_millis(1)).await;
                continue;
            }
            if confirms.len() == IN_FLIGHT
                && let Some(oldest) = confirms.pop_front()
            {
                confirmed(oldest).await?;
            }
            confirms.push_back(publisher.send(&load.payload).await?);
            sent += 1;
        }
        for confirm in confirms {
            confirmed(confirm).await?;
        }
        finish(watch, publisher, sent, subscribers).await
    }

    /// One channel, and as many tasks that each await a confirmation.
    async fn single(&self, prefix: &str, channels: usize, load: &Load) -> anyhow::Result<Round> {
        let publisher = self.publisher(prefix).await?;
        let (_, subscribers) = self.subscribe(prefix, load.subscribers).await?;
        let stop = Arc::new(AtomicBool::new(false));
        let watch = Watch::start();
        let mut senders = JoinSet::new();
        for _ in 0..channels {
            let (publisher, load, stop) = (publisher.clone(), load.clone(), stop.clone());
            senders.spawn(async move {
                let mut sent = 0;
                while !stop.load(Ordering::Relaxed) {
                    confirmed(publisher.send(&load.payload).await?).await?;
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
        finish(watch, publisher, sent, subscribers).await
    }

    async fn pair(&self, channel: &str) -> anyhow::Result<Ends> {
        Ok(Ends {
            publisher: self.publisher(channel).await?,
            subscriber: self.subscriber(channel).await?,
        })
    }
}

async fn finish(
    watch: Watch,
    publisher: Publisher,
    sent: u64,
    mut subscribers: JoinSet<anyhow::Result<u64>>,
) -> anyhow::Result<Round> {
    confirmed(publisher.send(FENCE).await?).await?;
    let each = subscribers.len() as u64;
    let mut delivered = 0;
    while let Some(result) = subscribers.join_next().await {
        delivered += result??;
    }
    let round = watch.stop(delivered / each, sent - delivered / each);
    let options = QueueDeleteOptions::default();
    let stream = publisher.stream.as_str();
    publisher
        .channel
        .queue_delete(stream.into(), options)
        .await?;
    Ok(round)
}

async fn confirmed(confirm: PublisherConfirm) -> anyhow::Result<()> {
    ensure!(confirm.await?.is_ack(), "a publish was not confirmed");
    Ok(())
}

#[derive(Clone)]
struct Publisher {
    _connection: Arc<Connection>,
    channel: Channel,
    stream: String,
}

impl Publisher {
    async fn send(&self, payload: &[u8]) -> anyhow::Result<PublisherConfirm> {
        let options = BasicPublishOptions {
            mandatory: true,
            ..BasicPublishOptions::default()
        };
        let (stream, properties) = (self.stream.as_str().into(), BasicProperties::default());
        let publish = self
            .channel
            .basic_publish("".into(), stream, options, payload, properties);
        Ok(publish.await?)
    }
}

struct Subscriber {
    _connection: Connection,
    channel: Channel,
    consumer: Consumer,
}

impl Subscriber {
    async fn next(&mut self) -> anyhow::Result<Delivery> {
        let delivery = self.consumer.next().await;
        Ok(delivery.context("the subscriber was cut off")??)
    }

    async fn ack(&self, tag: u64) -> anyhow::Result<()> {
        let all = BasicAckOptions { multiple: true };
        Ok(self.channel.basic_ack(tag, all).await?)
    }
}

pub(in crate::bench) struct Ends {
    publisher: Publisher,
    subscriber: Subscriber,
}

impl Pair for Ends {
    async fn send(&mut self, payload: &Bytes) -> anyhow::Result<Duration> {
        let started = Instant::now();
        let publish = async { confirmed(self.publisher.send(payload).await?).await };
        let deliver = async {
            let delivery = self.subscriber.next().await?;
            let took = started.elapsed();
            self.subscriber.ack(delivery.delivery_tag).await?;
            anyhow::Ok(took)
        };
        let ((), took) = tokio::try_join!(publish, deliver)?;
        Ok(took)
    }
}

impl Drop for Ends {
    fn drop(&mut self) {
        // Nothing is left of it at the broker; nobody waits for that.
        let Publisher {
            channel, stream, ..
        } = self.publisher.clone();
        tokio::spawn(async move {
            let options = QueueDeleteOptions::default();
            let _ = channel.queue_delete(stream.as_str().into(), options).await;
        });
    }
}
