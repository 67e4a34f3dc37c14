//! [`Slot`]: a connection that is opened when it is needed, by one for all.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use scaleout_core::{Error, Result};
use tokio::time::Instant;

use crate::{error::closed, link::Pulse};

/// What a slot holds.
pub(crate) trait Alive {
    /// What is known of its life.
    fn pulse(&self) -> &Pulse;
}

/// Holds at most one `C`. Whoever needs it while there is none opens it; those who come meanwhile
/// wait for the outcome and share it, also where it is an error.
pub(crate) struct Slot<C> {
    state: Mutex<State<C>>,
    /// Held by who opens. When the last attempt failed, and of what.
    opening: tokio::sync::Mutex<Option<(Instant, Error)>>,
}

enum State<C> {
    Empty,
    Open(Arc<C>),
    Closed,
}

impl<C: Alive> Slot<C> {
    pub(crate) fn new() -> Self {
        Self {
            state: Mutex::new(State::Empty),
            opening: tokio::sync::Mutex::default(),
        }
    }

    /// What the slot holds; `open` makes one if there is none that lives.
    pub(crate) async fn get<F>(&self, open: impl FnOnce() -> F) -> Result<Arc<C>>
    where
        F: Future<Output = Result<C>>,
    {
        if let Some(open) = self.living()? {
            return Ok(open);
        }
        let asked = Instant::now();
        let mut failed = self.opening.lock().await;
        if let Some(open) = self.living()? {
            return Ok(open);
        }
        if let Some((when, error)) = &*failed
            && *when >= asked
        {
            return Err(error.duplicate());
        }
        match open().await {
            Ok(opened) => self.put(Arc::new(opened)),
            Err(error) => {
                *failed = Some((Instant::now(), error.duplicate()));
                Err(error)
            }
        }
    }

    /// Empties the slot if what it holds has died, and tells whether it had.
    pub(crate) fn take_dead(&self) -> bool {
        let mut state = self.lock();
        let dead = matches!(&*state, State::Open(held) if !held.pulse().is_alive());
        if dead {
            *state = State::Empty;
        }
        dead
    }

    /// Takes out what it holds, for good.
    pub(crate) fn close(&self) -> Option<Arc<C>> {
        match std::mem::replace(&mut *self.lock(), State::Closed) {
            State::Open(held) => Some(held),
            _ => None,
        }
    }

    fn living(&self) -> Result<Option<Arc<C>>> {
        match &*self.lock() {
            State::Closed => Err(closed()),
            State::Open(held) if held.pulse().is_alive() => Ok(Some(held.clone())),
            State::Open(_) | State::Empty => Ok(None),
        }
    }

    fn put(&self, opened: Arc<C>) -> Result<Arc<C>> {
        let mut state = self.lock();
        if matches!(*state, State::Closed) {
            return Err(closed());
        }
        *state = State::Open(opened.clone());
        Ok(opened)
    }

    /// Nothing that runs under the lock can panic, so a poisoned one still holds a whole state.
    fn lock(&self) -> MutexGuard<'_, State<C>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
