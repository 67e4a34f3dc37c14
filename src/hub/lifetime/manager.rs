//! [`Manager`]: the connections of this node and the groups they are in.

use std::{
    collections::{HashMap, HashSet, hash_map::Entry},
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
pub(super) enum Joined {
    /// The group is new here: whoever gets this has to subscribe, and say so through the sender.
    First {
        live: watch::Receiver<Liveness>,
        subscribe: Subscribe,
    },
    /// Another connection of this node is, or was about to be, in the group.
    Another {
        live: watch::Receiver<Liveness>,
        again: bool,
    },
    /// The connection is gone.
    Gone,
}

/// The order to subscribe to a group's topic.
pub(super) struct Subscribe {
    pub(super) id: u64,
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

    pub(super) fn join(&self, id: &ConnectionId, name: &str) -> Joined {
        let mut state = self.write();
        let State {
            connections,
            groups,
            groups_founded,
        } = &mut *state;
        let Some(member) = connections.get_mut(id) else {
            return Joined::Gone;
        };
        let name: Arc<str> = match groups.get_key_value(name) {
            Some((name, _)) => name.clone(),
            None => name.into(),
        };
        let again = !member.groups.insert(name.clone());
        match groups.entry(name) {
            Entry::Occupied(mut group) => {
                group
                    .get_mut()
                    .members
                    .insert(id.clone(), member.connection.clone());
                Joined::Another {
                    live: group.get().live.clone(),
                    again,
                }
            }
            Entry::Vacant(vacant) => {
                let (sender, live) = watch::channel(Liveness::Pending);
                let empty = CancellationToken::new();
                *groups_founded += 1;
                let id_of_group = *groups_founded;
                vacant.insert(Group {
                    id: id_of_group,
                    members: HashMap::from([(id.clone(), member.connection.clone())]),
                    live: live.clone(),
                    empty: empty.clone(),
                });
                Joined::First {
                    live,
                    subscribe: Subscribe {
                        id: id_of_group,
                        live: sender,
                        empty,
                    },
                }
            }
        }
    }

    pub(super) fn leave(&self, id: &ConnectionId, name: &str) {
        let mut state = self.write();
        let Some(member) = state.connections.get_mut(id) else {
            return;
        };
        if member.groups.remove(name) {
            state.remove_member(name, id);
        }
    }

    /// Throws everybody out of a group whose subscription failed, so that the next one to join tries
    /// again.
    pub(super) fn dissolve(&self, name: &str, id: u64) {
        let mut state = self.write();
        if state.groups.get(name).is_none_or(|group| group.id != id) {
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
        id: u64,
        message: &Outgoing,
        except: &[ConnectionId],
    ) {
        let state = self.read();
        if let Some(group) = state.groups.get(name)
            && group.id == id
        {
            deliver(group.members.values(), message, except);
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
