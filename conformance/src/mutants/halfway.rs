//! Mutants that are confused by a call that was given up half way.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use scaleout_core::{
    AnyBackend, Appended, Backend, EncodedFrame, Error, ErrorKind, Listener, LogName, Page,
    Position, Result,
};
use tokio::sync::{Mutex as Turn, Semaphore, mpsc};

use super::{
    Mutant,
    hook::{Hook, Inner, hooked, messages, with_messages},
};

pub(super) const MUTANTS: &[Mutant] = &[
    Mutant::new(
        "reply-desync",
        "gives a call the answer of the one that was given up before it",
        &["N02", "N03"],
        |target| hooked(target, Desync::default()),
    ),
    Mutant::new(
        "orphan-subscription",
        "finishes a subscription that was given up, for nobody",
        &["N05"],
        |target| hooked(target, Orphans(Arc::default())),
    ),
    Mutant::new(
        "half-batch",
        "stores half of every third batch",
        &["N06"],
        |target| hooked(target, Halves(AtomicUsize::new(0))),
    ),
    Mutant::new(
        "lost-permit",
        "keeps the one connection of its pool when a call on it is given up",
        &["N07"],
        |target| hooked(target, Pool::default()),
    ),
];

/// Answers in the order of the requests, as on one connection, for whoever asks next.
#[derive(Debug)]
struct Replies<T> {
    sender: mpsc::UnboundedSender<Result<T>>,
    receiver: Turn<mpsc::UnboundedReceiver<Result<T>>>,
}

impl<T: Send + 'static> Replies<T> {
    async fn ask(&self, request: impl Future<Output = Result<T>> + Send + 'static) -> Result<T> {
        let sender = self.sender.clone();
        tokio::spawn(async move { sender.send(request.await) });
        let reply = self.receiver.lock().await.recv().await;
        // The sender lives in self.
        reply.unwrap_or_else(|| Err(Error::new(ErrorKind::Broker, "no answer")))
    }
}

impl<T> Default for Replies<T> {
    fn default() -> Self {
        let (sender, receiver) = mpsc::unbounded_channel();
        Self {
            sender,
            receiver: Turn::new(receiver),
        }
    }
}

/// The connections of the nodes.
#[derive(Debug, Default)]
struct Desync {
    appends: Mutex<HashMap<usize, Arc<Replies<Appended>>>>,
    reads: Mutex<HashMap<usize, Arc<Replies<Page>>>>,
}

fn connection<T>(all: &Mutex<HashMap<usize, Arc<Replies<T>>>>, inner: &Inner) -> Arc<Replies<T>> {
    let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
    all.entry(inner.index).or_default().clone()
}

impl Hook for Desync {
    async fn append(&self, inner: &Inner, log: &LogName, frame: &EncodedFrame) -> Result<Appended> {
        let (backend, log, frame) = (inner.backend.clone(), log.clone(), frame.clone());
        connection(&self.appends, inner)
            .ask(async move { backend.append(&log, &frame).await })
            .await
    }

    async fn read(
        &self,
        inner: &Inner,
        log: &LogName,
        after: Option<Position>,
        limit: usize,
    ) -> Result<Page> {
        let (backend, log) = (inner.backend.clone(), log.clone());
        connection(&self.reads, inner)
            .ask(async move { backend.read(&log, after, limit).await })
            .await
    }
}

/// Subscriptions that nobody waited for, with the backends that they hang on.
#[derive(Debug)]
struct Orphans(Arc<Mutex<Vec<(AnyBackend, Listener)>>>);

impl Hook for Orphans {
    async fn listen(
        &self,
        inner: &Inner,
        log: &LogName,
        after: Option<Position>,
    ) -> Result<Listener> {
        let (backend, log, orphans) = (inner.backend.clone(), log.clone(), self.0.clone());
        let (sender, receiver) = tokio::sync::oneshot::channel();
        tokio::spawn(async move {
            let result = backend.listen(&log, after).await;
            if let Err(Ok(orphan)) = sender.send(result) {
                orphans
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push((backend, orphan));
            }
        });
        receiver
            .await
            .unwrap_or_else(|_| Err(Error::new(ErrorKind::Closed, "the runtime ends")))
    }
}

#[derive(Debug)]
struct Halves(AtomicUsize);

impl Hook for Halves {
    async fn append(
        &self,
        inner: &Inner,
        log: &LogName,
        original: &EncodedFrame,
    ) -> Result<Appended> {
        let mut left = messages(original);
        if left.len() > 1 && self.0.fetch_add(1, Ordering::Relaxed) % 3 == 2 {
            left.truncate(left.len() / 2);
        }
        let left = with_messages(original, &left);
        inner.backend.append(log, &left).await
    }
}

/// Each node's pool of one connection.
#[derive(Debug, Default)]
struct Pool(Mutex<HashMap<usize, Arc<Semaphore>>>);

impl Hook for Pool {
    async fn append(&self, inner: &Inner, log: &LogName, frame: &EncodedFrame) -> Result<Appended> {
        let pool = {
            let mut pools = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let pool = pools.entry(inner.index);
            pool.or_insert_with(|| Arc::new(Semaphore::new(1))).clone()
        };
        let closed = |_| Error::new(ErrorKind::Closed, "the pool is closed");
        pool.acquire().await.map_err(closed)?.forget();
        let result = inner.backend.append(log, frame).await;
        pool.add_permits(1);
        result
    }
}
