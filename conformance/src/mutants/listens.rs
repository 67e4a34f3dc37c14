//! Mutants that listen wrongly.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use scaleout_core::{AnyBackend, Backend, Listener, LogName, Position, Result};

use super::{
    Mutant,
    hook::{Hook, Inner, hooked},
};
use crate::relay::{self, AbortOnDrop};

pub(super) const MUTANTS: &[Mutant] = &[
    Mutant::new(
        "late-subscribe",
        "says that it listens before the broker has confirmed it",
        &["D01", "D05"],
        |target| hooked(target, Listens::Late),
    ),
    Mutant::new(
        "seam-hole",
        "misses what comes in while it turns from history to live",
        &["D01", "D05"],
        |target| hooked(target, Listens::Seam),
    ),
    Mutant::new(
        "coalescing",
        "passes a frame on when the next one comes",
        &["D01", "D10", "D11"],
        |target| hooked(target, Listens::Coalescing),
    ),
    Mutant::new(
        "leak-subscription",
        "leaves a subscription at the broker",
        &["L01", "L04"],
        |target| hooked(target, Listens::Leaks(Mutex::default())),
    ),
    Mutant::new(
        "leak-task",
        "leaves a task behind for each subscription",
        &["J12", "L03", "L04", "L08", "Q09"],
        |target| hooked(target, Listens::LeaksTask),
    ),
];

#[derive(Debug)]
enum Listens {
    Late,
    Seam,
    Coalescing,
    Leaks(Mutex<Vec<(AnyBackend, Listener)>>),
    LeaksTask,
}

impl Hook for Listens {
    async fn listen(
        &self,
        inner: &Inner,
        log: &LogName,
        after: Option<Position>,
    ) -> Result<Listener> {
        match self {
            Self::Late => Ok(late(inner.backend.clone(), log.clone(), after)),
            Self::Seam => {
                let listener = inner.backend.listen(log, after).await?;
                let mut first = true;
                Ok(relay::map(listener, move |arrival| {
                    if std::mem::take(&mut first) {
                        Vec::new()
                    } else {
                        vec![arrival]
                    }
                }))
            }
            Self::Coalescing => {
                let listener = inner.backend.listen(log, after).await?;
                let mut waiting = None;
                Ok(relay::map(listener, move |arrival| {
                    waiting.replace(arrival).into_iter().collect()
                }))
            }
            Self::Leaks(leaked) => {
                let second = inner.backend.listen(log, after).await?;
                leaked
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push((inner.backend.clone(), second));
                inner.backend.listen(log, after).await
            }
            Self::LeaksTask => {
                tokio::spawn(std::future::pending::<()>());
                inner.backend.listen(log, after).await
            }
        }
    }
}

/// Subscribes at the broker a moment after it said so.
fn late(backend: AnyBackend, log: LogName, after: Option<Position>) -> Listener {
    let (sender, listener) = Listener::channel();
    let task = tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(5)).await;
        match backend.listen(&log, after).await {
            Ok(mut inner) => {
                while let Ok(arrival) = inner.next().await {
                    if !sender.send(arrival) {
                        return;
                    }
                }
            }
            Err(error) => sender.end(error),
        }
    });
    listener.with_guard(AbortOnDrop(task))
}
