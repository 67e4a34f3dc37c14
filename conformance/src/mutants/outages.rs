//! Mutants that do the wrong thing when the connection or the broker fails.

use std::{
    collections::{HashMap, HashSet},
    future::Future,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use scaleout_core::{
    Appended, Backend, EncodedFrame, Error, ErrorKind, Listener, LogName, Page, Position, Result,
};

use super::{
    Mutant, MutantTarget,
    hook::{Hook, Inner, hooked},
    store::as_another,
};
use crate::relay::AbortOnDrop;

pub(super) const MUTANTS: &[Mutant] = &[
    Mutant::new(
        "ack-before-store",
        "acknowledges what it has handed over, stored or not",
        &["I07", "J03", "J10"],
        |target| hooked(target, Early(Mutex::default())),
    ),
    Mutant::new(
        "auto-retry-duplicates",
        "repeats an append whose answer was lost, as if it were another",
        &["F18"],
        |target| hooked(target, Retries),
    ),
    Mutant::new(
        "deaf-after-reconnect",
        "subscribes once, and not again when the connection is back",
        &["H06", "I01", "I02", "I08", "I14"],
        |target| hooked(target, Once(Mutex::default())),
    ),
    Mutant::new(
        "trusts-silence",
        "takes a connection for alive until somebody closes it",
        &["I03", "I06", "I10", "I11", "I15", "I16"],
        |target| hooked(target, Trusting),
    ),
    Mutant::new(
        "impatient",
        "gives up what takes longer than a tenth of a second",
        &["I04"],
        |target| hooked(target, Impatient),
    ),
    Mutant::new(
        "needs-traffic",
        "takes a connection for dead on which nothing was published for a while",
        &["D07"],
        |target| hooked(target, Nervous(AtomicBool::new(true))),
    ),
    Mutant::new(
        "hammering",
        "tries again without a pause",
        &["I09"],
        |target| {
            MutantTarget::connector(target, |target, url| {
                let mut connector = target.connector(url)?;
                connector.options.backoff_min = Duration::from_millis(1);
                connector.options.backoff_max = Duration::from_millis(1);
                Ok(connector)
            })
        },
    ),
    Mutant::new(
        "hopeful",
        "takes a refusal for an outage that will pass",
        &["K01", "K02", "K03", "K04", "K05"],
        |target| hooked(target, Hopeful),
    ),
];

/// Where each log ended when it was last heard of.
#[derive(Debug)]
struct Early(Mutex<HashMap<LogName, Position>>);

impl Hook for Early {
    async fn append(&self, inner: &Inner, log: &LogName, frame: &EncodedFrame) -> Result<Appended> {
        let result = inner.backend.append(log, frame).await;
        let mut heads = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match (result, heads.get_mut(log)) {
            (Ok(appended), _) => {
                heads.extend(appended.first.map(|first| (log.clone(), first)));
                Ok(appended)
            }
            (Err(_), Some(head)) => {
                head.sequence = head.sequence.next();
                Ok(Appended { first: Some(*head) })
            }
            (Err(error), None) => Err(error),
        }
    }
}

#[derive(Debug)]
struct Retries;

impl Hook for Retries {
    async fn append(&self, inner: &Inner, log: &LogName, frame: &EncodedFrame) -> Result<Appended> {
        match inner.backend.append(log, frame).await {
            Err(error) if error.is_transient() => {
                inner.backend.append(log, &as_another(frame)).await
            }
            result => result,
        }
    }
}

/// Who has listened to what.
#[derive(Debug)]
struct Once(Mutex<HashSet<(usize, LogName)>>);

impl Hook for Once {
    async fn listen(
        &self,
        inner: &Inner,
        log: &LogName,
        after: Option<Position>,
    ) -> Result<Listener> {
        let first = self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert((inner.index, log.clone()));
        if first {
            return inner.backend.listen(log, after).await;
        }
        let (sender, listener) = Listener::channel();
        Ok(listener.with_guard(sender))
    }
}

#[derive(Debug)]
struct Trusting;

impl Hook for Trusting {
    async fn probe(&self, _: &Inner) -> Result<()> {
        Ok(())
    }

    async fn append(&self, inner: &Inner, log: &LogName, frame: &EncodedFrame) -> Result<Appended> {
        trust(inner.backend.append(log, frame)).await
    }

    async fn read(
        &self,
        inner: &Inner,
        log: &LogName,
        after: Option<Position>,
        limit: usize,
    ) -> Result<Page> {
        trust(inner.backend.read(log, after, limit)).await
    }

    /// The end of the inner listener is not passed on.
    async fn listen(
        &self,
        inner: &Inner,
        log: &LogName,
        after: Option<Position>,
    ) -> Result<Listener> {
        let mut listening = trust(inner.backend.listen(log, after)).await?;
        let (sender, listener) = Listener::channel();
        let task = tokio::spawn(async move {
            while let Ok(arrival) = listening.next().await {
                if !sender.send(arrival) {
                    return;
                }
            }
            std::future::pending::<()>().await;
        });
        Ok(listener.with_guard(AbortOnDrop(task)))
    }
}

/// A request whose connection is lost goes on waiting.
async fn trust<T>(request: impl Future<Output = Result<T>>) -> Result<T> {
    match request.await {
        Err(error) if matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Timeout) => {
            std::future::pending().await
        }
        result => result,
    }
}

#[derive(Debug)]
struct Impatient;

impl Hook for Impatient {
    async fn append(&self, inner: &Inner, log: &LogName, frame: &EncodedFrame) -> Result<Appended> {
        let limit = Duration::from_millis(100);
        tokio::time::timeout(limit, inner.backend.append(log, frame))
            .await
            .unwrap_or_else(|_| {
                Err(Error::new(ErrorKind::Timeout, "too slow").with_unknown_outcome())
            })
    }
}

/// Whether something was published since the last probe.
#[derive(Debug)]
struct Nervous(AtomicBool);

impl Hook for Nervous {
    async fn probe(&self, inner: &Inner) -> Result<()> {
        if self.0.swap(false, Ordering::Relaxed) {
            return inner.backend.probe().await;
        }
        self.0.store(true, Ordering::Relaxed);
        Err(Error::new(ErrorKind::Unavailable, "nothing happens"))
    }

    async fn append(&self, inner: &Inner, log: &LogName, frame: &EncodedFrame) -> Result<Appended> {
        self.0.store(true, Ordering::Relaxed);
        inner.backend.append(log, frame).await
    }
}

#[derive(Debug)]
struct Hopeful;

impl Hook for Hopeful {
    async fn probe(&self, inner: &Inner) -> Result<()> {
        inner.backend.probe().await.map_err(hope)
    }

    async fn append(&self, inner: &Inner, log: &LogName, frame: &EncodedFrame) -> Result<Appended> {
        inner.backend.append(log, frame).await.map_err(hope)
    }

    async fn read(
        &self,
        inner: &Inner,
        log: &LogName,
        after: Option<Position>,
        limit: usize,
    ) -> Result<Page> {
        inner.backend.read(log, after, limit).await.map_err(hope)
    }

    async fn listen(
        &self,
        inner: &Inner,
        log: &LogName,
        after: Option<Position>,
    ) -> Result<Listener> {
        inner.backend.listen(log, after).await.map_err(hope)
    }
}

fn hope(error: Error) -> Error {
    match error.kind() {
        ErrorKind::Auth => Error::new(ErrorKind::Unavailable, error.to_string()),
        _ => error,
    }
}
