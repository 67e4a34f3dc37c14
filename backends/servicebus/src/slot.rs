//! [`Slot`]: what is open to the service, opened when it is needed, by one for all.

use std::sync::{Arc, Mutex as SyncMutex, MutexGuard, PoisonError};

use scaleout_core::{Error, Result};
use tokio::{sync::Mutex, time::Instant};

use crate::error::closed;

/// What a slot can hold.
pub(crate) trait Mortal {
    /// Whether it works. What has died stays dead.
    fn is_alive(&self) -> bool;
}

/// Holds at most one link.
#[derive(Debug)]
pub(crate) struct Slot<L> {
    /// What is open now. Apart, so that it can be taken while somebody opens another.
    open: SyncMutex<State<L>>,
    /// Held by the one that opens.
    opening: Mutex<Option<Failed>>,
}

#[derive(Debug)]
enum State<L> {
    Empty,
    Open(Arc<L>),
    Closed,
}

/// An attempt that failed.
#[derive(Debug)]
struct Failed {
    at: Instant,
    error: Error,
}

impl<L> Default for Slot<L> {
    fn default() -> Self {
        Self {
            open: SyncMutex::new(State::Empty),
            opening: Mutex::default(),
        }
    }
}

impl<L: Mortal> Slot<L> {
    /// The link; `open` makes one if there is none that works. Those who come while one is being
    /// opened share its outcome.
    pub(crate) async fn get<F>(&self, open: impl FnOnce() -> F) -> Result<Arc<L>>
    where
        F: Future<Output = Result<Arc<L>>>,
    {
        if let Some(link) = self.present()? {
            return Ok(link);
        }
        let came = Instant::now();
        let mut last = self.opening.lock().await;
        if let Some(link) = self.present()? {
            return Ok(link);
        }
        if let Some(failed) = &*last
            && failed.at >= came
        {
            return Err(failed.error.duplicate());
        }
        match open().await {
            Ok(link) => {
                let mut state = self.state();
                if matches!(*state, State::Closed) {
                    return Err(closed());
                }
                *state = State::Open(link.clone());
                Ok(link)
            }
            Err(error) => {
                *last = Some(Failed {
                    at: Instant::now(),
                    error: error.duplicate(),
                });
                Err(error)
            }
        }
    }

    fn present(&self) -> Result<Option<Arc<L>>> {
        match &*self.state() {
            State::Closed => Err(closed()),
            State::Open(link) if link.is_alive() => Ok(Some(link.clone())),
            State::Open(_) | State::Empty => Ok(None),
        }
    }

    /// Empties the slot if its link has died, and tells whether it had.
    pub(crate) fn take_dead(&self) -> bool {
        let mut state = self.state();
        let dead = matches!(&*state, State::Open(link) if !link.is_alive());
        if dead {
            *state = State::Empty;
        }
        dead
    }

    /// Takes the link out, for good.
    pub(crate) fn close(&self) -> Option<Arc<L>> {
        match std::mem::replace(&mut *self.state(), State::Closed) {
            State::Open(link) => Some(link),
            State::Empty | State::Closed => None,
        }
    }

    /// Nothing that runs under the lock can panic, so a poisoned one still holds a whole state.
    fn state(&self) -> MutexGuard<'_, State<L>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
