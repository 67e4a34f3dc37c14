//! [`Channels`]: who listens to which log over one connection.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use scaleout_core::{
    Arrival, Epoch, Error, Listener, ListenerSender, LogName, Result, Sequence, StoredFrame,
};
use tokio::sync::{Notify, oneshot};

use crate::{name::Name, place};

/// The listeners of a connection by channel, and what the server has been told of them.
///
/// Whoever begins or stops to listen only notes it down here; one task tells the server
/// ([`Changes`]), and takes the next changes when the server has confirmed the last. So a channel is
/// listened on once however many listeners it has, and none of them is confused by another that
/// comes or goes meanwhile.
#[derive(Default)]
pub(crate) struct Channels {
    inner: Mutex<Inner>,
    changed: Notify,
}

#[derive(Default)]
struct Inner {
    channels: HashMap<Name, Channel>,
    /// Channels that may differ from what the server was told.
    changed: Vec<Name>,
    /// Whom to tell that a channel is confirmed. Apart from the channels, of which there may be many
    /// thousands that nobody waits for.
    waiting: HashMap<Name, Vec<oneshot::Sender<()>>>,
    last_id: u64,
    ended: Option<Error>,
}

struct Channel {
    log: Arc<[u8]>,
    /// Whether the server has confirmed that this connection listens.
    on: bool,
    /// What was last heard of the log, for comparison.
    heard: Option<(Epoch, Sequence)>,
    listeners: Vec<Listening>,
}

struct Listening {
    id: u64,
    sender: ListenerSender,
}

/// What the server is to be told.
#[derive(Default)]
pub(crate) struct Changes {
    pub(crate) listen: Vec<Name>,
    pub(crate) unlisten: Vec<Name>,
}

/// Where a log stands.
pub(crate) struct Head {
    pub(crate) name: Vec<u8>,
    pub(crate) epoch: Epoch,
    pub(crate) head: Sequence,
}

/// Resolves with the confirmation; `None` if it is there.
pub(crate) type Confirmation = Option<oneshot::Receiver<()>>;

impl Channels {
    /// Adds a listener. It may hear something before it is confirmed, and hears everything after.
    /// Dropping it, at any time, takes it out.
    pub(crate) fn add(
        self: &Arc<Self>,
        name: Name,
        log: &LogName,
    ) -> Result<(Listener, Confirmation)> {
        let (sender, listener) = Listener::channel();
        let mut inner = self.lock();
        if let Some(error) = &inner.ended {
            return Err(error.duplicate());
        }
        inner.last_id += 1;
        let id = inner.last_id;
        let channel = inner
            .channels
            .entry(name)
            .or_insert_with(|| Channel::new(log));
        // Most channels have one, and there may be many thousands of them.
        channel.listeners.reserve_exact(1);
        channel.listeners.push(Listening { id, sender });
        let confirmation = if channel.on {
            None
        } else {
            let (tell, confirmation) = oneshot::channel();
            inner.waiting.entry(name).or_default().push(tell);
            inner.changed.push(name);
            self.changed.notify_one();
            Some(confirmation)
        };
        drop(inner);
        let channels = self.clone();
        Ok((
            listener.with_guard(Guard { channels, name, id }),
            confirmation,
        ))
    }

    /// Waits until there is something to tell the server.
    pub(crate) async fn changes(&self) -> Changes {
        loop {
            let changes = self.lock().take_changes();
            if !changes.listen.is_empty() || !changes.unlisten.is_empty() {
                return changes;
            }
            self.changed.notified().await;
        }
    }

    /// The server confirmed that this connection listens on these, or no longer does.
    pub(crate) fn told(&self, names: &[Name], on: bool) {
        let mut inner = self.lock();
        for &name in names {
            let Some(channel) = inner.channels.get_mut(&name) else {
                continue;
            };
            channel.on = on;
            if on {
                for waiting in inner.waiting.remove(&name).unwrap_or_default() {
                    // Whoever waited may have given up.
                    let _ = waiting.send(());
                }
            }
            // Meanwhile others may have come or gone.
            inner.changed.push(name);
        }
    }

    /// The connection is gone: ends every listener, and refuses new ones.
    pub(crate) fn end(&self, error: &Error) {
        let mut inner = self.lock();
        inner.ended.get_or_insert_with(|| error.duplicate());
        let channels = std::mem::take(&mut inner.channels);
        inner.waiting.clear();
        drop(inner);
        for listening in channels.into_values().flat_map(|channel| channel.listeners) {
            listening.sender.end(error.duplicate());
        }
    }

    /// Hands a notification to those who listen. Called by the task that reads, so that nothing is
    /// buffered on the way.
    pub(crate) fn deliver(&self, channel: &str, payload: &str) {
        let (Some(name), Some((epoch, frame))) = (Name::parse(channel), place::decode(payload))
        else {
            tracing::warn!(channel, "ignored what something else notified");
            return;
        };
        let mut inner = self.lock();
        let Some(channel) = inner.channels.get_mut(&name) else {
            return;
        };
        channel.heard = Some((epoch, frame.last()));
        channel.send(epoch, frame);
    }

    /// The logs of these channels.
    pub(crate) fn names(&self, names: &[Name]) -> Vec<Arc<[u8]>> {
        let inner = self.lock();
        let channels = names.iter().filter_map(|name| inner.channels.get(name));
        channels.map(|channel| channel.log.clone()).collect()
    }

    /// Takes for heard where logs stand when they begin to be listened to.
    pub(crate) fn begin(&self, names: &[Name], heads: &[Head]) {
        let heads: HashMap<&[u8], &Head> =
            heads.iter().map(|head| (&head.name[..], head)).collect();
        let mut inner = self.lock();
        for &name in names {
            let Some(channel) = inner.channels.get_mut(&name) else {
                continue;
            };
            if let Some(head) = heads.get(&channel.log[..]) {
                channel.heard.get_or_insert((head.epoch, head.head));
            }
        }
    }

    /// The logs that somebody listens to.
    pub(crate) fn logs(&self) -> Vec<(Name, Arc<[u8]>)> {
        let inner = self.lock();
        let on = inner.channels.iter().filter(|(_, channel)| channel.on);
        on.map(|(name, channel)| (*name, channel.log.clone()))
            .collect()
    }

    /// Wakes the listeners of those of these logs that stand elsewhere than was heard. What is not
    /// among the heads is not there (any more).
    pub(crate) fn compare(&self, logs: &[(Name, Arc<[u8]>)], heads: &[Head]) {
        let heads: HashMap<&[u8], &Head> =
            heads.iter().map(|head| (&head.name[..], head)).collect();
        let mut inner = self.lock();
        for (name, log) in logs {
            let Some(channel) = inner.channels.get_mut(name) else {
                continue;
            };
            let heard = channel.heard;
            let stands = heads.get(&log[..]).map(|head| (head.epoch, head.head));
            let as_heard = match (heard, stands) {
                // It may well be further than a moment ago.
                (Some((life, last)), Some((epoch, head))) => life == epoch && last >= head,
                (None, None) => true,
                // Made by a read meanwhile, and nothing is in it.
                (None, Some((_, Sequence::ZERO))) => {
                    channel.heard = stands;
                    true
                }
                _ => false,
            };
            if !as_heard {
                channel.heard = stands;
                for listening in &channel.listeners {
                    listening.sender.send(Arrival::Wake);
                }
            }
        }
    }

    fn remove(&self, name: Name, id: u64) {
        let mut inner = self.lock();
        let Some(channel) = inner.channels.get_mut(&name) else {
            return;
        };
        channel.listeners.retain(|listening| listening.id != id);
        if channel.listeners.is_empty() {
            inner.changed.push(name);
            self.changed.notify_one();
        }
    }

    /// Nothing that runs under the lock can panic, so a poisoned one still holds a whole state.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn take_changes(&mut self) -> Changes {
        let mut changes = Changes::default();
        let mut names = std::mem::take(&mut self.changed);
        names.sort_unstable();
        names.dedup();
        for name in names {
            let Some(channel) = self.channels.get(&name) else {
                continue;
            };
            match (channel.on, channel.listeners.is_empty()) {
                (false, false) => changes.listen.push(name),
                (true, true) => changes.unlisten.push(name),
                (false, true) => {
                    self.channels.remove(&name);
                    self.waiting.remove(&name);
                }
                (true, false) => {}
            }
        }
        changes
    }
}

impl Channel {
    fn new(log: &LogName) -> Self {
        Self {
            log: log.key().into_bytes().into(),
            on: false,
            heard: None,
            listeners: Vec::new(),
        }
    }

    fn send(&self, epoch: Epoch, frame: StoredFrame) {
        let arrival = match frame.bytes.is_empty() {
            true => Arrival::Wake,
            false => Arrival::Frame { epoch, frame },
        };
        let Some((last, others)) = self.listeners.split_last() else {
            return;
        };
        for listening in others {
            listening.sender.send(arrival.clone());
        }
        last.sender.send(arrival);
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
        self.channels.remove(self.name, self.id);
    }
}
