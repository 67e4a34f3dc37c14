//! Mutants that read wrongly.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use scaleout_core::{
    Arrival, Backend, Capabilities, Listener, LogName, Page, Position, Result, Sequence,
    StoredFrame,
};

use super::{
    Mutant,
    hook::{Hook, Inner, hooked},
};
use crate::relay;

pub(super) const MUTANTS: &[Mutant] = &[
    Mutant::new(
        "stale-tail",
        "reads from a copy that is one read behind",
        &["D02", "G07", "G08"],
        |target| hooked(target, Stale(Mutex::default())),
    ),
    Mutant::new(
        "wait-ahead-of-head",
        "takes a place beyond the head for the head",
        &["E09"],
        |target| hooked(target, Reads::AheadIsHead),
    ),
    Mutant::new(
        "any-epoch",
        "takes a place of another epoch for one of this",
        &["E10"],
        |target| hooked(target, Reads::AnyEpoch),
    ),
    Mutant::new(
        "inclusive",
        "reads from a place on instead of after it",
        &["E01", "E02"],
        |target| hooked(target, Reads::Inclusive),
    ),
    Mutant::new(
        "skips-one",
        "leaves out the frame after the place it reads from",
        &["E01", "E06", "E11"],
        |target| hooked(target, Reads::SkipsOne),
    ),
    Mutant::new(
        "blocking-read",
        "waits for something new when it reads at the head",
        &["E02"],
        |target| hooked(target, Reads::Blocking),
    ),
    Mutant::new(
        "commit-inversion",
        "does not show the newest frame but one yet, as of a transaction that is late to commit",
        &["E04", "E05"],
        |target| hooked(target, Reads::Hidden),
    ),
    Mutant::new(
        "all-or-nothing-pages",
        "cuts frames to the number of messages that was asked for",
        &["B06", "E01"],
        |target| hooked(target, Reads::CutsFrames),
    ),
    Mutant::new(
        "limit-zero-is-all",
        "takes a limit of 0 for none",
        &["E03"],
        |target| hooked(target, Reads::ZeroIsAll),
    ),
    Mutant::new(
        "trims-too-much",
        "does not show the older half of what it keeps",
        &["P09", "P05"],
        |target| hooked(target, Reads::HalfTheFloor),
    ),
    Mutant::new(
        "floor-too-low",
        "still counts a message as stored that was trimmed",
        &["E08", "P02", "P03", "P06"],
        |target| hooked(target, Reads::LowFloor),
    ),
    Mutant::new(
        "node-divergent-order",
        "has neighbouring frames the other way round on every other node",
        &["G03", "G04", "G05"],
        |target| hooked(target, Divergent),
    ),
    Mutant::new(
        "silent-no-op",
        "claims no history, and answers reads with nothing instead of an error",
        &["Q01"],
        |target| hooked(target, NoHistory::Silent),
    )
    .over(|target| std::sync::Arc::new(hooked(target, NoHistory::Refuses))),
    Mutant::new(
        "overstated-size",
        "advertises twice the size that it takes",
        &["C03", "Q02"],
        |target| hooked(target, Overstated),
    ),
];

/// What each log looked like when it was last read.
#[derive(Debug)]
struct Stale(Mutex<HashMap<LogName, Sequence>>);

impl Hook for Stale {
    async fn read(
        &self,
        inner: &Inner,
        log: &LogName,
        after: Option<Position>,
        limit: usize,
    ) -> Result<Page> {
        let mut page = inner.backend.read(log, after, limit).await?;
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = seen
            .insert(log.clone(), page.head)
            .unwrap_or(Sequence::ZERO);
        if before < page.head {
            page.head = before;
            page.frames.retain(|frame| frame.last() <= before);
        }
        Ok(page)
    }
}

#[derive(Debug)]
enum Reads {
    AheadIsHead,
    AnyEpoch,
    Inclusive,
    SkipsOne,
    Blocking,
    Hidden,
    CutsFrames,
    ZeroIsAll,
    HalfTheFloor,
    LowFloor,
}

impl Hook for Reads {
    async fn read(
        &self,
        inner: &Inner,
        log: &LogName,
        after: Option<Position>,
        limit: usize,
    ) -> Result<Page> {
        let read = |after, limit| inner.backend.read(log, after, limit);
        match (self, after) {
            (Self::AheadIsHead, Some(at)) => {
                let mut page = read(after, limit).await?;
                page.head = page.head.max(at.sequence);
                Ok(page)
            }
            (Self::AnyEpoch, Some(at)) => {
                let epoch = read(None, 0).await?.epoch;
                let mut page = read(Some(Position::new(epoch, at.sequence)), limit).await?;
                page.epoch = at.epoch;
                Ok(page)
            }
            (Self::Inclusive, Some(at)) => {
                read(Some(Position::new(at.epoch, at.sequence.previous())), limit).await
            }
            (Self::SkipsOne, Some(at)) => {
                let mut page = read(Some(at), limit).await?;
                if at.sequence > Sequence::ZERO && !page.frames.is_empty() {
                    page.frames.remove(0);
                }
                Ok(page)
            }
            (Self::Blocking, Some(at)) => loop {
                let page = read(after, limit).await?;
                if page.head != at.sequence || limit == 0 {
                    return Ok(page);
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            },
            (Self::Hidden, _) => {
                let mut page = read(after, limit).await?;
                let len = page.frames.len();
                if len > 2 && page.frames[len - 1].last() == page.head {
                    page.frames.remove(len - 2);
                }
                Ok(page)
            }
            (Self::CutsFrames, _) => {
                let mut page = read(after, limit).await?;
                let mut left = u32::try_from(limit).unwrap_or(u32::MAX);
                for frame in &mut page.frames {
                    frame.len = frame.len.min(left);
                    left -= frame.len;
                }
                page.frames.retain(|frame| frame.len > 0);
                Ok(page)
            }
            (Self::ZeroIsAll, _) if limit == 0 => read(after, usize::MAX).await,
            (Self::HalfTheFloor, _) => {
                let mut page = read(after, limit).await?;
                let kept = page.head.next().get() - page.floor.get();
                page.floor = page.floor.plus(kept / 2);
                page.frames.retain(|frame| frame.first >= page.floor);
                Ok(page)
            }
            (Self::LowFloor, _) => {
                let mut page = read(after, limit).await?;
                if page.floor > Sequence::FIRST {
                    page.floor = page.floor.previous();
                }
                Ok(page)
            }
            _ => read(after, limit).await,
        }
    }
}

/// On every other node the bytes of frames of an odd and the even sequence after it are exchanged.
#[derive(Debug)]
struct Divergent;

fn leads(frame: &StoredFrame) -> bool {
    frame.len == 1 && frame.first.get() % 2 == 1
}

fn exchange(one: &mut StoredFrame, two: &mut StoredFrame) {
    if one.len == 1 && two.len == 1 {
        std::mem::swap(&mut one.bytes, &mut two.bytes);
    }
}

impl Hook for Divergent {
    async fn read(
        &self,
        inner: &Inner,
        log: &LogName,
        after: Option<Position>,
        limit: usize,
    ) -> Result<Page> {
        let mut page = inner.backend.read(log, after, limit).await?;
        if inner.index % 2 == 1 {
            let mut frames = page.frames.iter_mut().skip_while(|frame| !leads(frame));
            while let (Some(one), Some(two)) = (frames.next(), frames.next()) {
                exchange(one, two);
            }
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
        if inner.index.is_multiple_of(2) {
            return Ok(listener);
        }
        let mut waiting = None;
        Ok(relay::map(listener, move |arrival| match arrival {
            Arrival::Frame { epoch, frame } if waiting.is_none() && leads(&frame) => {
                waiting = Some((epoch, frame));
                Vec::new()
            }
            Arrival::Frame { epoch, mut frame } => match waiting.take() {
                Some((first, mut one)) => {
                    exchange(&mut one, &mut frame);
                    vec![relay::frame(first, one), relay::frame(epoch, frame)]
                }
                None => vec![relay::frame(epoch, frame)],
            },
            other => vec![other],
        }))
    }
}

#[derive(Debug)]
enum NoHistory {
    /// As it should be.
    Refuses,
    Silent,
}

impl Hook for NoHistory {
    fn capabilities(&self, inner: &Inner) -> Capabilities {
        let mut capabilities = inner.backend.capabilities();
        capabilities.history = false;
        capabilities
    }

    async fn read(
        &self,
        inner: &Inner,
        log: &LogName,
        after: Option<Position>,
        limit: usize,
    ) -> Result<Page> {
        match self {
            Self::Refuses => Err(scaleout_core::Error::new(
                scaleout_core::ErrorKind::Unsupported,
                "history cannot be read",
            )),
            Self::Silent => inner.backend.read(log, after, limit).await,
        }
    }
}

#[derive(Debug)]
struct Overstated;

impl Hook for Overstated {
    fn capabilities(&self, inner: &Inner) -> Capabilities {
        let mut capabilities = inner.backend.capabilities();
        capabilities.max_frame_bytes *= 2;
        capabilities
    }
}
