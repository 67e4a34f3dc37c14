//! [`Slot`]: a connection that is opened when it is needed, by one for all.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures_util::{
    FutureExt,
    future::{BoxFuture, Shared, WeakShared},
};

use crate::{Error, Result};

/// What a [`Slot`] holds.
pub trait Alive: Send + Sync + 'static {
    /// Whether it works, as far as is known. What has died stays dead.
    fn is_alive(&self) -> bool;
}

/// Holds at most one connection of a backend.
///
/// Whoever needs it while there is none opens it; those who come meanwhile share the attempt and its
/// outcome, so a broker that comes back is not met by a request's worth of connections.
///
/// ```
/// use scaleout_core::{Alive, Slot};
///
/// struct Connection;
/// impl Alive for Connection {
///     fn is_alive(&self) -> bool {
///         true
///     }
/// }
///
/// # async fn example() -> scaleout_core::Result<()> {
/// let slot = Slot::default();
/// let connection = slot.get(|| async { Ok(Connection) }).await?;
/// # Ok(())
/// # }
/// ```
pub struct Slot<C> {
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

enum Joined<C> {
    Open(Arc<C>),
    Attempt(u64, Shared<Attempt<C>>),
}

impl<C> Default for Slot<C> {
    fn default() -> Self {
        Self {
            inner: Mutex::new(Inner {
                state: State::Empty,
                attempts: 0,
            }),
        }
    }
}

impl<C: Alive> Slot<C> {
    /// The connection; `open` makes one if there is none that works.
    ///
    /// # Errors
    ///
    /// What `open` says, to all who waited for it; the next call tries again.
    /// [`Closed`](crate::ErrorKind::Closed) after [`Slot::close`].
    ///
    /// # Cancellation
    ///
    /// The attempt is driven by those who wait for it. When the last of them gives up it is dropped,
    /// and the next call begins another.
    pub async fn get<F, T>(&self, open: impl FnOnce() -> F) -> Result<Arc<C>>
    where
        F: Future<Output = Result<T>> + Send + 'static,
        T: Into<Arc<C>>,
    {
        let (number, attempt) = match self.join(open)? {
            Joined::Open(connection) => return Ok(connection),
            Joined::Attempt(number, attempt) => (number, attempt),
        };
        let outcome = attempt.await;
        let mut inner = self.lock();
        match &inner.state {
            State::Closed => return Err(Error::closed()),
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

    /// Empties the slot if its connection has died, and tells whether it had: for
    /// [`Backend::probe`](crate::Backend::probe), which reports that once.
    pub fn take_dead(&self) -> bool {
        let mut inner = self.lock();
        let dead = matches!(&inner.state, State::Open(connection) if !connection.is_alive());
        if dead {
            inner.state = State::Empty;
        }
        dead
    }

    /// Takes the connection out, for good. One that is just being opened is dropped.
    pub fn close(&self) -> Option<Arc<C>> {
        match std::mem::replace(&mut self.lock().state, State::Closed) {
            State::Open(connection) => Some(connection),
            _ => None,
        }
    }

    fn join<F, T>(&self, open: impl FnOnce() -> F) -> Result<Joined<C>>
    where
        F: Future<Output = Result<T>> + Send + 'static,
        T: Into<Arc<C>>,
    {
        let mut inner = self.lock();
        match &inner.state {
            State::Closed => return Err(Error::closed()),
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
            .map(|outcome| outcome.map(Into::into).map_err(Arc::new))
            .boxed()
            .shared();
        inner.attempts += 1;
        // A shared future that has not ended can always be downgraded.
        if let Some(weak) = attempt.downgrade() {
            inner.state = State::Opening(inner.attempts, weak);
        }
        Ok(Joined::Attempt(inner.attempts, attempt))
    }

    /// Nothing that runs under the lock can leave a state half changed, so a poisoned one is whole.
    fn lock(&self) -> MutexGuard<'_, Inner<C>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<C> fmt::Debug for Slot<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        f.write_str(match &inner.state {
            State::Empty => "Slot(empty)",
            State::Opening(..) => "Slot(opening)",
            State::Open(_) => "Slot(open)",
            State::Closed => "Slot(closed)",
        })
    }
}

#[cfg(test)]
mod tests {
    use std::{
        future::pending,
        sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    };

    use futures_util::future::join_all;
    use tokio::sync::oneshot;

    use super::*;
    use crate::ErrorKind;

    #[derive(Debug, Default)]
    struct Connection {
        dead: AtomicBool,
    }

    impl Alive for Connection {
        fn is_alive(&self) -> bool {
            !self.dead.load(Ordering::Relaxed)
        }
    }

    async fn opened() -> Result<Connection> {
        tokio::task::yield_now().await;
        Ok(Connection::default())
    }

    async fn failed() -> Result<Connection> {
        tokio::task::yield_now().await;
        Err(Error::new(ErrorKind::Unavailable, "nobody is there"))
    }

    #[tokio::test]
    async fn one_opens_for_all() {
        let (slot, opens) = (Slot::default(), AtomicUsize::new(0));
        let waiting = (0..10).map(|_| {
            slot.get(|| {
                opens.fetch_add(1, Ordering::Relaxed);
                opened()
            })
        });
        for connection in join_all(waiting).await {
            connection.unwrap();
        }
        assert_eq!(opens.into_inner(), 1);
    }

    #[tokio::test]
    async fn an_error_is_shared_and_not_kept() {
        let slot = Slot::default();
        let outcomes = tokio::join!(slot.get(failed), slot.get(opened));
        assert_eq!(outcomes.0.unwrap_err().kind(), ErrorKind::Unavailable);
        assert_eq!(outcomes.1.unwrap_err().to_string(), "nobody is there");
        slot.get(opened).await.unwrap();
    }

    #[tokio::test]
    async fn one_that_gives_up_stops_no_other() {
        let slot = Slot::default();
        let (go, wait) = oneshot::channel();
        let open = || async {
            let _ = wait.await;
            Ok(Connection::default())
        };
        let mut first = Box::pin(slot.get(open));
        let mut second = Box::pin(slot.get(failed));
        assert!((&mut first).now_or_never().is_none());
        assert!((&mut second).now_or_never().is_none());
        drop(first);
        go.send(()).unwrap();
        second.await.unwrap();
    }

    #[tokio::test]
    async fn when_all_give_up_the_next_begins_anew() {
        let slot = Slot::default();
        assert!(
            slot.get(pending::<Result<Connection>>)
                .now_or_never()
                .is_none()
        );
        slot.get(opened).await.unwrap();
    }

    #[tokio::test]
    async fn a_dead_connection_is_told_once_and_replaced() {
        let slot = Slot::default();
        let connection = slot.get(opened).await.unwrap();
        assert!(!slot.take_dead());
        connection.dead.store(true, Ordering::Relaxed);
        assert!(slot.take_dead());
        assert!(!slot.take_dead());
        let next = slot.get(opened).await.unwrap();
        next.dead.store(true, Ordering::Relaxed);
        // One that nobody has looked for is replaced all the same.
        assert!(slot.get(opened).await.unwrap().is_alive());
    }

    #[tokio::test]
    async fn closed_is_for_good() {
        let slot = Slot::default();
        let mut opening = Box::pin(slot.get(opened));
        assert!((&mut opening).now_or_never().is_none());
        assert!(slot.close().is_none());
        assert_eq!(opening.await.unwrap_err().kind(), ErrorKind::Closed);
        assert_eq!(
            slot.get(opened).await.unwrap_err().kind(),
            ErrorKind::Closed
        );
    }
}
