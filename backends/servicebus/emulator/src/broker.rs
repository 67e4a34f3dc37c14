//! What all connections share: the namespace, the keys, the faults, and who waits for what.

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::sync::Notify;

use crate::{
    clock::{Clock, Moment},
    entity::{Address, Namespace},
    faults::Faults,
    sas::{Grant, Policies, Rights},
};

/// Connections that wait at an address, by their numbers.
type Waiters = Vec<(u64, Arc<Notify>)>;

/// The emulator's state.
pub(crate) struct Broker {
    clock: Clock,
    namespace: Mutex<Namespace>,
    waiting: Mutex<HashMap<Address, Waiters>>,
    last_connection: AtomicU64,
    policies: Policies,
    pub(crate) faults: Faults,
}

impl fmt::Debug for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Broker").finish_non_exhaustive()
    }
}

impl Broker {
    pub(crate) fn new(namespace: Namespace, policies: Policies, faults: Faults) -> Self {
        Self {
            clock: Clock::system(),
            namespace: Mutex::new(namespace),
            waiting: Mutex::default(),
            last_connection: AtomicU64::new(0),
            policies,
            faults,
        }
    }

    /// What the holder of a token may do, and until when.
    pub(crate) fn verify(&self, token: &str) -> Result<Grant, &'static str> {
        if self.faults.keys_are_revoked() {
            return Err("InvalidSignature: The key was revoked.");
        }
        self.policies.verify(token, self.now())
    }

    /// What the holder of a key may do.
    pub(crate) fn with_key(&self, policy: &str, key: &str) -> Option<Rights> {
        let rights = self.policies.with_key(policy, key)?;
        (!self.faults.keys_are_revoked()).then_some(rights)
    }

    pub(crate) fn now(&self) -> Moment {
        self.clock.now()
    }

    /// Does something with the namespace, and wakes those who wait for what changed by it.
    pub(crate) fn with<T>(&self, act: impl FnOnce(&mut Namespace, Moment) -> T) -> T {
        let mut namespace = lock(&self.namespace);
        let result = act(&mut namespace, self.now());
        let changed = namespace.take_changed();
        drop(namespace);
        if !changed.is_empty() {
            let waiting = lock(&self.waiting);
            let waiters = changed.iter().filter_map(|address| waiting.get(address));
            waiters.flatten().for_each(|(_, waker)| waker.notify_one());
        }
        result
    }

    /// A number for a connection.
    pub(crate) fn next_connection(&self) -> u64 {
        self.last_connection.fetch_add(1, Ordering::Relaxed)
    }

    /// From now on the connection is woken when there may be something at this address.
    pub(crate) fn watch(&self, address: &Address, connection: u64, waker: &Arc<Notify>) {
        let mut waiting = lock(&self.waiting);
        let waiters = waiting.entry(address.clone()).or_default();
        waiters.push((connection, Arc::clone(waker)));
    }

    /// Takes one `watch` back.
    pub(crate) fn unwatch(&self, address: &Address, connection: u64) {
        let mut waiting = lock(&self.waiting);
        if let Some(waiters) = waiting.get_mut(address) {
            if let Some(at) = waiters.iter().position(|(waiter, _)| *waiter == connection) {
                waiters.swap_remove(at);
            }
            if waiters.is_empty() {
                waiting.remove(address);
            }
        }
    }
}

/// A mutex whose holder panicked still guards sound data: nothing here is left half done.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
