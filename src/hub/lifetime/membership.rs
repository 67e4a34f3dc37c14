//! Joining and leaving groups, resuming them, and telling who is in them.

use std::{fmt, sync::Arc, time::Duration};

use serde::Serialize;

use super::{
    Connection, Heard, Lifetime, closed, follow,
    manager::{CaughtUp, Liveness, Manager, Pace, Subscribe},
    open,
};
use crate::{
    Cursor, Entry, Error, ErrorKind, Event, Position, ResetReason, Result, Sequence, Start, Topic,
    hub::{id::ConnectionId, transport::Kind},
};

/// How many messages are read from history at a time.
const PAGE: usize = 256;

/// How long a member that has read all there is waits before it looks again.
const LOOK: Duration = Duration::from_millis(20);

/// Who is in a group.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Member {
    /// The connection.
    pub connection_id: ConnectionId,
    /// The user's id.
    pub user_id: Option<String>,
}

impl Member {
    pub(super) fn new((connection_id, user_id): (ConnectionId, Option<String>)) -> Self {
        Self {
            connection_id,
            user_id,
        }
    }
}

/// How a client came back to a group.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Resumed {
    /// Where the client stands now. Each message of the group comes with a newer one.
    pub cursor: Cursor,
    /// How many messages it was given again.
    pub replayed: u64,
    /// Whether these are all that it missed. `false`: the history is gone, in part or all of it, or
    /// the backend has none. Whoever comes without a cursor has missed nothing.
    pub complete: bool,
}

impl Lifetime {
    /// From now on the connection gets what is sent to it.
    ///
    /// # Errors
    ///
    /// If its user's topic cannot be subscribed to: then it would miss what is sent to the user.
    pub(crate) async fn connect(&self, connection: &Arc<Connection>) -> Result<()> {
        self.inner.manager.connect(connection);
        match connection.user().id() {
            Some(id) if !id.is_empty() => {
                let topic = self.inner.topics.user(id)?;
                self.join_topic(connection, &topic, Pace::Live).await
            }
            _ => Ok(()),
        }
    }

    /// From now on it gets nothing, and is in no group.
    pub(crate) fn disconnect(&self, connection: &Connection) {
        self.inner.manager.disconnect(connection.id());
    }

    pub(crate) async fn join(&self, connection: &Connection, group: &str) -> Result<()> {
        let topic = self.inner.topics.group(group)?;
        self.join_topic(connection, &topic, Pace::Live).await
    }

    pub(crate) fn leave(&self, connection: &Connection, group: &str) -> Result<()> {
        let topic = self.inner.topics.group(group)?;
        self.inner.manager.leave(connection.id(), &topic);
        Ok(())
    }

    /// Joins a group and gives the connection what the group got after `cursor`, in order, before
    /// anything newer.
    pub(crate) async fn resume(
        &self,
        connection: &Connection,
        group: &str,
        cursor: Option<Cursor>,
    ) -> Result<Resumed> {
        let topic = self.inner.topics.group(group)?;
        self.join_topic(connection, &topic, Pace::Behind).await?;
        let mut undo = Undo {
            manager: &self.inner.manager,
            connection: connection.id(),
            topic: &topic,
            group: None,
            armed: true,
        };
        let resumed = if self.inner.backplane.capabilities().history {
            let cursor = match cursor {
                Some(cursor) => cursor,
                None => self.inner.backplane.head(&topic).await?.cursor,
            };
            self.catch_up(connection, &topic, cursor).await?
        } else {
            // Nobody can say what came after a cursor: it goes on from now.
            let position = self.inner.manager.go_on(connection.id(), &topic);
            Resumed {
                complete: cursor.is_none(),
                cursor: Cursor::new(topic.clone(), position),
                replayed: 0,
            }
        };
        undo.armed = false;
        Ok(resumed)
    }

    /// Gives a connection what history has after `cursor`, until it has all that its group got. The
    /// group is live, so that whatever history does not have yet comes to it.
    async fn catch_up(
        &self,
        connection: &Connection,
        topic: &Topic,
        mut cursor: Cursor,
    ) -> Result<Resumed> {
        let (mut replayed, mut complete) = (0, true);
        loop {
            let backplane = &self.inner.backplane;
            let events = backplane.read(topic, Some(&cursor), PAGE).await?;
            if events.is_empty() {
                let manager = &self.inner.manager;
                match manager.catch_up(connection.id(), topic, cursor.position()) {
                    CaughtUp::NotYet => tokio::time::sleep(LOOK).await,
                    CaughtUp::Yes | CaughtUp::Left => {
                        return Ok(Resumed {
                            cursor,
                            replayed,
                            complete,
                        });
                    }
                }
            }
            for event in events {
                let position = match event {
                    Event::Message(entry) => {
                        replayed += u64::from(replay(connection, topic, &entry).await);
                        entry.position()
                    }
                    Event::Gap(gap) => {
                        complete = false;
                        Position::new(gap.epoch, gap.last)
                    }
                    Event::Reset(reset) => {
                        complete = false;
                        match reset.reason {
                            ResetReason::AheadOfHead => {
                                backplane.head(topic).await?.cursor.position()
                            }
                            _ => Position::new(reset.epoch, Sequence::ZERO),
                        }
                    }
                    Event::Unreadable(skipped) => {
                        complete = false;
                        Position::new(skipped.epoch, skipped.last)
                    }
                    _ => return Err(closed()),
                };
                cursor = Cursor::new(topic.clone(), position);
            }
        }
    }

    /// Who of this node's clients is in a group.
    pub(super) fn members_here(&self, group: &str) -> Result<Vec<(ConnectionId, Option<String>)>> {
        let topic = self.inner.topics.group(group)?;
        let members = self.inner.manager.members(&topic).into_iter();
        let named = members.map(|connection| {
            let user = connection.user().id().map(str::to_owned);
            (connection.id().clone(), user)
        });
        Ok(named.collect())
    }

    async fn join_topic(&self, connection: &Connection, topic: &Topic, pace: Pace) -> Result<()> {
        let Some(joined) = self.inner.manager.join(connection.id(), topic, pace) else {
            return Ok(());
        };
        let mut live = joined.live;
        if let Some(subscribe) = joined.subscribe {
            let (this, topic) = (self.clone(), topic.clone());
            self.spawn(async move { this.follow_group(topic, subscribe).await });
        }
        let mut undo = Undo {
            manager: &self.inner.manager,
            connection: connection.id(),
            topic,
            group: Some(joined.group),
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
            Err(_) if self.is_stopped() => Err(closed()),
            // Everybody has left the group meanwhile, this connection too.
            Err(_) => Ok(()),
        };
        undo.armed &= outcome.is_err();
        outcome
    }

    /// Subscribes to a group's topic and follows it until the last member here has left.
    async fn follow_group(&self, topic: Topic, subscribe: Subscribe) {
        let Subscribe { group, live, empty } = subscribe;
        let following = async {
            match self.inner.backplane.subscribe(&topic, Start::Latest).await {
                Ok(subscription) => {
                    live.send_replace(Liveness::Live);
                    follow::follow(&self.inner.backplane, &topic, subscription, |heard| {
                        self.hear_group(&topic, group, &heard);
                    })
                    .await;
                }
                Err(error) => {
                    self.inner.manager.dissolve(&topic, group);
                    live.send_replace(Liveness::Failed(error));
                }
            }
        };
        empty.run_until_cancelled(following).await;
    }

    fn hear_group(&self, topic: &Topic, group: u64, heard: &Heard<'_>) {
        let manager = &self.inner.manager;
        match heard {
            Heard::Message(entry) => {
                let opened = open(topic, entry);
                let message = opened
                    .as_ref()
                    .map(|(envelope, message)| (message, &envelope.except[..]));
                manager.deliver_to_group(topic, group, message, entry.position());
            }
            Heard::Lost(position, _) => {
                manager.deliver_to_group(topic, group, None, *position);
                self.report_loss(topic, heard);
            }
        }
    }
}

/// Gives a connection one older message, at the client's pace; `false` if it is not for this one.
async fn replay(connection: &Connection, topic: &Topic, entry: &Entry) -> bool {
    let Some((envelope, message)) = open(topic, entry) else {
        return false;
    };
    let unit = connection
        .protocol()
        .and_then(|protocol| message.unit_with_cursor(protocol));
    let Some(unit) = unit.filter(|_| !envelope.except.contains(connection.id())) else {
        return false;
    };
    connection.push(unit.clone(), Kind::Answer);
    connection.room().await;
    true
}

/// Reads a cursor that a client has brought.
pub(crate) fn parse_cursor(text: &str) -> Result<Cursor> {
    text.parse().map_err(|error: Error| {
        Error::new(ErrorKind::InvalidInput, "this is not a cursor").with_source(error)
    })
}

/// Leaves the group again if a join fails or is dropped.
struct Undo<'a> {
    manager: &'a Manager,
    connection: &'a ConnectionId,
    topic: &'a Topic,
    /// Only this one, of all that the topic may have had.
    group: Option<u64>,
    armed: bool,
}

impl Drop for Undo<'_> {
    fn drop(&mut self) {
        match self.group {
            _ if !self.armed => {}
            Some(group) => self.manager.undo_join(self.connection, self.topic, group),
            None => self.manager.leave(self.connection, self.topic),
        }
    }
}

impl fmt::Debug for Undo<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Undo").finish_non_exhaustive()
    }
}
