//! Who is connected, who is in which group, and how what is sent to them reaches them on every node.
//!
//! `manager` knows this node's connections; `topics` maps targets to topics; `envelope` is what
//! travels on those; `follow` reads them. This module joins the four: a send publishes an envelope,
//! and every node that has somebody to deliver it to, this one included, finds it in its
//! subscription. What is meant for one connection of this node takes the short way.
//!
//! `cluster` keeps account of the other nodes (`peers`) with `control` messages, and by them asks what
//! only another node can do (`asking`). `membership` is joining, leaving and resuming.
//! `lost` tells the application what its clients have missed.

mod asking;
mod cluster;
mod control;
mod envelope;
mod follow;
mod lost;
mod manager;
mod membership;
mod outgoing;
mod peers;
mod sending;
mod topics;
mod waiting;

use std::{
    fmt,
    sync::{Arc, Mutex},
};

use futures_util::future::try_join3;
use tokio::time::Instant;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub(super) use self::{
    asking::Answered, lost::OnLost, membership::parse_cursor, outgoing::Outgoing,
};
use self::{
    control::Reply, envelope::Envelope, follow::Heard, manager::Manager, peers::Peers,
    topics::Topics, waiting::Waiting,
};
pub use self::{
    lost::{Lost, LostReason},
    membership::{Member, Resumed},
};
use super::{
    connection::Connection,
    id::{ConnectionId, NodeTag},
    options::HubOptions,
    protocol::Outcome,
};
use crate::{Backplane, Cursor, Entry, Error, ErrorKind, Health, Result, Start, Topic};

/// One hub's share of this node, and its line to the others.
#[derive(Clone)]
pub(super) struct Lifetime {
    inner: Arc<Inner>,
}

struct Inner {
    name: String,
    backplane: Backplane,
    options: HubOptions,
    topics: Topics,
    node: NodeTag,
    /// Whether clients can connect here.
    serves: bool,
    on_lost: Option<OnLost>,
    manager: Manager,
    peers: Mutex<Peers>,
    /// Questions to clients of this node.
    questions: Waiting<ConnectionId, Outcome>,
    /// Requests to other nodes; each reply tells whose it is.
    requests: Waiting<(), (String, Reply)>,
    /// The tasks that follow topics, and what ends them.
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Lifetime {
    /// Subscribes to what concerns this node. One that does not serve clients subscribes only to what
    /// other nodes tell it.
    pub(super) async fn start(
        backplane: &Backplane,
        name: &str,
        options: HubOptions,
        serves: bool,
        on_lost: Option<OnLost>,
    ) -> Result<Self> {
        let topics = Topics::new(name)?;
        let node = NodeTag::random();
        let (all, own, nodes) = (topics.all()?, topics.own(&node)?, topics.nodes()?);
        let (all_subscription, own_subscription, nodes_subscription) = try_join3(
            async {
                if serves {
                    backplane.subscribe(&all, Start::Latest).await.map(Some)
                } else {
                    Ok(None)
                }
            },
            backplane.subscribe(&own, Start::Latest),
            backplane.subscribe(&nodes, Start::Latest),
        )
        .await?;
        let peers = Peers::new(Instant::now(), options.node_timeout);
        let lifetime = Self {
            inner: Arc::new(Inner {
                name: name.to_owned(),
                backplane: backplane.clone(),
                options,
                topics,
                node,
                serves,
                on_lost,
                manager: Manager::default(),
                peers: Mutex::new(peers),
                questions: Waiting::default(),
                requests: Waiting::default(),
                tasks: TaskTracker::new(),
                stop: CancellationToken::new(),
            }),
        };
        if let Some(subscription) = all_subscription {
            lifetime.follow(all, subscription, |this, topic, entry| {
                if let Some((envelope, message)) = open(topic, entry) {
                    let manager = &this.inner.manager;
                    manager.deliver_to_all(&message, &envelope.except);
                }
            });
        }
        lifetime.follow(own, own_subscription, |this, topic, entry| {
            if control_body(entry).is_some() {
                this.heard_control(topic, entry);
            } else if let Some((envelope, message)) = open(topic, entry) {
                this.inner.manager.deliver_to_some(&envelope.to, &message);
            }
        });
        lifetime.follow(nodes, nodes_subscription, Self::heard_control);
        // From here on the others count with this node, and this one soon hears of them.
        lifetime.beat(true).await?;
        let this = lifetime.clone();
        lifetime.spawn(async move { this.keep_beating().await });
        Ok(lifetime)
    }

    /// The hub's name.
    pub(super) fn name(&self) -> &str {
        &self.inner.name
    }

    pub(super) fn node(&self) -> &NodeTag {
        &self.inner.node
    }

    pub(super) fn health(&self) -> Health {
        self.inner.backplane.health()
    }

    pub(super) fn options(&self) -> &HubOptions {
        &self.inner.options
    }

    pub(super) fn connections(&self) -> usize {
        self.inner.manager.count()
    }

    /// Ends all tasks, and waits until they are gone.
    pub(super) async fn close(&self) {
        if !self.inner.stop.is_cancelled() {
            self.say_goodbye().await;
        }
        self.stop();
        self.inner.tasks.wait().await;
    }

    /// Ends all tasks without waiting.
    pub(super) fn stop(&self) {
        self.inner.stop.cancel();
        self.inner.tasks.close();
    }

    fn is_stopped(&self) -> bool {
        self.inner.stop.is_cancelled()
    }

    /// Runs `take` for every message of a topic.
    fn follow(
        &self,
        topic: Topic,
        subscription: crate::Subscription,
        take: impl Fn(&Self, &Topic, &Entry) + Send + Sync + 'static,
    ) {
        let this = self.clone();
        self.spawn(async move {
            let hear = |heard: Heard<'_>| match heard {
                Heard::Message(entry) => take(&this, &topic, entry),
                Heard::Lost(..) => this.report_loss(&topic, &heard),
            };
            follow::follow(&this.inner.backplane, &topic, subscription, hear).await;
        });
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let stop = self.inner.stop.clone();
        self.inner.tasks.spawn(async move {
            stop.run_until_cancelled(task).await;
        });
    }
}

impl fmt::Debug for Lifetime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lifetime")
            .field("hub", &self.inner.name)
            .field("node", &self.inner.node)
            .finish_non_exhaustive()
    }
}

/// What is behind the version byte of a control message; `None` if this is none.
fn control_body(entry: &Entry) -> Option<bytes::Bytes> {
    let payload = entry.payload();
    (payload.first() == Some(&control::VERSION)).then(|| payload.slice(1..))
}

/// Reads an envelope. One that cannot be read is logged, counted and skipped.
fn open(topic: &Topic, entry: &Entry) -> Option<(Envelope, Outgoing)> {
    match Envelope::decode(entry.payload().clone()) {
        Ok(mut envelope) => {
            let target = std::mem::take(&mut envelope.target);
            let arguments = std::mem::take(&mut envelope.arguments);
            let cursor: Option<Cursor> = Some(entry.cursor());
            Some((envelope, Outgoing::received(target, arguments, cursor)))
        }
        Err(error) => {
            unreadable(topic, &error);
            None
        }
    }
}

fn unreadable(topic: &Topic, error: &dyn fmt::Display) {
    metrics::counter!("scaleout_hub_unreadable_total").increment(1);
    tracing::warn!(%topic, %error, "a message on a hub's topic was skipped");
}

fn closed() -> Error {
    Error::new(ErrorKind::Closed, "the hub was closed")
}
