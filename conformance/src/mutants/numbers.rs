//! Mutants that number wrongly.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use scaleout_core::{
    Appended, Arrival, Backend, EncodedFrame, Epoch, Listener, LogName, Page, Position, Result,
    Sequence,
};

use super::{
    Mutant,
    hook::{Hook, Inner, hooked},
};
use crate::relay;

pub(super) const MUTANTS: &[Mutant] = &[
    Mutant::new(
        "no-receipt",
        "claims receipts, and gives none",
        &["A01"],
        |target| hooked(target, Receipts::None),
    ),
    Mutant::new(
        "receipt-off-by-one",
        "answers with the place after the message",
        &["A01", "A05"],
        |target| hooked(target, Receipts::OffByOne),
    ),
    Mutant::new(
        "numbers-by-node",
        "lets each node number by a range of its own",
        &["A05", "G06"],
        |target| hooked(target, Receipts::ByNode),
    ),
    Mutant::new(
        "epoch-on-first-use",
        "makes an unused log's epoch up each time",
        &["A06"],
        |target| hooked(target, Ends::FreshEpoch),
    ),
    Mutant::new(
        "wavering-head",
        "now and then forgets the newest message when asked for the head",
        &["A07", "G08", "G09", "G10"],
        |target| hooked(target, Ends::Wavering(Mutex::new(0))),
    ),
    Mutant::new(
        "length-as-head",
        "takes the number of stored messages for the head",
        &["P01", "P03", "P04"],
        |target| hooked(target, Ends::Length),
    ),
    Mutant::new(
        "reuse-seq-after-trim",
        "begins again with the first sequence when the log was emptied",
        &["P03"],
        |target| hooked(target, Reuse::default()),
    ),
];

#[derive(Debug)]
enum Receipts {
    None,
    OffByOne,
    ByNode,
}

impl Hook for Receipts {
    async fn append(&self, inner: &Inner, log: &LogName, frame: &EncodedFrame) -> Result<Appended> {
        let mut appended = inner.backend.append(log, frame).await?;
        let shift = match self {
            Self::None => return Ok(Appended { first: None }),
            Self::OffByOne => 1,
            Self::ByNode => 1_000 * (inner.index as u64 % 3),
        };
        if let Some(first) = &mut appended.first {
            first.sequence = first.sequence.plus(shift);
        }
        Ok(appended)
    }
}

#[derive(Debug)]
enum Ends {
    FreshEpoch,
    Wavering(Mutex<usize>),
    Length,
}

impl Hook for Ends {
    async fn read(
        &self,
        inner: &Inner,
        log: &LogName,
        after: Option<Position>,
        limit: usize,
    ) -> Result<Page> {
        let mut page = inner.backend.read(log, after, limit).await?;
        match self {
            Self::FreshEpoch if page.head == Sequence::ZERO => page.epoch = Epoch::random(),
            Self::FreshEpoch => {}
            Self::Wavering(reads) => {
                let mut reads = reads.lock().unwrap_or_else(PoisonError::into_inner);
                *reads += 1;
                if *reads % 3 == 0 {
                    page.head = page.head.previous();
                }
            }
            Self::Length => {
                let stored = page.head.next().get() - page.floor.get();
                page.head = Sequence::new(stored);
            }
        }
        Ok(page)
    }
}

/// How far each log's numbers are shifted back.
#[derive(Debug, Default)]
struct Reuse(std::sync::Arc<Mutex<HashMap<LogName, u64>>>);

fn back(sequence: Sequence, by: u64) -> Sequence {
    Sequence::new(sequence.get().saturating_sub(by))
}

impl Reuse {
    fn shift(&self, log: &LogName) -> u64 {
        let shifts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        shifts.get(log).copied().unwrap_or(0)
    }
}

impl Hook for Reuse {
    async fn append(&self, inner: &Inner, log: &LogName, frame: &EncodedFrame) -> Result<Appended> {
        let page = inner.backend.read(log, None, 0).await?;
        if page.floor > page.head && page.head > Sequence::ZERO {
            let mut shifts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            shifts.insert(log.clone(), page.head.get());
        }
        let mut appended = inner.backend.append(log, frame).await?;
        if let Some(first) = &mut appended.first {
            first.sequence = back(first.sequence, self.shift(log));
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
        let shift = self.shift(log);
        let after = after.map(|at| Position::new(at.epoch, at.sequence.plus(shift)));
        let mut page = inner.backend.read(log, after, limit).await?;
        page.floor = back(page.floor, shift);
        page.head = back(page.head, shift);
        for frame in &mut page.frames {
            frame.first = back(frame.first, shift);
        }
        Ok(page)
    }

    async fn listen(
        &self,
        inner: &Inner,
        log: &LogName,
        after: Option<Position>,
    ) -> Result<Listener> {
        let listener = inner.backend.listen(log, after).await?;
        let (shifts, log) = (Self(self.0.clone()), log.clone());
        Ok(relay::map(listener, move |mut arrival| {
            if let Arrival::Frame { frame, .. } = &mut arrival {
                frame.first = back(frame.first, shifts.shift(&log));
            }
            vec![arrival]
        }))
    }
}
