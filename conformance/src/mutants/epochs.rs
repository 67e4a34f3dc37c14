//! Mutants that have another idea of a log's epoch than the broker.

use std::{
    collections::HashMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use scaleout_core::{
    Appended, Arrival, Backend, EncodedFrame, Epoch, ErrorKind, Listener, LogName, Page, Position,
    Result,
};

use super::{
    Mutant,
    hook::{Hook, Inner, hooked},
};
use crate::relay;

pub(super) const MUTANTS: &[Mutant] = &[
    Mutant::new(
        "keep-epoch-on-wipe",
        "goes on in a log's first epoch whatever happened to its data",
        &[
            "F04", "F05", "F06", "F08", "F09", "J02", "J05", "J06", "J08", "P08", "P10",
        ],
        |target| hooked(target, Epochs::Kept(Mutex::default())),
    ),
    Mutant::new(
        "split-epoch",
        "lets each node make an epoch up",
        &["F03", "F07"],
        |target| hooked(target, Epochs::PerNode),
    ),
    Mutant::new(
        "epoch-per-connection",
        "takes each connection for the beginning of another epoch",
        &["F03", "J01", "J03", "J04"],
        |target| hooked(target, Epochs::PerConnection(AtomicU64::new(0))),
    ),
];

#[derive(Debug)]
enum Epochs {
    /// The first epoch of each log, and the present one.
    Kept(Mutex<HashMap<LogName, (Epoch, Epoch)>>),
    PerNode,
    /// How many connections were lost.
    PerConnection(AtomicU64),
}

impl Epochs {
    /// What is said in place of the epoch that the broker names.
    fn told(&self, inner: &Inner, log: &LogName, real: Epoch) -> Epoch {
        match self {
            Self::Kept(known) => {
                let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
                let (first, present) = known.entry(log.clone()).or_insert((real, real));
                *present = real;
                *first
            }
            _ => Epoch::new(real.get() ^ self.mask(inner)),
        }
    }

    /// The broker's epoch behind one that was told.
    fn real(&self, inner: &Inner, log: &LogName, told: Epoch) -> Epoch {
        match self {
            Self::Kept(known) => {
                let known = known.lock().unwrap_or_else(PoisonError::into_inner);
                match known.get(log) {
                    Some((first, present)) if *first == told => *present,
                    _ => told,
                }
            }
            _ => Epoch::new(told.get() ^ self.mask(inner)),
        }
    }

    fn mask(&self, inner: &Inner) -> u128 {
        match self {
            Self::Kept(_) => 0,
            Self::PerNode => inner.index as u128,
            Self::PerConnection(lost) => u128::from(lost.load(Ordering::Relaxed)),
        }
    }

    /// An error that may mean that the connection is gone.
    fn failed(&self, kind: ErrorKind) {
        if let (Self::PerConnection(lost), ErrorKind::Unavailable | ErrorKind::Timeout) =
            (self, kind)
        {
            lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn position(&self, inner: &Inner, log: &LogName, told: Option<Position>) -> Option<Position> {
        told.map(|told| Position::new(self.real(inner, log, told.epoch), told.sequence))
    }
}

impl Hook for Epochs {
    async fn probe(&self, inner: &Inner) -> Result<()> {
        let probed = inner.backend.probe().await;
        probed.inspect_err(|error| self.failed(error.kind()))
    }

    async fn append(&self, inner: &Inner, log: &LogName, frame: &EncodedFrame) -> Result<Appended> {
        let mut appended = inner.backend.append(log, frame).await?;
        if let Some(first) = &mut appended.first {
            first.epoch = self.told(inner, log, first.epoch);
        }
        Ok(appended)
    }

    async fn read(
        &self,
        inner: &Inner,
        log: &LogName,
        after: Option<Position>,
        limit: usize,
    ) -> Result<Page> {
        let after = self.position(inner, log, after);
        let mut page = inner.backend.read(log, after, limit).await?;
        page.epoch = self.told(inner, log, page.epoch);
        Ok(page)
    }

    async fn listen(
        &self,
        inner: &Inner,
        log: &LogName,
        after: Option<Position>,
    ) -> Result<Listener> {
        let after = self.position(inner, log, after);
        let listener = inner.backend.listen(log, after).await?;
        // A listener belongs to one connection, and so to one mask.
        let mask = self.mask(inner);
        let kept = match self {
            Self::Kept(known) => {
                let known = known.lock().unwrap_or_else(PoisonError::into_inner);
                known.get(log).map(|(first, _)| *first)
            }
            _ => None,
        };
        Ok(relay::map(listener, move |arrival| {
            vec![match arrival {
                Arrival::Frame { epoch, frame } => {
                    let told = kept.unwrap_or(Epoch::new(epoch.get() ^ mask));
                    relay::frame(told, frame)
                }
                other => other,
            }]
        }))
    }
}
