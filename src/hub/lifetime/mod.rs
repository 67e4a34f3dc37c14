//! Who is connected, who is in which group, and how what is sent to them reaches them on every node.
//!
//! `manager` knows this node's connections; `topics` maps targets to topics; `envelope` is what
//! travels on those; `follow` reads them. This module joins the four: a send publishes an envelope,
//! and every node that has somebody to deliver it to, this one included, finds it in its
//! subscription. What is meant for one connection of this node takes the short way.

mod envelope;
mod follow;
mod manager;
mod outgoing;
mod topics;

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use futures_util::future::{join, join_all, try_join};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub(super) use self::outgoing::Outgoing;
use self::{
    envelope::Envelope,
    manager::{Liveness, Manager, Subscribe},
    topics::Topics,
};
use super::{
    clients::To,
    connection::Connection,
    id::{ConnectionId, NodeTag},
};
use crate::{Backplane, Error, ErrorKind, Result, Start, Topic};

/// One hub's share of this node, and its line to the others.
#[derive(Clone, Debug)]
pub(super) struct Lifetime {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    backplane: Backplane,
    topics: Topics,
    node: NodeTag,
    manager: Manager,
    /// The tasks that follow topics, and what ends them.
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Lifetime {
    /// Subscribes to what everybody gets and to what single connections of this node get.
    pub(super) async fn start(backplane: &Backplane, hub: &str) -> Result<Self> {
        let topics = Topics::new(hub)?;
        let node = NodeTag::random();
        let (all, own) = (topics.all()?, topics.own(&node)?);
        let (all_subscription, own_subscription) = try_join(
            backplane.subscribe(&all, Start::Latest),
            backplane.subscribe(&own, Start::Latest),
        )
        .await?;
        let lifetime = Self {
            inner: Arc::new(Inner {
                backplane: backplane.clone(),
                topics,
                node,
                manager: Manager::default(),
                tasks: TaskTracker::new(),
                stop: CancellationToken::new(),
            }),
        };
        let this = lifetime.clone();
        lifetime.spawn(async move {
            follow::follow(&this.inner.backplane, &all, all_subscription, |payload| {
                if let Some((envelope, message)) = open(&all, payload) {
                    this.inner
                        .manager
                        .deliver_to_all(&message, &envelope.except);
                }
            })
            .await;
        });
        let this = lifetime.clone();
        lifetime.spawn(async move {
            follow::follow(&this.inner.backplane, &own, own_subscription, |payload| {
                if let Some((envelope, message)) = open(&own, payload) {
                    this.inner.manager.deliver_to_some(&envelope.to, &message);
                }
            })
            .await;
        });
        Ok(lifetime)
    }

    pub(super) fn node(&self) -> &NodeTag {
        &self.inner.node
    }

    pub(super) fn connections(&self) -> usize {
        self.inner.manager.count()
    }

    /// From now on the connection gets what is sent to it.
    pub(super) fn connect(&self, connection: &Arc<Connection>) {
        self.inner.manager.connect(connection);
    }

    /// From now on it gets nothing, and is in no group.
    pub(super) fn disconnect(&self, connection: &Connection) {
        self.inner.manager.disconnect(connection.id());
    }

    pub(super) async fn join(&self, connection: &Arc<Connection>, group: &str) -> Result<()> {
        let topic = self.inner.topics.group(group)?;
        let Some(joined) = self.inner.manager.join(connection.id(), group) else {
            return Ok(());
        };
        let mut live = joined.live;
        if let Some(subscribe) = joined.subscribe {
            let (this, name) = (self.clone(), group.to_owned());
            self.spawn(async move { this.follow_group(topic, &name, subscribe).await });
        }
        let mut undo = Undo {
            manager: &self.inner.manager,
            connection: connection.id(),
            name: group,
            group: joined.group,
            // A membership that was there before this call outlives its failure.
            armed: joined.new,
        };
        let outcome = match live
            .wait_for(|state| !matches!(state, Liveness::Pending))
            .await
        {
            Ok(state) => match &*state {
                Liveness::Failed(error) => Err(error.duplicate()),
                _ => Ok(()),
            },
            Err(_) if self.inner.stop.is_cancelled() => Err(closed()),
            // Everybody has left the group meanwhile, this connection too.
            Err(_) => Ok(()),
        };
        undo.armed &= outcome.is_err();
        outcome
    }

    pub(super) fn leave(&self, connection: &Connection, group: &str) {
        self.inner.manager.leave(connection.id(), group);
    }

    pub(super) async fn send(&self, to: &To, message: Outgoing) -> Result<()> {
        match to {
            To::All { except } => {
                let topic = self.inner.topics.all()?;
                self.publish(topic, &self.envelope(&message, except, &[]))
                    .await
            }
            To::Groups { names, except } => {
                let envelope = self.envelope(&message, except, &[]);
                let sends = names.iter().map(|name| async {
                    self.publish(self.inner.topics.group(name)?, &envelope)
                        .await
                });
                join_all(sends).await.into_iter().collect()
            }
            To::Connections(ids) => self.send_to_some(ids, &message).await,
            To::Caller(connection) => {
                deliver_here(connection, &message).await;
                Ok(())
            }
        }
    }

    /// Ends all tasks and waits until they are gone.
    pub(super) async fn close(&self) {
        self.stop();
        self.inner.tasks.wait().await;
    }

    /// Ends all tasks without waiting.
    pub(super) fn stop(&self) {
        self.inner.stop.cancel();
        self.inner.tasks.close();
    }

    async fn send_to_some(&self, ids: &[ConnectionId], message: &Outgoing) -> Result<()> {
        let mut remote: BTreeMap<&str, Vec<ConnectionId>> = BTreeMap::new();
        let mut local = Vec::new();
        for id in ids {
            // An id that no hub made is nobody's.
            let Some(node) = id.node() else { continue };
            if node == self.inner.node.as_str() {
                local.extend(self.inner.manager.connection(id));
            } else {
                remote.entry(node).or_default().push(id.clone());
            }
        }
        let remote = remote.iter().map(|(node, ids)| async {
            let topic = self.inner.topics.node(node)?;
            self.publish(topic, &self.envelope(message, &[], ids)).await
        });
        let local = local
            .iter()
            .map(|connection| deliver_here(connection, message));
        let (outcomes, _) = join(join_all(remote), join_all(local)).await;
        outcomes.into_iter().collect()
    }

    fn envelope(&self, message: &Outgoing, except: &[ConnectionId], to: &[ConnectionId]) -> Bytes {
        let envelope = Envelope {
            except: except.to_vec(),
            to: to.to_vec(),
            target: message.target().to_owned(),
            arguments: message.arguments().clone(),
        };
        envelope.encode()
    }

    async fn publish(&self, topic: Topic, envelope: &Bytes) -> Result<()> {
        if self.inner.stop.is_cancelled() {
            return Err(closed());
        }
        self.inner
            .backplane
            .publish(topic, envelope.clone())
            .await?;
        Ok(())
    }

    /// Subscribes to a group's topic and follows it until the last member here has left.
    async fn follow_group(&self, topic: Topic, name: &str, subscribe: Subscribe) {
        let Subscribe { group, live, empty } = subscribe;
        let following = async {
            match self.inner.backplane.subscribe(&topic, Start::Latest).await {
                Ok(subscription) => {
                    live.send_replace(Liveness::Live);
                    follow::follow(&self.inner.backplane, &topic, subscription, |payload| {
                        if let Some((envelope, message)) = open(&topic, payload) {
                            self.inner.manager.deliver_to_group(
                                name,
                                group,
                                &message,
                                &envelope.except,
                            );
                        }
                    })
                    .await;
                }
                Err(error) => {
                    self.inner.manager.dissolve(name, group);
                    live.send_replace(Liveness::Failed(error));
                }
            }
        };
        empty.run_until_cancelled(following).await;
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let stop = self.inner.stop.clone();
        self.inner.tasks.spawn(async move {
            stop.run_until_cancelled(task).await;
        });
    }
}

/// Reads an envelope. One that cannot be read is logged, counted and skipped.
fn open(topic: &Topic, payload: &Bytes) -> Option<(Envelope, Outgoing)> {
    match Envelope::decode(payload.clone()) {
        Ok(mut envelope) => {
            let target = std::mem::take(&mut envelope.target);
            let arguments = std::mem::take(&mut envelope.arguments);
            Some((envelope, Outgoing::received(target, arguments)))
        }
        Err(error) => {
            metrics::counter!("scaleout_hub_unreadable_total").increment(1);
            tracing::warn!(%topic, %error, "a message on a hub's topic was skipped");
            None
        }
    }
}

/// Sends to a connection of this node, and lets the sender feel how fast its client reads.
async fn deliver_here(connection: &Connection, message: &Outgoing) {
    if let Some(unit) = connection
        .protocol()
        .and_then(|protocol| message.unit(protocol))
    {
        connection.push(unit.clone());
        connection.room().await;
    }
}

fn closed() -> Error {
    Error::new(ErrorKind::Closed, "the hub was closed")
}

/// Leaves the group again if a join fails or is dropped.
struct Undo<'a> {
    manager: &'a Manager,
    connection: &'a ConnectionId,
    name: &'a str,
    group: u64,
    armed: bool,
}

impl Drop for Undo<'_> {
    fn drop(&mut self) {
        if self.armed {
            self.manager
                .undo_join(self.connection, self.name, self.group);
        }
    }
}
