//! [`Channels`]: who listens to which channel of one connection.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use redis::{PushInfo, PushKind, Value};
use scaleout_core::{Arrival, Error, Listener, ListenerSender, Result};
use tokio::sync::{Notify, oneshot};

use crate::wire;

/// The listeners of a connection by channel, and what the server has been told of them.
///
/// Whoever begins or stops to listen only notes it down here; one task tells the server
/// ([`Changes`]). So a channel is subscribed once however many listen, unsubscribed when the last
/// one goes, and neither is confused by a listener that comes or goes while an answer is awaited.
#[derive(Default)]
pub(crate) struct Channels {
    inner: Mutex<Inner>,
    changed: Notify,
}

#[derive(Default)]
struct Inner {
    channels: HashMap<Name, Channel>,
    /// Channels to look at again.
    changed: Vec<Name>,
    last_id: u64,
    ended: Option<Error>,
}

pub(crate) type Name = Arc<[u8]>;

struct Channel {
    status: Status,
    listeners: Vec<Listening>,
}

/// A channel at the server.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Status {
    Off,
    /// Asked for or called off, and not confirmed.
    Changing,
    On,
}

struct Listening {
    id: u64,
    sender: ListenerSender,
    /// Whom to tell that the subscription is confirmed.
    waits: Option<oneshot::Sender<Result<()>>>,
}

/// What the server is to be told.
pub(crate) struct Changes {
    pub(crate) subscribe: Vec<Name>,
    pub(crate) unsubscribe: Vec<Name>,
}

impl Channels {
    /// Adds a listener. It may hear something before its subscription is confirmed, and hears
    /// everything after. Dropping it, at any time, takes it out.
    pub(crate) fn add(self: &Arc<Self>, name: &str) -> Result<(Listener, Confirmation)> {
        let (sender, listener) = Listener::channel();
        let mut inner = self.lock();
        if let Some(error) = &inner.ended {
            return Err(error.duplicate());
        }
        inner.last_id += 1;
        let id = inner.last_id;
        let (name, channel) = inner.channel(name);
        let (waits, confirmation) = match channel.status {
            Status::On => (None, None),
            Status::Off | Status::Changing => {
                let (waits, confirmation) = oneshot::channel();
                (Some(waits), Some(confirmation))
            }
        };
        channel.listeners.push(Listening { id, sender, waits });
        if channel.status == Status::Off {
            inner.changed.push(name.clone());
            self.changed.notify_one();
        }
        drop(inner);
        let channels = self.clone();
        let listener = listener.with_guard(Guard { channels, name, id });
        Ok((listener, confirmation))
    }

    /// Waits until there is something to tell the server.
    pub(crate) async fn changes(&self) -> Changes {
        loop {
            let changes = self.lock().take_changes();
            if !changes.subscribe.is_empty() || !changes.unsubscribe.is_empty() {
                return changes;
            }
            self.changed.notified().await;
        }
    }

    /// The server confirmed the subscription.
    pub(crate) fn subscribed(&self, names: &[Name]) {
        let mut inner = self.lock();
        for name in names {
            let Some(channel) = inner.channels.get_mut(name) else {
                continue;
            };
            channel.status = Status::On;
            for listening in &mut channel.listeners {
                if let Some(waits) = listening.waits.take() {
                    // Whoever waited may have given up; then its listener goes too.
                    let _ = waits.send(Ok(()));
                }
            }
            if channel.listeners.is_empty() {
                inner.changed.push(name.clone());
            }
        }
    }

    /// The server confirmed the end of the subscription.
    pub(crate) fn unsubscribed(&self, names: &[Name]) {
        let mut inner = self.lock();
        for name in names {
            let Some(channel) = inner.channels.get_mut(name) else {
                continue;
            };
            channel.status = Status::Off;
            inner.changed.push(name.clone());
        }
    }

    /// The server refused the subscription.
    pub(crate) fn refused(&self, name: &Name, error: &Error) {
        let Some(channel) = self.lock().channels.remove(name) else {
            return;
        };
        channel.end(error);
    }

    /// The connection is gone: ends every listener, and refuses new ones.
    pub(crate) fn end(&self, error: &Error) {
        let mut inner = self.lock();
        inner.ended = Some(error.duplicate());
        let channels = std::mem::take(&mut inner.channels);
        drop(inner);
        for channel in channels.into_values() {
            channel.end(error);
        }
    }

    /// Hands a published frame to those who listen. Called by the task that reads, so that nothing
    /// is buffered on the way.
    pub(crate) fn deliver(&self, push: PushInfo) {
        if push.kind != PushKind::Message {
            return;
        }
        let mut data = push.data.into_iter();
        let (Some(Value::BulkString(name)), Some(Value::BulkString(value))) =
            (data.next(), data.next())
        else {
            return;
        };
        let Some((epoch, frame)) = wire::decode(value) else {
            tracing::warn!(
                channel = %String::from_utf8_lossy(&name),
                "ignored what something else published"
            );
            return;
        };
        let inner = self.lock();
        let Some(channel) = inner.channels.get(&name[..]) else {
            return;
        };
        let Some((last, others)) = channel.listeners.split_last() else {
            return;
        };
        for listening in others {
            let frame = frame.clone();
            listening.sender.send(Arrival::Frame { epoch, frame });
        }
        last.sender.send(Arrival::Frame { epoch, frame });
    }

    fn remove(&self, name: &Name, id: u64) {
        let mut inner = self.lock();
        let Some(channel) = inner.channels.get_mut(name) else {
            return;
        };
        channel.listeners.retain(|listening| listening.id != id);
        if channel.listeners.is_empty() {
            inner.changed.push(name.clone());
            self.changed.notify_one();
        }
    }

    /// Nothing that runs under the lock can panic, so a poisoned one still holds a whole state.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `None` if the subscription is confirmed already.
pub(crate) type Confirmation = Option<oneshot::Receiver<Result<()>>>;

impl Inner {
    fn channel(&mut self, name: &str) -> (Name, &mut Channel) {
        let name = match self.channels.get_key_value(name.as_bytes()) {
            Some((name, _)) => name.clone(),
            None => Name::from(name.as_bytes()),
        };
        let channel = self
            .channels
            .entry(name.clone())
            .or_insert_with(|| Channel {
                status: Status::Off,
                // Most channels have one, and there may be 100,000 of them.
                listeners: Vec::with_capacity(1),
            });
        (name, channel)
    }

    fn take_changes(&mut self) -> Changes {
        let mut changes = Changes {
            subscribe: Vec::new(),
            unsubscribe: Vec::new(),
        };
        for name in std::mem::take(&mut self.changed) {
            let Some(channel) = self.channels.get_mut(&name) else {
                continue;
            };
            match (channel.status, channel.listeners.is_empty()) {
                (Status::Off, false) => {
                    channel.status = Status::Changing;
                    changes.subscribe.push(name);
                }
                (Status::On, true) => {
                    channel.status = Status::Changing;
                    changes.unsubscribe.push(name);
                }
                (Status::Off, true) => {
                    self.channels.remove(&name);
                }
                // An answer is awaited, after which it is looked at again; or all is as it should be.
                (Status::Changing, _) | (Status::On, false) => {}
            }
        }
        changes
    }
}

impl Channel {
    fn end(self, error: &Error) {
        for listening in self.listeners {
            listening.sender.end(error.duplicate());
            if let Some(waits) = listening.waits {
                // Whoever waited may have given up.
                let _ = waits.send(Err(error.duplicate()));
            }
        }
    }
}

/// Takes a listener out when it is dropped.
struct Guard {
    channels: Arc<Channels>,
    name: Name,
    id: u64,
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.channels.remove(&self.name, self.id);
    }
}
