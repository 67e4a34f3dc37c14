//! [`Slot`]: a connection that is opened when it is needed, by one for all.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::{
    FutureExt,
    future::{BoxFuture, Shared, WeakShared},
};
use scaleout_core::{Error, Result};

use crate::error::closed;

/// What a slot holds.
pub(crate) trait Connection: Send + Sync + 'static {
    /// Whether it still works, as far as is known.
    fn is_alive(&self) -> bool;
}

/// Holds at most one connection. Whoever needs it while there is none opens it, and those who come
/// meanwhile share the attempt and its outcome. The attempt is driven by those who wait: when the last
/// of them gives up, it ends, and the next request begins another.
pub(crate) struct Slot<C> {
    inner: Mutex<Inner<C>>,
}

struct Inner<C> {
    state: State<C>,
    /// Numbers the attempts, so that a late waiter of an old one does not undo a new one.
    attempts: u64,
}

enum State<C> {
    Empty,
    Opening(u64, WeakShared<Attempt<C>>),
    Open(Arc<C>),
    Closed,
}

type Attempt<C> = BoxFuture<'static, Result<Arc<C>, Arc<Error>>>;

impl<C: Connection> Slot<C> {
    pub(crate) fn new() -> Self {
        Self {
            inner: Mutex::new(Inner {
                state: State::Empty,
                attempts: 0,
            }),
        }
    }

    /// The connection; `open` makes one if there is none that works.
    pub(crate) async fn get<F>(&self, open: impl FnOnce() -> F) -> Result<Arc<C>>
    where
        F: Future<Output = Result<C>> + Send + 'static,
    {
        let (number, attempt) = match self.join(open)? {
            Joined::Open(connection) => return Ok(connection),
            Joined::Attempt(number, attempt) => (number, attempt),
        };
        let outcome = attempt.await;
        let mut inner = self.lock();
        match &inner.state {
            State::Closed => return Err(closed()),
            State::Opening(present, _) if *present == number => {
                inner.state = match &outcome {
                    Ok(connection) => State::Open(connection.clone()),
                    Err(_) => State::Empty,
                };
            }
            _ => {}
        }
        outcome.map_err(|error| error.duplicate())
    }

    /// Empties the slot if its connection has died, and tells whether it had.
    pub(crate) fn take_dead(&self) -> bool {
        let mut inner = self.lock();
        let dead = matches!(&inner.state, State::Open(connection) if !connection.is_alive());
        if dead {
            inner.state = State::Empty;
        }
        dead
    }

    fn join<F>(&self, open: impl FnOnce() -> F) -> Result<Joined<C>>
    where
        F: Future<Output = Result<C>> + Send + 'static,
    {
        let mut inner = self.lock();
        match &inner.state {
            State::Closed => return Err(closed()),
            State::Open(connection) if connection.is_alive() => {
                return Ok(Joined::Open(connection.clone()));
            }
            State::Opening(number, attempt) => {
                if let Some(attempt) = attempt.upgrade() {
                    return Ok(Joined::Attempt(*number, attempt));
                }
            }
            State::Open(_) | State::Empty => {}
        }
        let attempt = open()
            .map(|outcome| outcome.map(Arc::new).map_err(Arc::new))
            .boxed()
            .shared();
        inner.attempts += 1;
        // A shared future that has not ended can always be downgraded.
        if let Some(weak) = attempt.downgrade() {
            inner.state = State::Opening(inner.attempts, weak);
        }
        Ok(Joined::Attempt(inner.attempts, attempt))
    }

    /// Takes the connection out, for good.
    pub(crate) fn close(&self) -> Option<Arc<C>> {
        match std::mem::replace(&mut self.lock().state, State::Closed) {
            State::Open(connection) => Some(connection),
            _ => None,
        }
    }

    /// Nothing that runs under the lock can panic, so a poisoned one still holds a whole state.
    fn lock(&self) -> MutexGuard<'_, Inner<C>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

enum Joined<C> {
    Open(Arc<C>),
    Attempt(u64, Shared<Attempt<C>>),
}
