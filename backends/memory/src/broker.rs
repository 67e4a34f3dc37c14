//! [`Broker`]: the logs that the nodes of one process share.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use scaleout_core::{ListenerSender, LogName};
use tokio::time::Instant;

use crate::{
    config::Config,
    log::{Life, Log},
};

/// How often the logs that nobody touches are looked through for what has expired.
const SWEEP_EVERY: Duration = Duration::from_secs(60);

/// All logs of a name. One lock for all of them: it is held for a push and the wake-ups that follow
/// from it, a wipe is atomic, and a log can be dropped without anybody holding a stale one.
#[derive(Debug, Default)]
pub(crate) struct Broker {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) logs: HashMap<LogName, Log>,
    next_sweep: Option<Instant>,
    last_listener: u64,
}

impl Broker {
    /// Nothing that runs under the lock leaves the state half changed if it panics, so a poisoned
    /// lock still holds a whole state.
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes away the listeners of the nodes that `of_node` picks. The caller drops or ends them,
    /// without the lock.
    pub(crate) fn take_listeners(&self, of_node: impl Fn(u64) -> bool) -> Vec<ListenerSender> {
        let mut state = self.lock();
        let mut taken = Vec::new();
        for log in state.logs.values_mut() {
            let gone = log
                .listeners
                .extract_if(.., |listener| of_node(listener.node));
            taken.extend(gone.map(|listener| listener.sender));
        }
        taken
    }
}

impl State {
    /// The log of that name, for use: a new life if it has none or if its old one has expired.
    pub(crate) fn log(&mut self, name: &LogName, config: &Config, now: Instant) -> &mut Log {
        self.sweep(now);
        let log = match self.logs.entry(name.clone()) {
            Entry::Occupied(entry) => {
                let log = entry.into_mut();
                if log.is_expired(now) {
                    log.life = Life::new();
                }
                log
            }
            Entry::Vacant(entry) => entry.insert(Log::new()),
        };
        log.use_until(now, now + config.idle_expiry);
        log
    }

    pub(crate) fn next_listener(&mut self) -> u64 {
        self.last_listener += 1;
        self.last_listener
    }

    /// Frees the memory of what has expired. Nothing depends on when it runs: whoever uses a log
    /// looks at its times first.
    fn sweep(&mut self, now: Instant) {
        if self.next_sweep.is_some_and(|next| now < next) {
            return;
        }
        self.next_sweep = Some(now + SWEEP_EVERY);
        self.logs.retain(|_, log| {
            log.life.drop_aged(now);
            !log.is_expired(now)
        });
    }
}
