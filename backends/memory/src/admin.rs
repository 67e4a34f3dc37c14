//! [`Memory`]: what an operator can do to a broker.

use std::{fmt, sync::Arc};

use scaleout_core::{LogName, Result};

use crate::{
    broker::Broker,
    config::{invalid, is_name},
    connection,
    log::Life,
};

/// A handle on a memory broker, past the nodes: what `redis-cli` is to Redis. It keeps the broker
/// alive. Cheap to clone.
///
/// ```
/// use scaleout_core::{Backend, LogName, Namespace, Partitioning, Topic};
/// use scaleout_memory::{Memory, connector};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> scaleout_core::Result<()> {
/// let backend = connector("memory:doc")?.backend;
/// let log = LogName::of_topic(&Namespace::default(), &Topic::new("room/42")?, Partitioning::PerTopic);
/// let listener = backend.listen(&log, None).await?;
/// let admin = Memory::named("doc")?;
/// assert_eq!(admin.listeners(&log), 1);
/// drop(listener);
/// assert_eq!(admin.listeners(&log), 0);
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Memory {
    broker: Arc<Broker>,
}

impl Memory {
    /// The broker of the URL `memory:NAME`; the empty name is that of `memory:`. It comes to be if
    /// nobody holds it.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`](scaleout_core::ErrorKind::InvalidInput) if a broker cannot be
    /// called so.
    pub fn named(name: &str) -> Result<Self> {
        if !is_name(name) {
            return Err(invalid(format!(
                "{name:?} is not a broker's name; up to 64 characters of A-Z a-z 0-9 _ . - are"
            )));
        }
        Ok(Self {
            broker: connection::connect(name),
        })
    }

    /// Loses all data: every log begins a new epoch, and its sequences begin again. Listeners stay
    /// subscribed.
    pub fn wipe(&self) {
        let mut state = self.broker.lock();
        state.logs.retain(|_, log| {
            log.life = Life::new();
            !log.listeners.is_empty()
        });
    }

    /// Loses one log's data, as [`wipe`](Self::wipe) does. Returns whether there was such a log.
    pub fn delete(&self, log: &LogName) -> bool {
        let mut state = self.broker.lock();
        let Some(entry) = state.logs.get_mut(log) else {
            return false;
        };
        entry.life = Life::new();
        if entry.listeners.is_empty() {
            state.logs.remove(log);
        }
        true
    }

    /// Drops a log's oldest frames until `keep` are left; 0 empties it. Epoch and head stay.
    pub fn trim(&self, log: &LogName, keep: usize) {
        if let Some(log) = self.broker.lock().logs.get_mut(log) {
            log.life.trim(keep);
        }
    }

    /// How many listeners of a log there are, on all nodes.
    pub fn listeners(&self, log: &LogName) -> usize {
        self.broker
            .lock()
            .logs
            .get(log)
            .map_or(0, |log| log.listeners.len())
    }

    /// How many listeners there are in all.
    pub fn all_listeners(&self) -> usize {
        self.broker
            .lock()
            .logs
            .values()
            .map(|log| log.listeners.len())
            .sum()
    }

    /// How many logs the broker holds.
    pub fn logs(&self) -> usize {
        self.broker.lock().logs.len()
    }

    /// Ends every listener with
    /// [`ErrorKind::Unavailable`](scaleout_core::ErrorKind::Unavailable), as a broker does that
    /// throws its clients out. Returns how many there were.
    pub fn kick(&self) -> usize {
        self.broker.take_listeners(|_| true).len()
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory")
            .field("logs", &self.logs())
            .field("listeners", &self.all_listeners())
            .finish()
    }
}
