//! [`Manager`]: the connections of this node and the groups they are in.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::Outgoing;
use crate::{
    Error,
    hub::{connection::Connection, id::ConnectionId},
};

/// Who is here. One lock guards all of it, so that a connection cannot be in a group that does not
/// know it. It is held for as long as handing a message to every connection's queue takes, and never
/// across an await.
#[derive(Debug, Default)]
pub(super) struct Manager {
    state: RwLock<State>,
}

#[derive(Debug, Default)]
struct State {
    connections: HashMap<ConnectionId, Member>,
    groups: HashMap<Arc<str>, Group>,
    groups_founded: u64,
}

#[derive(Debug)]
struct Member {
    connection: Arc<Connection>,
    groups: HashSet<Arc<str>>,
}

/// A group with at least one member here, and therefore a subscription.
#[derive(Debug)]
struct Group {
    /// Tells it from an earlier group of the same name, whose subscription may still be about to end.
    id: u64,
    members: HashMap<ConnectionId, Arc<Connection>>,
    live: watch::Receiver<Liveness>,
    /// Cancelled when the last member is gone.
    empty: CancellationToken,
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
    /// The group, which may end and be followed by another one of its name.
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

impl Manager {
    pub(super) fn connect(&self, connection: &Arc<Connection>) {
        let member = Member {
            connection: connection.clone(),
            groups: HashSet::new(),
        };
        self.write()
            .connections
            .insert(connection.id().clone(), member);
    }

    /// Forgets the connection and its memberships.
    pub(super) fn disconnect(&self, id: &ConnectionId) {
        let mut state = self.write();
        let Some(member) = state.connections.remove(id) else {
            return;
        };
        for group in &member.groups {
            state.remove_member(group, id);
        }
    }

    /// `None`: the connection is gone.
    pub(super) fn join(&self, id: &ConnectionId, name: &str) -> Option<Joined> {
        let mut state = self.write();
        let State {
            connections,
            groups,
            groups_founded,
        } = &mut *state;
        let member = connections.get_mut(id)?;
        if let Some(group) = groups.get_mut(name) {
            let new = group
                .members
                .insert(id.clone(), member.connection.clone())
                .is_none();
            if new {
                member.groups.insert(name.into());
            }
            return Some(Joined {
                group: group.id,
                new,
                live: group.live.clone(),
                subscribe: None,
            });
        }
        *groups_founded += 1;
        let (sender, live) = watch::channel(Liveness::Pending);
        let group = Group {
            id: *groups_founded,
            members: HashMap::from([(id.clone(), member.connection.clone())]),
            live,
            empty: CancellationToken::new(),
        };
        let joined = Joined {
            group: group.id,
            new: true,
            live: group.live.clone(),
            subscribe: Some(Subscribe {
                group: group.id,
                live: sender,
                empty: group.empty.clone(),
            }),
        };
        let name: Arc<str> = name.into();
        member.groups.insert(name.clone());
        groups.insert(name, group);
        Some(joined)
    }

    /// Takes a join back, unless the group has ended anyway.
    pub(super) fn undo_join(&self, id: &ConnectionId, name: &str, group: u64) {
        let mut state = self.write();
        if state.groups.get(name).is_some_and(|now| now.id == group) {
            state.leave(id, name);
        }
    }

    pub(super) fn leave(&self, id: &ConnectionId, name: &str) {
        self.write().leave(id, name);
    }

    /// Throws everybody out of a group whose subscription failed, so that the next one to join tries
    /// again.
    pub(super) fn dissolve(&self, name: &str, group: u64) {
        let mut state = self.write();
        if state.groups.get(name).is_none_or(|now| now.id != group) {
            return;
        }
        let Some(group) = state.groups.remove(name) else {
            return;
        };
        for id in group.members.keys() {
            if let Some(member) = state.connections.get_mut(id) {
                member.groups.remove(name);
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
            .map(|member| member.connection.clone())
    }

    pub(super) fn deliver_to_all(&self, message: &Outgoing, except: &[ConnectionId]) {
        let state = self.read();
        let connections = state.connections.values().map(|member| &member.connection);
        deliver(connections, message, except);
    }

    pub(super) fn deliver_to_group(
        &self,
        name: &str,
        group: u64,
        message: &Outgoing,
        except: &[ConnectionId],
    ) {
        let state = self.read();
        if let Some(now) = state.groups.get(name)
            && now.id == group
        {
            deliver(now.members.values(), message, except);
        }
    }

    pub(super) fn deliver_to_some(&self, ids: &[ConnectionId], message: &Outgoing) {
        let state = self.read();
        let members = ids.iter().filter_map(|id| state.connections.get(id));
        deliver(members.map(|member| &member.connection), message, &[]);
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
    fn leave(&mut self, id: &ConnectionId, name: &str) {
        if let Some(member) = self.connections.get_mut(id)
            && member.groups.remove(name)
        {
            self.remove_member(name, id);
        }
    }

    fn remove_member(&mut self, name: &str, id: &ConnectionId) {
        let Some(group) = self.groups.get_mut(name) else {
            return;
        };
        group.members.remove(id);
        if group.members.is_empty() {
            group.empty.cancel();
            self.groups.remove(name);
        }
    }
}

fn deliver<'a>(
    connections: impl Iterator<Item = &'a Arc<Connection>>,
    message: &Outgoing,
    except: &[ConnectionId],
) {
    for connection in connections {
        if except.contains(connection.id()) {
            continue;
        }
        match connection
            .protocol()
            .and_then(|protocol| message.unit(protocol))
        {
            Some(unit) => connection.push(unit.clone()),
            None => tracing::warn!(
                connection = %connection.id(),
                target = message.target(),
                "a message was not sent: its sender does not speak this connection's protocol"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::{
        connection::Connections, id::NodeTag, options::HubOptions, protocol::Protocol,
        transport::Next,
    };

    fn connected(manager: &Manager) -> Arc<Connection> {
        let (connection, _) =
            Connections::default().create(&NodeTag::random(), &HubOptions::new(), false);
        connection.set_protocol(Protocol::Json);
        manager.connect(&connection);
        connection
    }

    fn message() -> Outgoing {
        Outgoing::new("m", |protocol| protocol.value(&["x"])).unwrap()
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
        let first = manager.join(a.id(), "room").unwrap();
        let second = manager.join(b.id(), "room").unwrap();
        let again = manager.join(a.id(), "room").unwrap();
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
        let founded = manager.join(a.id(), "room").unwrap();
        let empty = founded.subscribe.unwrap().empty;
        manager.join(b.id(), "room").unwrap();
        manager.leave(a.id(), "room");
        assert!(!empty.is_cancelled());
        manager.disconnect(b.id());
        assert!(empty.is_cancelled());
        assert_ne!(manager.join(a.id(), "room").unwrap().group, founded.group);
    }

    #[test]
    fn a_connection_that_is_gone_joins_nothing() {
        let manager = Manager::default();
        let a = connected(&manager);
        manager.disconnect(a.id());
        assert!(manager.join(a.id(), "room").is_none());
    }

    #[test]
    fn what_happened_to_an_earlier_group_does_not_touch_a_later_one() {
        let manager = Manager::default();
        let a = connected(&manager);
        let earlier = manager.join(a.id(), "room").unwrap().group;
        manager.dissolve("room", earlier);
        let later = manager.join(a.id(), "room").unwrap();
        assert!(later.new);
        manager.dissolve("room", earlier);
        manager.undo_join(a.id(), "room", earlier);
        assert!(!manager.join(a.id(), "room").unwrap().new);
    }

    #[tokio::test]
    async fn a_subscription_that_is_about_to_end_delivers_to_nobody() {
        let manager = Manager::default();
        let (a, b) = (connected(&manager), connected(&manager));
        let earlier = manager.join(a.id(), "room").unwrap().group;
        manager.leave(a.id(), "room");
        let later = manager.join(b.id(), "room").unwrap().group;
        manager.deliver_to_group("room", earlier, &message(), &[]);
        assert!(!got_something(&a).await);
        manager.deliver_to_group("room", later, &message(), &[]);
        assert!(got_something(&b).await);
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
