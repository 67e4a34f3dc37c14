//! The bare side of Azure Service Bus: sends to a topic with many unsettled, received from a
//! subscription and accepted, with the `fe2o3-amqp` crate.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use bytes::Bytes;
use fe2o3_amqp::{
    Connection, Receiver, Sender, Session,
    connection::ConnectionHandle,
    link::{
        SendError,
        delivery::{Delivery, DeliveryFut},
        receiver::CreditMode,
    },
    sasl_profile::SaslProfile,
    session::SessionHandle,
    types::{
        definitions::{ReceiverSettleMode, SenderSettleMode},
        messaging::{Data, Message, Outcome},
    },
};
use scaleout::servicebus::Bare as Namespace;
use tokio::task::JoinSet;

use super::{AHEAD, Bare, Pair};
use crate::bench::{
    Load,
    round::{Round, Watch},
};

const IN_FLIGHT: usize = 100;
const CREDIT: u32 = 1_000;
/// How many deliveries are accepted at once.
const ACCEPT: usize = 64;
const MAX_FRAME: u32 = 256 << 10;
/// The last message of a topic.
const FENCE: &[u8] = b"end of the round";

pub(in crate::bench) struct Client(Arc<Namespace>);

/// A connection with one session. It ends when it is dropped.
struct Link {
    _connection: ConnectionHandle<()>,
    session: SessionHandle<()>,
}

impl Client {
    pub(in crate::bench) fn open(url: &str) -> anyhow::Result<Self> {
        Ok(Self(Arc::new(Namespace::new(url)?)))
    }

    async fn link(&self) -> anyhow::Result<Link> {
        let Some((policy, key)) = self.0.key() else {
            bail!("the bare client needs a policy and its key");
        };
        let profile = SaslProfile::Plain {
            username: policy.to_owned(),
            password: key.to_owned(),
        };
        // Its own words may repeat the key.
        let mut connection = Connection::builder()
            .container_id("scaleout-bench")
            .hostname(self.0.host())
            .sasl_profile(profile)
            .max_frame_size(MAX_FRAME)
            .open_with_stream(self.0.connect().await?)
            .await
            .ok()
            .context("the bare client cannot connect")?;
        let session = Session::begin(&mut connection).await?;
        Ok(Link {
            _connection: connection,
            session,
        })
    }

    async fn publisher(&self, topic: &str) -> anyhow::Result<Publisher> {
        self.0.create_topic(topic).await?;
        let mut link = self.link().await?;
        let sender = Sender::builder()
            .name("sender")
            .sender_settle_mode(SenderSettleMode::Unsettled)
            .target(topic)
            .attach(&mut link.session)
            .await?;
        Ok(Publisher {
            namespace: self.0.clone(),
            topic: topic.to_owned(),
            sender,
            _link: link,
        })
    }

    async fn subscriber(&self, topic: &str, name: &str) -> anyhow::Result<Subscriber> {
        let address = self.0.create_subscription(topic, name).await?;
        let mut link = self.link().await?;
        let mut builder = Receiver::builder()
            .name("receiver")
            .sender_settle_mode(SenderSettleMode::Unsettled)
            .receiver_settle_mode(ReceiverSettleMode::Second)
            .source(address)
            .credit_mode(CreditMode::Auto(CREDIT))
            .auto_accept(false);
        builder.buffer_size = 2 * CREDIT as usize;
        let receiver = builder.attach(&mut link.session).await?;
        Ok(Subscriber {
            receiver,
            _link: link,
        })
    }

    /// One topic, and the oldest answer awaited once so many are.
    async fn sends(&self, channel: &str, in_flight: usize, load: &Load) -> anyhow::Result<Round> {
        let topic = channel.replace('/', "-");
        let mut publisher = self.publisher(&topic).await?;
        let received = Arc::new(AtomicU64::new(0));
        let mut subscribers = JoinSet::new();
        for number in 0..load.subscribers {
            let subscriber = self.subscriber(&topic, &format!("s{number}")).await?;
            // What the first of them has counted is looked at.
            let shown = if number == 0 {
                received.clone()
            } else {
                Arc::default()
            };
            subscribers.spawn(subscriber.count(shown));
        }
        let watch = Watch::start();
        let until = Instant::now() + load.lasts;
        let mut sent = 0;
        let mut answers = VecDeque::with_capacity(in_flight);
        while Instant::now() < until {
            if sent - received.load(Ordering::Relaxed).min(sent) > AHEAD {
                // The subscriber has work for many times as long.
                tokio::time::sleep(Duration::from_millis(1)).await;
                continue;
            }
            if answers.len() == in_flight
                && let Some(oldest) = answers.pop_front()
            {
                accepted(oldest).await?;
            }
            answers.push_back(publisher.send(&load.payload).await?);
            sent += 1;
        }
        for answer in answers {
            accepted(answer).await?;
        }
        accepted(publisher.send(FENCE).await?).await?;
        let each = subscribers.len() as u64;
        let mut delivered = 0;
        while let Some(counted) = subscribers.join_next().await {
            delivered += counted??;
        }
        let round = watch.stop(delivered / each, sent - delivered / each);
        self.0.delete_topic(&topic).await?;
        Ok(round)
    }
}

impl Bare for Client {
    const BACKEND: &'static str = "servicebus";
    const THROUGHPUT: &'static str = "AMQP sends to a topic, 100 in flight";
    const SINGLE: &'static str = "AMQP sends to a topic, as many in flight";
    type Pair = Ends;

    async fn throughput(&self, channel: &str, load: &Load) -> anyhow::Result<Round> {
        self.sends(channel, IN_FLIGHT, load).await
    }

    async fn single(&self, prefix: &str, channels: usize, load: &Load) -> anyhow::Result<Round> {
        self.sends(prefix, channels, load).await
    }

    async fn pair(&self, channel: &str) -> anyhow::Result<Ends> {
        let topic = channel.replace('/', "-");
        Ok(Ends {
            publisher: self.publisher(&topic).await?,
            subscriber: self.subscriber(&topic, "s").await?,
        })
    }
}

type Answer = DeliveryFut<Result<Outcome, SendError>>;

async fn accepted(answer: Answer) -> anyhow::Result<()> {
    match answer.await? {
        Outcome::Accepted(_) => Ok(()),
        other => bail!("a message was not taken: {other:?}"),
    }
}

struct Publisher {
    namespace: Arc<Namespace>,
    topic: String,
    sender: Sender,
    _link: Link,
}

impl Publisher {
    async fn send(&mut self, payload: &[u8]) -> anyhow::Result<Answer> {
        let message = Message::builder().data(payload.to_vec()).build();
        Ok(self.sender.send_batchable(message).await?)
    }
}

struct Subscriber {
    receiver: Receiver,
    _link: Link,
}

impl Subscriber {
    async fn next(&mut self) -> anyhow::Result<Delivery<Data>> {
        Ok(self.receiver.recv::<Data>().await?)
    }

    /// Counts until the fence.
    async fn count(mut self, shown: Arc<AtomicU64>) -> anyhow::Result<u64> {
        let mut count = 0;
        let mut owed = Vec::with_capacity(ACCEPT);
        loop {
            let delivery = self.next().await?;
            let last = delivery.body().0.as_slice() == FENCE;
            owed.push(delivery);
            if last || owed.len() == ACCEPT {
                self.receiver.accept_all(owed.drain(..)).await?;
            }
            if last {
                return Ok(count);
            }
            count += 1;
            shown.store(count, Ordering::Relaxed);
        }
    }
}

pub(in crate::bench) struct Ends {
    publisher: Publisher,
    subscriber: Subscriber,
}

impl Pair for Ends {
    async fn send(&mut self, payload: &Bytes) -> anyhow::Result<Duration> {
        let started = Instant::now();
        let publish = async { accepted(self.publisher.send(payload).await?).await };
        let deliver = async {
            let delivery = self.subscriber.next().await?;
            let took = started.elapsed();
            self.subscriber.receiver.accept(delivery).await?;
            anyhow::Ok(took)
        };
        let ((), took) = tokio::try_join!(publish, deliver)?;
        Ok(took)
    }
}

impl Drop for Ends {
    fn drop(&mut self) {
        // Nothing is left of it at the service; nobody waits for that.
        let namespace = self.publisher.namespace.clone();
        let topic = std::mem::take(&mut self.publisher.topic);
        tokio::spawn(async move {
            let _ = namespace.delete_topic(&topic).await;
        });
    }
}
