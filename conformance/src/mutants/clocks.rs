//! Mutants that go by a clock.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use scaleout_core::{
    Appended, Arrival, Backend, EncodedFrame, Frame, Listener, LogName, Page, Position, Result,
    Sequence,
};

use super::{
    Mutant,
    hook::{Hook, Inner, hooked},
    target::BrokersClock,
};
use crate::{Clock, relay};

pub(super) const MUTANTS: &[Mutant] = &[
    Mutant::new(
        "clock-as-sequence",
        "numbers by what the broker's clock showed when it was started",
        &["O02"],
        |target| {
            let clock = BrokersClock::default();
            hooked(target, ByStart::new(clock.clone())).with_clock(clock)
        },
    ),
    Mutant::new(
        "by-the-readers-clock",
        "passes over what was sent half an hour from now by its own clock",
        &["O01"],
        |target| hooked(target, ReadersClock),
    ),
];

/// How far the clock of a broker that nothing was done to has come, in milliseconds.
const STARTED: u64 = 10 * 3_600_000;

/// Each frame is numbered from the time at which its broker was started.
#[derive(Clone, Debug)]
struct ByStart {
    clock: BrokersClock,
    logs: Arc<Mutex<HashMap<LogName, Lives>>>,
}

/// What is known of a log.
#[derive(Debug, Default)]
struct Lives {
    /// Its newest frame, by the broker's own number.
    newest: u64,
    /// What is added to a broker's numbers, from which on.
    added: Vec<(u64, u64)>,
}

impl ByStart {
    fn new(clock: BrokersClock) -> Self {
        Self {
            clock,
            logs: Arc::default(),
        }
    }

    fn of<T>(&self, log: &LogName, ask: impl FnOnce(&mut Lives) -> T) -> T {
        let mut logs = self.logs.lock().unwrap_or_else(PoisonError::into_inner);
        let lives = logs.entry(log.clone()).or_default();
        let hours = match self.clock.get() {
            Clock::Right => STARTED,
            Clock::Ahead(by) => STARTED + 1_000 * by.as_secs(),
            Clock::Behind(by) => STARTED - 1_000 * by.as_secs(),
        };
        if lives.added.last().is_none_or(|(_, added)| *added != hours) {
            lives.added.push((lives.newest + 1, hours));
        }
        ask(lives)
    }

    fn told(&self, log: &LogName, real: Sequence) -> Sequence {
        let added = self.of(log, |lives| {
            lives.newest = lives.newest.max(real.get());
            let mut lives = lives.added.iter().rev();
            lives.find(|(from, _)| *from <= real.get()).map(|of| of.1)
        });
        real.plus(added.unwrap_or_default())
    }

    fn real(&self, log: &LogName, told: Sequence) -> Sequence {
        let added = self.of(log, |lives| {
            let mut lives = lives.added.iter().rev();
            let holds = |(from, added): &&(u64, u64)| from + added <= told.get();
            lives.find(holds).map(|of| of.1)
        });
        Sequence::new(told.get() - added.unwrap_or_default())
    }
}

impl Hook for ByStart {
    async fn append(&self, inner: &Inner, log: &LogName, frame: &EncodedFrame) -> Result<Appended> {
        let mut appended = inner.backend.append(log, frame).await?;
        if let Some(first) = &mut appended.first {
            first.sequence = self.told(log, first.sequence);
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
        let after = after.map(|at| Position::new(at.epoch, self.real(log, at.sequence)));
        let mut page = inner.backend.read(log, after, limit).await?;
        for frame in &mut page.frames {
            frame.first = self.told(log, frame.first);
        }
        page.head = self.told(log, page.head);
        page.floor = self.told(log, page.floor.previous()).next();
        Ok(page)
    }

    async fn listen(
        &self,
        inner: &Inner,
        log: &LogName,
        after: Option<Position>,
    ) -> Result<Listener> {
        let after = after.map(|at| Position::new(at.epoch, self.real(log, at.sequence)));
        let listener = inner.backend.listen(log, after).await?;
        let (hook, log) = (self.clone(), log.clone());
        Ok(relay::map(listener, move |mut arrival| {
            if let Arrival::Frame { frame, .. } = &mut arrival {
                frame.first = hook.told(&log, frame.first);
            }
            vec![arrival]
        }))
    }
}

#[derive(Debug)]
struct ReadersClock;

/// Whether the frame's sender has about the same time as this process.
fn is_of_today(frame: &Bytes) -> bool {
    const LATE: Duration = Duration::from_secs(1_800);
    let Ok(frame) = Frame::decode(frame.clone()) else {
        return true;
    };
    let sent = UNIX_EPOCH + Duration::from_millis(frame.published_at_millis());
    let apart = SystemTime::now().duration_since(sent);
    apart.unwrap_or_else(|ahead| ahead.duration()) < LATE
}

impl Hook for ReadersClock {
    async fn read(
        &self,
        inner: &Inner,
        log: &LogName,
        after: Option<Position>,
        limit: usize,
    ) -> Result<Page> {
        let mut page = inner.backend.read(log, after, limit).await?;
        page.frames.retain(|frame| is_of_today(&frame.bytes));
        Ok(page)
    }

    async fn listen(
        &self,
        inner: &Inner,
        log: &LogName,
        after: Option<Position>,
    ) -> Result<Listener> {
        let listener = inner.backend.listen(log, after).await?;
        Ok(relay::map(listener, |arrival| match &arrival {
            Arrival::Frame { frame, .. } if !is_of_today(&frame.bytes) => Vec::new(),
            _ => vec![arrival],
        }))
    }
}
