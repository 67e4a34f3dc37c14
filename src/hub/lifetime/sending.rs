//! Sending to clients, wherever they are.

use std::collections::BTreeMap;

use bytes::Bytes;
use futures_util::future::{join, join_all};

use super::{Envelope, Lifetime, Outgoing, closed, manager};
use crate::{
    Cursor, Error, ErrorKind, Result, State, Topic,
    hub::{
        clients::{Sent, To},
        connection::Connection,
        id::ConnectionId,
        options::WhenBrokerDown,
    },
};

/// Where a message was published, or that it was not.
enum Published {
    At(Cursor),
    /// Only this node's clients are to get it.
    Here,
}

impl Lifetime {
    pub(crate) async fn send(&self, to: &To, message: Outgoing) -> Result<Sent> {
        match to {
            To::All { except } => {
                let envelope = self.envelope(&message, except, &[]);
                match self.publish(&self.inner.topics.all()?, &envelope).await? {
                    Published::At(cursor) => Ok(Sent::everywhere([cursor])),
                    Published::Here => {
                        self.inner.manager.deliver_to_all(&message, except);
                        Ok(Sent::here())
                    }
                }
            }
            To::Groups { names, except } => {
                let topics = names.iter().map(|name| self.inner.topics.group(name));
                self.send_to_topics(topics, &message, except).await
            }
            To::Users(ids) => {
                let topics = ids.iter().map(|id| self.inner.topics.user(id));
                self.send_to_topics(topics, &message, &[]).await
            }
            To::Connections(ids) => self.send_to_some(ids, &message).await,
            To::Caller(connection) => {
                deliver_here(connection, &message).await;
                Ok(Sent::everywhere([]))
            }
        }
    }

    /// Publishes on each of the topics; the first error counts, and the others were sent.
    async fn send_to_topics(
        &self,
        topics: impl Iterator<Item = Result<Topic>>,
        message: &Outgoing,
        except: &[ConnectionId],
    ) -> Result<Sent> {
        let envelope = self.envelope(message, except, &[]);
        let sends = topics.map(|topic| async {
            let topic = topic?;
            let published = self.publish(&topic, &envelope).await?;
            if matches!(published, Published::Here) {
                let manager = &self.inner.manager;
                manager.deliver_to_members(&topic, message, except);
            }
            Ok(published)
        });
        let outcomes = join_all(sends).await;
        sent(outcomes.into_iter().collect::<Result<_>>()?)
    }

    async fn send_to_some(&self, ids: &[ConnectionId], message: &Outgoing) -> Result<Sent> {
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
            self.publish(&topic, &self.envelope(message, &[], ids))
                .await
        });
        let local = local
            .iter()
            .map(|connection| deliver_here(connection, message));
        let (outcomes, _) = join(join_all(remote), join_all(local)).await;
        sent(outcomes.into_iter().collect::<Result<_>>()?)
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

    /// Publishes what is for clients, or does what the hub prefers while the broker is away.
    async fn publish(&self, topic: &Topic, envelope: &Bytes) -> Result<Published> {
        if self.is_stopped() {
            return Err(closed());
        }
        let health = self.inner.backplane.health();
        let down = matches!(health.state, State::Connecting | State::Interrupted);
        match self.inner.options.when_broker_down {
            WhenBrokerDown::DeliverLocally if down => return Ok(Published::Here),
            WhenBrokerDown::Fail if down => {
                let why = health
                    .last_error
                    .unwrap_or_else(|| health.state.to_string());
                return Err(Error::new(
                    ErrorKind::Unavailable,
                    format!("the broker cannot be reached: {why}"),
                ));
            }
            _ => {}
        }
        let receipt = self
            .inner
            .backplane
            .publish(topic, envelope.clone())
            .await?;
        Ok(Published::At(receipt.cursor().clone()))
    }
}

fn sent(outcomes: Vec<Published>) -> Result<Sent> {
    let mut cursors = Vec::new();
    for published in outcomes {
        match published {
            Published::At(cursor) => cursors.push(cursor),
            Published::Here => return Ok(Sent::here()),
        }
    }
    Ok(Sent::everywhere(cursors))
}

/// Sends to a connection of this node, and lets the sender feel how fast its client reads.
async fn deliver_here(connection: &Connection, message: &Outgoing) {
    manager::deliver(connection, message, Outgoing::unit);
    connection.room().await;
}
