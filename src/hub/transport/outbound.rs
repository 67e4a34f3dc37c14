//! [`Outbound`]: what waits to be written to one client.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// The most bytes that are put into one transport unit when several messages wait.
const BATCH: usize = 32 << 10;

/// A bounded queue of whole messages between the hub and a transport.
///
/// Anybody may push, and nobody who pushes waits: a client that reads too slowly must not slow down
/// what others are sent. It is refused more when more waits for it than the limit allows, and its connection is to be dropped. Who
/// wants to go at its pace asks for [`room`](Self::room) first.
#[derive(Debug)]
pub(crate) struct Outbound {
    state: Mutex<State>,
    /// Messages, or the end, wait.
    changed: Notify,
    /// Fewer bytes wait than before.
    drained: Notify,
    aborted: CancellationToken,
    high_water: usize,
    limit: usize,
}

#[derive(Debug, Default)]
struct State {
    queue: VecDeque<Bytes>,
    bytes: usize,
    phase: Phase,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Open,
    /// What waits is still written, then the transport is closed.
    Finishing,
    /// What waits is lost.
    Aborted,
}

/// The next thing for a transport to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Write this, one or more whole messages, as one unit.
    Unit(Bytes),
    /// Close in the transport's polite way: everything was written.
    Finish,
    /// Drop the transport.
    Abort,
}

/// More waits for a client than it may cost.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooSlow;

impl Outbound {
    /// Waits for room above `high_water` bytes, and breaks above `limit`.
    pub(crate) fn new(high_water: usize, limit: usize) -> Self {
        Self {
            state: Mutex::default(),
            changed: Notify::new(),
            drained: Notify::new(),
            aborted: CancellationToken::new(),
            high_water,
            limit,
        }
    }

    /// Appends a whole message. After the end it is dropped: its client is gone.
    ///
    /// # Errors
    ///
    /// If the client reads too slowly: the message was not queued, and the queue must be aborted.
    pub(crate) fn push(&self, message: Bytes) -> Result<(), TooSlow> {
        let mut state = self.state();
        if state.phase != Phase::Open {
            return Ok(());
        }
        // One message alone always fits.
        if !state.queue.is_empty() && state.bytes + message.len() > self.limit {
            return Err(TooSlow);
        }
        state.bytes += message.len();
        state.queue.push_back(message);
        drop(state);
        self.changed.notify_one();
        Ok(())
    }

    /// Waits until little enough is left to be written. Cancel-safe.
    pub(crate) async fn room(&self) {
        loop {
            let drained = self.drained.notified();
            {
                let state = self.state();
                if state.phase != Phase::Open || state.bytes <= self.high_water {
                    return;
                }
            }
            drained.await;
        }
    }

    /// Whether everything was taken by the transport.
    pub(crate) fn is_empty(&self) -> bool {
        self.state().queue.is_empty()
    }

    /// Nothing follows. What waits is still written.
    pub(crate) fn finish(&self) {
        let mut state = self.state();
        if state.phase == Phase::Open {
            state.phase = Phase::Finishing;
        }
        drop(state);
        self.wake();
    }

    /// Nothing follows, and what waits is lost.
    pub(crate) fn abort(&self) {
        let mut state = self.state();
        state.phase = Phase::Aborted;
        state.queue = VecDeque::new();
        state.bytes = 0;
        drop(state);
        self.aborted.cancel();
        self.wake();
    }

    /// Resolves when what waits is lost, also while the transport is busy with a write that does not
    /// end. Cancel-safe.
    pub(crate) async fn aborted(&self) {
        self.aborted.cancelled().await;
    }

    /// What to do next. For the one transport that the connection has. Cancel-safe.
    pub(crate) async fn next(&self) -> Next {
        loop {
            let changed = self.changed.notified();
            if let Some(next) = self.take() {
                return next;
            }
            changed.await;
        }
    }

    fn take(&self) -> Option<Next> {
        let mut state = self.state();
        if state.phase == Phase::Aborted {
            return Some(Next::Abort);
        }
        let Some(first) = state.queue.pop_front() else {
            return (state.phase == Phase::Finishing).then_some(Next::Finish);
        };
        let mut size = first.len();
        let mut count = 0;
        while let Some(message) = state.queue.get(count)
            && size + message.len() <= BATCH
        {
            size += message.len();
            count += 1;
        }
        let unit = if count == 0 {
            first
        } else {
            let mut unit = Vec::with_capacity(size);
            unit.extend_from_slice(&first);
            for message in state.queue.drain(..count) {
                unit.extend_from_slice(&message);
            }
            unit.into()
        };
        state.bytes -= size;
        if state.queue.is_empty() {
            // An idle connection holds on to no memory.
            state.queue = VecDeque::new();
        }
        drop(state);
        self.drained.notify_waiters();
        Some(Next::Unit(unit))
    }

    fn wake(&self) {
        self.changed.notify_one();
        self.drained.notify_waiters();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing that runs under the lock leaves the state half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures_util::FutureExt;

    use super::*;

    fn bytes(text: &'static str) -> Bytes {
        Bytes::from_static(text.as_bytes())
    }

    #[tokio::test]
    async fn what_waits_becomes_one_unit_of_whole_messages() {
        let outbound = Outbound::new(10, 100);
        for text in ["a;", "b;", "c;"] {
            outbound.push(bytes(text)).unwrap();
        }
        outbound.finish();
        assert_eq!(outbound.next().await, Next::Unit(bytes("a;b;c;")));
        assert_eq!(outbound.next().await, Next::Finish);
    }

    #[tokio::test]
    async fn a_message_alone_is_not_copied() {
        let outbound = Outbound::new(10, 100);
        let message = bytes("shared by many connections");
        outbound.push(message.clone()).unwrap();
        let Next::Unit(unit) = outbound.next().await else {
            panic!("no unit")
        };
        assert_eq!(unit.as_ptr(), message.as_ptr());
    }

    #[tokio::test]
    async fn room_is_there_once_the_transport_has_taken_enough() {
        let outbound = Outbound::new(3, 100);
        outbound.push(bytes("abcd")).unwrap();
        let mut room = pin!(outbound.room());
        assert!(room.as_mut().now_or_never().is_none());
        outbound.next().await;
        room.await;
    }

    #[tokio::test]
    async fn a_client_that_reads_too_slowly_loses_what_waits() {
        let outbound = Outbound::new(3, 5);
        outbound.push(bytes("abcdefgh")).unwrap();
        assert_eq!(outbound.push(bytes("i")), Err(TooSlow));
        outbound.abort();
        assert_eq!(outbound.next().await, Next::Abort);
        outbound.push(bytes("j")).unwrap();
        outbound.room().await;
        assert_eq!(outbound.next().await, Next::Abort);
    }
}
