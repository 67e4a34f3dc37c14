//! The nodes of a hub, and what they ask of each other.

use std::{
    sync::{MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    select,
    time::{Instant, MissedTickBehavior, interval, timeout},
};

use super::{
    Lifetime, Member, closed,
    control::{Control, Reply, Request},
    control_body,
    peers::Peers,
    unreadable,
};
use crate::{Entry, Error, ErrorKind, Result, State, Topic, hub::id::ConnectionId};

/// How often it is looked whether a node that owes a reply still lives.
const LOOK: Duration = Duration::from_millis(250);

impl Lifetime {
    /// Joins a connection of any node to a group; `false` if there is no such connection.
    pub(crate) async fn join_any(&self, id: &ConnectionId, group: &str) -> Result<bool> {
        self.inner.topics.group(group)?;
        if self.is_mine(id) {
            return self.join_mine(id, group).await;
        }
        self.membership(
            Request::Join {
                connection: id.clone(),
                group: group.to_owned(),
            },
            id,
        )
        .await
    }

    /// Takes a connection of any node out of a group; `false` if there is no such connection.
    pub(crate) async fn leave_any(&self, id: &ConnectionId, group: &str) -> Result<bool> {
        self.inner.topics.group(group)?;
        if self.is_mine(id) {
            return self.leave_mine(id, group);
        }
        self.membership(
            Request::Leave {
                connection: id.clone(),
                group: group.to_owned(),
            },
            id,
        )
        .await
    }

    /// Who is in a group, on all nodes that live.
    pub(crate) async fn members(&self, group: &str) -> Result<Vec<Member>> {
        let mut members = self.members_here(group)?;
        let mut missing = self.peers().living(Instant::now());
        let topic = self.inner.topics.nodes()?;
        let mut place = self.inner.requests.wait(());
        if !missing.is_empty() {
            let group = group.to_owned();
            self.ask_nodes(topic, place.number, Request::Members { group })
                .await?;
        }
        while !missing.is_empty() {
            select! {
                Some((node, reply)) = place.answers.recv() => {
                    if let Some(index) = missing.iter().position(|one| *one == node) {
                        missing.swap_remove(index);
                        if let Reply::Members(more) = reply {
                            members.extend(more);
                        }
                    }
                }
                () = tokio::time::sleep(LOOK) => {
                    let living = self.peers().living(Instant::now());
                    missing.retain(|node| living.contains(node));
                }
            }
        }
        let mut members: Vec<_> = members.into_iter().map(Member::new).collect();
        members.sort();
        Ok(members)
    }

    /// Has another node do something with a connection of its own, and waits for its reply. That comes
    /// within `patience` or not at all; a node that does not live has no connections.
    pub(super) async fn request(
        &self,
        connection: &ConnectionId,
        request: Request,
        patience: Duration,
    ) -> Result<Reply> {
        let Some(node) = connection.node() else {
            return Ok(Reply::Unknown);
        };
        let topic = self.inner.topics.node(node)?;
        if !self.is_known_soon(node).await {
            return Ok(Reply::Unknown);
        }
        let mut place = self.inner.requests.wait(());
        self.ask_nodes(topic, place.number, request).await?;
        let deadline = Instant::now() + patience;
        loop {
            select! {
                Some((_, reply)) = place.answers.recv() => return Ok(reply),
                () = tokio::time::sleep(LOOK) => {
                    if !self.peers().lives(node, Instant::now()) {
                        return Ok(Reply::Disconnected);
                    }
                    if Instant::now() > deadline {
                        return Ok(Reply::TimedOut);
                    }
                }
                () = self.inner.stop.cancelled() => return Err(closed()),
            }
        }
    }

    /// Tells the other nodes that this one lives.
    pub(super) async fn beat(&self, roll_call: bool) -> Result<()> {
        let beat = Control::Beat {
            node: self.inner.node.as_str().to_owned(),
            serves: self.inner.serves,
            roll_call,
        };
        self.tell(self.inner.topics.nodes()?, &beat).await
    }

    pub(super) async fn keep_beating(&self) {
        let period = self.inner.options.node_heartbeat_interval;
        let mut health = self.inner.backplane.watch_health();
        let mut was_down = false;
        let mut tick = interval(period);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        tick.tick().await;
        loop {
            select! {
                _ = tick.tick() => {}
                Ok(()) = health.changed() => {}
            }
            let down = health.borrow_and_update().state != State::Connected;
            if down {
                was_down = true;
                continue;
            }
            if was_down {
                self.peers().hears_again(Instant::now());
            }
            // The others could not hear this node either, so they are asked to show themselves.
            let _ = timeout(period, self.beat(was_down)).await;
            was_down = false;
        }
    }

    /// The others need not wait for this node to be silent.
    pub(super) async fn say_goodbye(&self) {
        let bye = Control::Bye {
            node: self.inner.node.as_str().to_owned(),
        };
        if let Ok(topic) = self.inner.topics.nodes()
            && self.inner.backplane.health().state == State::Connected
        {
            let _ = timeout(LOOK, self.tell(topic, &bye)).await;
        }
    }

    pub(super) fn heard_control(&self, topic: &Topic, entry: &Entry) {
        let control = control_body(entry)
            .ok_or_else(|| "not a control message".to_owned())
            .and_then(Control::decode);
        match control {
            Ok(control) => self.handle(control),
            Err(error) => unreadable(topic, &error),
        }
    }

    fn handle(&self, control: Control) {
        let me = self.inner.node.as_str();
        match control {
            Control::Beat { node, .. } if node == me => {}
            Control::Beat {
                node,
                serves,
                roll_call,
            } => {
                if serves {
                    self.peers().heard(node, Instant::now());
                }
                if roll_call && self.inner.serves {
                    let this = self.clone();
                    self.spawn(async move {
                        let _ = this.beat(false).await;
                    });
                }
            }
            Control::Bye { node } => self.peers().left(&node),
            Control::Request { from, .. } if from == me => {}
            // A node without clients has nothing to reply.
            Control::Request { .. } if !self.inner.serves => {}
            Control::Request { id, from, request } => {
                let this = self.clone();
                self.spawn(async move {
                    let reply = this.fulfil(request).await;
                    this.reply(id, &from, reply).await;
                });
            }
            Control::Reply { id, from, reply } => {
                self.inner.requests.answer(id, &(), (from, reply));
            }
        }
    }

    async fn fulfil(&self, request: Request) -> Reply {
        let done = |outcome: Result<bool>| match outcome {
            Ok(true) => Reply::Done,
            Ok(false) => Reply::Unknown,
            Err(error) => Reply::Failed(error.to_string()),
        };
        match request {
            Request::Join { connection, group } => done(self.join_mine(&connection, &group).await),
            Request::Leave { connection, group } => done(self.leave_mine(&connection, &group)),
            Request::Members { group } => match self.members_here(&group) {
                Ok(members) => Reply::Members(members),
                Err(error) => Reply::Failed(error.to_string()),
            },
            Request::Ask {
                connection,
                target,
                arguments,
                timeout_ms,
            } => {
                let arguments = Request::unpack(arguments);
                let patience = Duration::from_millis(timeout_ms);
                self.ask_mine(&connection, target, arguments, patience)
                    .await
            }
        }
    }

    async fn reply(&self, id: u64, to: &str, reply: Reply) {
        let from = self.inner.node.as_str().to_owned();
        let told = match self.inner.topics.node(to) {
            Ok(topic) => self.tell(topic, &Control::Reply { id, from, reply }).await,
            Err(error) => Err(error),
        };
        if let Err(error) = told {
            tracing::warn!(hub = self.inner.name, %error, "another node waits for a reply in vain");
        }
    }

    async fn membership(&self, request: Request, connection: &ConnectionId) -> Result<bool> {
        let patience = self.inner.backplane.options().publish_timeout * 2;
        match self.request(connection, request, patience).await? {
            Reply::Done => Ok(true),
            Reply::Failed(error) => Err(Error::new(ErrorKind::Unavailable, error)),
            Reply::TimedOut => Err(Error::new(
                ErrorKind::Timeout,
                "the connection's node did not reply",
            )),
            _ => Ok(false),
        }
    }

    async fn join_mine(&self, id: &ConnectionId, group: &str) -> Result<bool> {
        let Some(connection) = self.inner.manager.connection(id) else {
            return Ok(false);
        };
        self.join(&connection, group).await.map(|()| true)
    }

    fn leave_mine(&self, id: &ConnectionId, group: &str) -> Result<bool> {
        let Some(connection) = self.inner.manager.connection(id) else {
            return Ok(false);
        };
        self.leave(&connection, group).map(|()| true)
    }

    pub(super) fn is_mine(&self, id: &ConnectionId) -> bool {
        id.node() == Some(self.inner.node.as_str())
    }

    /// Whether a node lives. One that has just come may be known to somebody else a little earlier
    /// than it is heard of here.
    async fn is_known_soon(&self, node: &str) -> bool {
        if !self.peers().lives(node, Instant::now()) {
            tokio::time::sleep(LOOK).await;
        }
        self.peers().lives(node, Instant::now())
    }

    async fn ask_nodes(&self, topic: Topic, id: u64, request: Request) -> Result<()> {
        let from = self.inner.node.as_str().to_owned();
        self.tell(topic, &Control::Request { id, from, request })
            .await
    }

    async fn tell(&self, topic: Topic, control: &Control) -> Result<()> {
        if self.is_stopped() {
            return Err(closed());
        }
        self.inner
            .backplane
            .publish(topic, control.encode())
            .await?;
        Ok(())
    }

    fn peers(&self) -> MutexGuard<'_, Peers> {
        // Nothing that runs under the lock leaves it half changed.
        self.inner
            .peers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
