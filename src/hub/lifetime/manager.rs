//! [`Manager`]: the connections of this node and the groups they are in.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::Outgoing;
use crate::{
    Epoch, Error, Position, Sequence, Topic,
    hub::{connection::Connection, id::ConnectionId, transport::Kind},
};

/// Who is here. One lock guards all of it, so that a connection cannot be in a group that does not
/// know it. It is held for as long as handing a message to every connection's queue takes, and never
/// across an await.
///
/// A group is whoever gets what is published on one topic: a group of clients, or a user's connections.
#[derive(Debug, Default)]
pub(super) struct Manager {
    state: RwLock<State>,
}

#[derive(Debug, Default)]
struct State {
    connections: HashMap<ConnectionId, Client>,
    groups: HashMap<Topic, Group>,
    groups_founded: u64,
}

#[derive(Debug)]
struct Client {
    connection: Arc<Connection>,
    groups: HashSet<Topic>,
}

/// A group with at least one member here, and therefore a subscription.
#[derive(Debug)]
struct Group {
    /// Tells it from an earlier group of the same topic, whose subscription may still be about to end.
    id: u64,
    members: HashMap<ConnectionId, Member>,
    live: watch::Receiver<Liveness>,
    /// Cancelled when the last member is gone.
    empty: CancellationToken,
    /// Up to where the members have what the topic brought; `None` before anything came.
    position: Mutex<Option<Position>>,
}

#[derive(Debug)]
struct Member {
    connection: Arc<Connection>,
    pace: Pace,
}

/// What of a group's messages a member gets, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pace {
    /// All of them.
    Live,
    /// None: it is still being given older ones, from elsewhere.
    Behind,
    /// All after this one, each with its cursor.
    Resumed(Position),
}

/// Whether a group's subscription delivers yet.
#[derive(Debug)]
pub(super) enum Liveness {
    Pending,
    Live,
    /// It could not be made. Everybody who waited for it is out of the group again.
    Failed(Error),
}

/// A place in a group.
pub(super) struct Joined {
    /// The group, which may end and be followed by another one of its topic.
    pub(super) group: u64,
    /// Whether the connection was not in it before.
    pub(super) new: bool,
    pub(super) live: watch::Receiver<Liveness>,
    /// Whoever founds a group has to subscribe.
    pub(super) subscribe: Option<Subscribe>,
}

/// The order to subscribe to a group's topic, and to say so.
pub(super) struct Subscribe {
    pub(super) group: u64,
    pub(super) live: watch::Sender<Liveness>,
    pub(super) empty: CancellationToken,
}

/// How far a member that was behind has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CaughtUp {
    /// It has all that the group got, and gets what follows.
    Yes,
    NotYet,
    /// It is no longer in the group.
    Left,
}

impl Manager {
    pub(super) fn connect(&self, connection: &Arc<Connection>) {
        let client = Client {
            connection: connection.clone(),
            groups: HashSet::new(),
        };
        self.write()
            .connections
            .insert(connection.id().clone(), client);
    }

    /// Forgets the connection and its memberships.
    pub(super) fn disconnect(&self, id: &ConnectionId) {
        let mut state = self.write();
        let Some(client) = state.connections.remove(id) else {
            return;
        };
        for topic in &client.groups {
            state.remove_member(topic, id);
        }
    }

    /// Joins, or changes the pace of a member, unless that is `Live`. `None`: the connection is gone.
    pub(super) fn join(&self, id: &ConnectionId, topic: &Topic, pace: Pace) -> Option<Joined> {
        let mut state = self.write();
        let State {
            connections,
            groups,
            groups_founded,
        } = &mut *state;
        let client = connections.get_mut(id)?;
        let new = client.groups.insert(topic.clone());
        let mut subscribe = None;
        let group = groups.entry(topic.clone()).or_insert_with(|| {
            *groups_founded += 1;
            let (sender, live) = watch::channel(Liveness::Pending);
            let empty = CancellationToken::new();
            subscribe = Some(Subscribe {
                group: *groups_founded,
                live: sender,
                empty: empty.clone(),
            });
            Group {
                id: *groups_founded,
                members: HashMap::new(),
                live,
                empty,
                position: Mutex::default(),
            }
        });
        let member = group.members.entry(id.clone());
        let member = member.or_insert_with(|| Member {
            connection: client.connection.clone(),
            pace,
        });
        if pace != Pace::Live {
            member.pace = pace;
        }
        Some(Joined {
            group: group.id,
            new,
            live: group.live.clone(),
            subscribe,
        })
    }

    /// Takes a join back, unless the group has ended anyway.
    pub(super) fn undo_join(&self, id: &ConnectionId, topic: &Topic, group: u64) {
        let mut state = self.write();
        if state.groups.get(topic).is_some_and(|now| now.id == group) {
            state.leave(id, topic);
        }
    }

    pub(super) fn leave(&self, id: &ConnectionId, topic: &Topic) {
        self.write().leave(id, topic);
    }

    /// Takes a member that was behind along if it has everything up to `position`, and that is all that
    /// the group has got.
    pub(super) fn catch_up(
        &self,
        id: &ConnectionId,
        topic: &Topic,
        position: Position,
    ) -> CaughtUp {
        let mut state = self.write();
        let Some(group) = state.groups.get_mut(topic) else {
            return CaughtUp::Left;
        };
        let reached = *group
            .position
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner);
        let ahead = reached.is_some_and(|reached| {
            reached.epoch != position.epoch || reached.sequence > position.sequence
        });
        let Some(member) = group.members.get_mut(id) else {
            return CaughtUp::Left;
        };
        if ahead {
            return CaughtUp::NotYet;
        }
        member.pace = Pace::Resumed(position);
        CaughtUp::Yes
    }

    /// Takes a member that was behind along from where the group is, and tells where that is.
    pub(super) fn go_on(&self, id: &ConnectionId, topic: &Topic) -> Position {
        /// Before the group's first message, in a life that no message has.
        const UNKNOWN: Position = Position::new(Epoch::new(0), Sequence::ZERO);
        let mut state = self.write();
        let Some(group) = state.groups.get_mut(topic) else {
            return UNKNOWN;
        };
        let reached = group
            .position
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner)
            .unwrap_or(UNKNOWN);
        if let Some(member) = group.members.get_mut(id) {
            member.pace = Pace::Resumed(reached);
        }
        reached
    }

    /// Throws everybody out of a group whose subscription failed, so that the next one to join tries
    /// again.
    pub(super) fn dissolve(&self, topic: &Topic, group: u64) {
        let mut state = self.write();
        if state.groups.get(topic).is_none_or(|now| now.id != group) {
            return;
        }
        let Some(group) = state.groups.remove(topic) else {
            return;
        };
        for id in group.members.keys() {
            if let Some(client) = state.connections.get_mut(id) {
                client.groups.remove(topic);
            }
        }
    }

    pub(super) fn count(&self) -> usize {
        self.read().connections.len()
    }

    pub(super) fn connection(&self, id: &ConnectionId) -> Option<Arc<Connection>> {
        self.read()
            .connections
            .get(id)
            .map(|client| client.connection.clone())
    }

    pub(super) fn members(&self, topic: &Topic) -> Vec<Arc<Connection>> {
        let state = self.read();
        let group = state.groups.get(topic);
        let members = group.into_iter().flat_map(|group| group.members.values());
        members.map(|member| member.connection.clone()).collect()
    }

    pub(super) fn deliver_to_all(&self, message: &Outgoing, except: &[ConnectionId]) {
        for client in self.read().connections.values() {
            if !except.contains(client.connection.id()) {
                deliver(&client.connection, message, Outgoing::unit);
            }
        }
    }

    /// Delivers what stands at `position` of the topic, or nothing: something is lost there.
    pub(super) fn deliver_to_group(
        &self,
        topic: &Topic,
        group: u64,
        message: Option<(&Outgoing, &[ConnectionId])>,
        position: Position,
    ) {
        let state = self.read();
        let Some(now) = state.groups.get(topic) else {
            return;
        };
        if now.id != group {
            return;
        }
        *now.position.lock().unwrap_or_else(PoisonError::into_inner) = Some(position);
        if let Some((message, except)) = message {
            now.deliver(message, except, Some(position));
        }
    }

    /// Delivers to the members here what the topic does not bring.
    pub(super) fn deliver_to_members(
        &self,
        topic: &Topic,
        message: &Outgoing,
        except: &[ConnectionId],
    ) {
        if let Some(group) = self.read().groups.get(topic) {
            group.deliver(message, except, None);
        }
    }

    pub(super) fn deliver_to_some(&self, ids: &[ConnectionId], message: &Outgoing) {
        let state = self.read();
        for client in ids.iter().filter_map(|id| state.connections.get(id)) {
            deliver(&client.connection, message, Outgoing::unit);
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        // Nothing that runs under the lock leaves the state half changed.
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn leave(&mut self, id: &ConnectionId, topic: &Topic) {
        if let Some(client) = self.connections.get_mut(id)
            && client.groups.remove(topic)
        {
            self.remove_member(topic, id);
        }
    }

    fn remove_member(&mut self, topic: &Topic, id: &ConnectionId) {
        let Some(group) = self.groups.get_mut(topic) else {
            return;
        };
        group.members.remove(id);
        if group.members.is_empty() {
            group.empty.cancel();
            self.groups.remove(topic);
        }
    }
}

impl Group {
    fn deliver(&self, message: &Outgoing, except: &[ConnectionId], position: Option<Position>) {
        for (id, member) in &self.members {
            if except.contains(id) {
                continue;
            }
            match member.pace {
                Pace::Live => deliver(&member.connection, message, Outgoing::unit),
                Pace::Behind => {}
                Pace::Resumed(after) => {
                    let has_it = position.is_some_and(|position| {
                        position.epoch == after.epoch && position.sequence <= after.sequence
                    });
                    if !has_it {
                        deliver(&member.connection, message, Outgoing::unit_with_cursor);
                    }
                }
            }
        }
    }
}

/// Queues a message for a connection, in the form that `unit` gives it.
pub(super) fn deliver(
    connection: &Connection,
    message: &Outgoing,
    unit: impl FnOnce(&Outgoing, crate::hub::protocol::Protocol) -> Option<&bytes::Bytes>,
) {
    let unit = connection
        .protocol()
        .and_then(|protocol| unit(message, protocol));
    match unit {
        Some(unit) => connection.push(unit.clone(), Kind::Event),
        None => tracing::warn!(
            connection = %connection.id(),
            target = message.target(),
            "a message was not sent: its sender does not speak this connection's protocol"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::{
        connection::{Birth, Connections},
        id::NodeTag,
        options::HubOptions,
        protocol::Protocol,
        transport::Next,
    };

    fn connected(manager: &Manager) -> Arc<Connection> {
        let options = HubOptions::new();
        let connection =
            Connections::default().create(&NodeTag::random(), &options, Birth::default());
        connection.set_protocol(Protocol::Json);
        manager.connect(&connection);
        connection
    }

    fn message() -> Outgoing {
        Outgoing::new("m", &Protocol::ALL, |protocol| protocol.value(&["x"])).unwrap()
    }

    fn room() -> Topic {
        Topic::new("room").unwrap()
    }

    fn at(sequence: u64) -> Position {
        Position::new(Epoch::new(1), Sequence::new(sequence))
    }

    fn join(manager: &Manager, connection: &Connection) -> Joined {
        manager.join(connection.id(), &room(), Pace::Live).unwrap()
    }

    /// Whether something was queued for the connection, which is then over.
    async fn got_something(connection: &Connection) -> bool {
        connection.outbound().finish();
        matches!(connection.outbound().next().await, Next::Unit(_))
    }

    #[test]
    fn only_who_founds_a_group_subscribes() {
        let manager = Manager::default();
        let (a, b) = (connected(&manager), connected(&manager));
        let first = join(&manager, &a);
        let second = join(&manager, &b);
        let again = join(&manager, &a);
        assert_eq!([first.new, second.new, again.new], [true, true, false]);
        assert_eq!(
            [&first, &second, &again].map(|joined| joined.subscribe.is_some()),
            [true, false, false]
        );
        assert_eq!([second.group, again.group], [first.group; 2]);
    }

    #[test]
    fn a_group_ends_with_its_last_member() {
        let manager = Manager::default();
        let (a, b) = (connected(&manager), connected(&manager));
        let founded = join(&manager, &a);
        let empty = founded.subscribe.unwrap().empty;
        join(&manager, &b);
        manager.leave(a.id(), &room());
        assert!(!empty.is_cancelled());
        manager.disconnect(b.id());
        assert!(empty.is_cancelled());
        assert_ne!(join(&manager, &a).group, founded.group);
    }

    #[test]
    fn a_connection_that_is_gone_joins_nothing() {
        let manager = Manager::default();
        let a = connected(&manager);
        manager.disconnect(a.id());
        assert!(manager.join(a.id(), &room(), Pace::Live).is_none());
    }

    #[test]
    fn what_happened_to_an_earlier_group_does_not_touch_a_later_one() {
        let manager = Manager::default();
        let a = connected(&manager);
        let earlier = join(&manager, &a).group;
        manager.dissolve(&room(), earlier);
        let later = join(&manager, &a);
        assert!(later.new);
        manager.dissolve(&room(), earlier);
        manager.undo_join(a.id(), &room(), earlier);
        assert!(!join(&manager, &a).new);
    }

    #[tokio::test]
    async fn a_subscription_that_is_about_to_end_delivers_to_nobody() {
        let manager = Manager::default();
        let (a, b) = (connected(&manager), connected(&manager));
        let earlier = join(&manager, &a).group;
        manager.leave(a.id(), &room());
        let later = join(&manager, &b).group;
        manager.deliver_to_group(&room(), earlier, Some((&message(), &[])), at(1));
        assert!(!got_something(&a).await);
        manager.deliver_to_group(&room(), later, Some((&message(), &[])), at(1));
        assert!(got_something(&b).await);
    }

    #[tokio::test]
    async fn a_member_that_was_behind_gets_exactly_what_follows() {
        let manager = Manager::default();
        let a = connected(&manager);
        let joined = manager.join(a.id(), &room(), Pace::Behind).unwrap();
        let deliver = |sequence| {
            manager.deliver_to_group(&room(), joined.group, Some((&message(), &[])), at(sequence));
        };
        deliver(1);
        deliver(2);
        assert_eq!(manager.catch_up(a.id(), &room(), at(1)), CaughtUp::NotYet);
        // It has read further than the group's own subscription.
        assert_eq!(manager.catch_up(a.id(), &room(), at(3)), CaughtUp::Yes);
        deliver(3);
        assert!(a.outbound().is_empty());
        deliver(4);
        assert!(got_something(&a).await);
    }

    #[tokio::test]
    async fn exceptions_are_left_out() {
        let manager = Manager::default();
        let (a, b) = (connected(&manager), connected(&manager));
        manager.deliver_to_all(&message(), &[a.id().clone()]);
        assert!(!got_something(&a).await);
        assert!(got_something(&b).await);
    }

    #[tokio::test]
    async fn connections_of_one_protocol_share_the_bytes_of_a_message() {
        let manager = Manager::default();
        let (a, b) = (connected(&manager), connected(&manager));
        manager.deliver_to_all(&message(), &[]);
        let (Next::Unit(one), Next::Unit(other)) =
            (a.outbound().next().await, b.outbound().next().await)
        else {
            panic!("no units");
        };
        assert_eq!(
            one,
            "{\"type\":1,\"target\":\"m\",\"arguments\":[\"x\"]}\x1e"
        );
        assert_eq!(one.as_ptr(), other.as_ptr());
    }
}
