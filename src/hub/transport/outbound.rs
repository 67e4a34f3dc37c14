//! [`Outbound`]: what waits to be written to one client.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use tokio::{sync::Notify, time::Instant};
use tokio_util::sync::CancellationToken;

use super::retained::Retained;
use crate::hub::options::SlowConsumer;

/// The most bytes that are put into one transport unit when several messages wait.
const BATCH: usize = 32 << 10;

/// A bounded queue of whole messages between the hub and the transports of one connection.
///
/// Anybody may push, and nobody who pushes waits: a client that reads too slowly must not slow down
/// what others are sent. When more waits for it than the limit allows, it is refused more and its
/// connection is to be dropped; or the oldest messages give way, if the hub prefers that. Who wants to
/// go at the client's pace asks for [`room`](Self::room) first.
#[derive(Debug)]
pub(crate) struct Outbound {
    state: Mutex<State>,
    /// Messages, or the end, wait.
    changed: Notify,
    /// Fewer bytes wait than before.
    drained: Notify,
    aborted: CancellationToken,
    limits: Limits,
}

/// The bounds of a queue, in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Above it, there is no room.
    pub(crate) high_water: usize,
    /// Above it, the client is too slow.
    pub(crate) limit: usize,
    pub(crate) slow_consumer: SlowConsumer,
    /// Above it, there is no room if messages are retained.
    pub(crate) retained: usize,
}

/// What a message is to the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Pings and the like, of which the two sides keep no count.
    Control,
    /// Answers: never left out.
    Answer,
    /// What the server tells of itself. A client that reads too slowly may miss some of these, if the
    /// hub says so.
    Event,
}

#[derive(Debug, Default)]
struct State {
    queue: VecDeque<(Bytes, Kind)>,
    bytes: usize,
    /// Since when nothing was taken of what waits; `None` if nothing waits.
    waiting_since: Option<Instant>,
    phase: Phase,
    retained: Option<Box<Retained>>,
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

/// How a message was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pushed {
    Queued,
    /// It was queued, and this many older ones were dropped for it.
    Dropped(usize),
    /// More waits for the client than it may cost. The message was not queued, and the queue must be
    /// aborted.
    TooSlow,
}

impl Outbound {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            state: Mutex::default(),
            changed: Notify::new(),
            drained: Notify::new(),
            aborted: CancellationToken::new(),
            limits,
        }
    }

    /// Appends a whole message. After the end it is dropped: its client is gone.
    pub(crate) fn push(&self, message: Bytes, kind: Kind) -> Pushed {
        let mut state = self.state();
        if state.phase != Phase::Open {
            return Pushed::Queued;
        }
        let mut dropped = 0;
        // One message alone always fits.
        while !state.is_empty() && state.held() + message.len() > self.limits.limit {
            if self.limits.slow_consumer == SlowConsumer::Disconnect || !state.drop_oldest_event() {
                return Pushed::TooSlow;
            }
            dropped += 1;
        }
        if kind != Kind::Control
            && let Some(retained) = &mut state.retained
        {
            retained.push(message.clone());
        }
        state.bytes += message.len();
        state.queue.push_back((message, kind));
        state.waiting_since.get_or_insert_with(Instant::now);
        drop(state);
        self.changed.notify_one();
        match dropped {
            0 => Pushed::Queued,
            _ => Pushed::Dropped(dropped),
        }
    }

    /// Waits until little enough is left to be written and, where messages are retained, to be
    /// acknowledged. Cancel-safe.
    pub(crate) async fn room(&self) {
        loop {
            let drained = self.drained.notified();
            {
                let state = self.state();
                let retained = state
                    .retained
                    .as_ref()
                    .map_or(0, |retained| retained.bytes());
                if state.phase != Phase::Open
                    || (state.bytes <= self.limits.high_water && retained <= self.limits.retained)
                {
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

    /// From now on messages are kept until the client acknowledges them, so that they can be written
    /// again to another transport.
    pub(crate) fn retain(&self) {
        self.state().retained = Some(Box::default());
    }

    /// Whether the connection outlives its transport.
    pub(crate) fn outlives_transport(&self) -> bool {
        let state = self.state();
        state.phase == Phase::Open && state.retained.is_some()
    }

    /// The client has everything up to this message.
    pub(crate) fn acknowledge(&self, sequence: u64) {
        if let Some(retained) = &mut self.state().retained {
            retained.acknowledge(sequence);
        }
        self.drained.notify_waiters();
    }

    /// Begins again for a new transport: with `announce` of the first message that is not acknowledged,
    /// and that message.
    pub(crate) fn rewind(&self, announce: impl FnOnce(u64) -> Bytes) {
        let mut state = self.state();
        if state.phase != Phase::Open {
            return;
        }
        let State {
            queue,
            bytes,
            retained,
            ..
        } = &mut *state;
        let Some(retained) = retained else { return };
        // Pings for a transport that is gone are of no use to this one.
        queue.clear();
        queue.push_back((announce(retained.first()), Kind::Control));
        queue.extend(
            retained
                .messages()
                .map(|message| (message.clone(), Kind::Answer)),
        );
        *bytes = queue.iter().map(|(message, _)| message.len()).sum();
        drop(state);
        self.changed.notify_one();
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
        state.waiting_since = None;
        state.retained = None;
        drop(state);
        self.aborted.cancel();
        self.wake();
    }

    /// Resolves when what waits is lost, also while the transport is busy with a write that does not
    /// end. Cancel-safe.
    pub(crate) async fn aborted(&self) {
        self.aborted.cancelled().await;
    }

    /// Whether something waits of which no transport has taken anything for longer than that.
    pub(crate) fn is_stalled_for(&self, patience: Duration) -> bool {
        self.state()
            .waiting_since
            .is_some_and(|since| since.elapsed() > patience)
    }

    /// What to do next. For the one transport that the connection has at a time. Cancel-safe.
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
        let Some((first, _)) = state.queue.pop_front() else {
            return (state.phase == Phase::Finishing).then_some(Next::Finish);
        };
        let mut size = first.len();
        let mut count = 0;
        while let Some((message, _)) = state.queue.get(count)
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
            for (message, _) in state.queue.drain(..count) {
                unit.extend_from_slice(&message);
            }
            unit.into()
        };
        state.bytes -= size;
        state.waiting_since = None;
        if state.queue.is_empty() {
            // An idle connection holds on to no memory.
            state.queue = VecDeque::new();
        } else {
            state.waiting_since = Some(Instant::now());
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

impl State {
    fn is_empty(&self) -> bool {
        self.held() == 0
    }

    /// The bytes that the client costs. What is retained holds all that waits, but for pings.
    fn held(&self) -> usize {
        self.retained
            .as_ref()
            .map_or(self.bytes, |retained| retained.bytes().max(self.bytes))
    }

    /// `false` if there is none, or none may be missing because both sides count them.
    fn drop_oldest_event(&mut self) -> bool {
        if self.retained.is_some() {
            return false;
        }
        let oldest = self.queue.iter().position(|(_, kind)| *kind == Kind::Event);
        let dropped = oldest.and_then(|oldest| self.queue.remove(oldest));
        self.bytes -= dropped.as_ref().map_or(0, |(message, _)| message.len());
        dropped.is_some()
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures_util::FutureExt;

    use super::*;

    fn outbound(high_water: usize, limit: usize) -> Outbound {
        Outbound::new(Limits {
            high_water,
            limit,
            slow_consumer: SlowConsumer::Disconnect,
            retained: 5,
        })
    }

    fn bytes(text: &'static str) -> Bytes {
        Bytes::from_static(text.as_bytes())
    }

    fn push(outbound: &Outbound, text: &'static str) {
        assert_eq!(outbound.push(bytes(text), Kind::Event), Pushed::Queued);
    }

    #[tokio::test]
    async fn what_waits_becomes_one_unit_of_whole_messages() {
        let outbound = outbound(10, 100);
        for text in ["a;", "b;", "c;"] {
            push(&outbound, text);
        }
        outbound.finish();
        assert_eq!(outbound.next().await, Next::Unit(bytes("a;b;c;")));
        assert_eq!(outbound.next().await, Next::Finish);
    }

    #[tokio::test]
    async fn a_message_alone_is_not_copied() {
        let outbound = outbound(10, 100);
        let message = bytes("shared by many connections");
        outbound.push(message.clone(), Kind::Event);
        let Next::Unit(unit) = outbound.next().await else {
            panic!("no unit")
        };
        assert_eq!(unit.as_ptr(), message.as_ptr());
    }

    #[tokio::test]
    async fn room_is_there_once_the_transport_has_taken_enough() {
        let outbound = outbound(3, 100);
        push(&outbound, "abcd");
        let mut room = pin!(outbound.room());
        assert!(room.as_mut().now_or_never().is_none());
        outbound.next().await;
        room.await;
    }

    #[tokio::test(start_paused = true)]
    async fn what_waits_is_stalled_while_nothing_of_it_is_taken() {
        let patience = Duration::from_secs(10);
        let later = || tokio::time::advance(patience * 2);
        let outbound = outbound(10, 1 << 20);
        later().await;
        assert!(!outbound.is_stalled_for(patience), "nothing waits");
        for _ in 0..2 {
            outbound.push(vec![0; BATCH].into(), Kind::Event);
        }
        assert!(!outbound.is_stalled_for(patience));
        later().await;
        assert!(outbound.is_stalled_for(patience));
        outbound.next().await;
        assert!(!outbound.is_stalled_for(patience), "one was just taken");
        later().await;
        assert!(outbound.is_stalled_for(patience));
        outbound.next().await;
        later().await;
        assert!(!outbound.is_stalled_for(patience), "nothing waits any more");
    }

    #[tokio::test]
    async fn a_client_that_reads_too_slowly_loses_what_waits() {
        let outbound = outbound(3, 5);
        push(&outbound, "abcdefgh");
        assert_eq!(outbound.push(bytes("i"), Kind::Event), Pushed::TooSlow);
        outbound.abort();
        assert_eq!(outbound.next().await, Next::Abort);
        push(&outbound, "j");
        outbound.room().await;
        assert_eq!(outbound.next().await, Next::Abort);
    }

    #[tokio::test]
    async fn the_oldest_events_give_way_if_the_hub_prefers_that() {
        let outbound = Outbound::new(Limits {
            high_water: 3,
            limit: 5,
            slow_consumer: SlowConsumer::DropOldest,
            retained: 5,
        });
        outbound.push(bytes("A"), Kind::Answer);
        push(&outbound, "bb");
        push(&outbound, "cc");
        assert_eq!(outbound.push(bytes("dd"), Kind::Event), Pushed::Dropped(1));
        assert_eq!(outbound.next().await, Next::Unit(bytes("Accdd")));
        // Answers cannot be left out.
        outbound.push(bytes("AAAAA"), Kind::Answer);
        assert_eq!(outbound.push(bytes("e"), Kind::Event), Pushed::TooSlow);
    }

    #[tokio::test]
    async fn what_is_not_acknowledged_is_written_again() {
        let outbound = outbound(3, 100);
        outbound.push(bytes("handshake;"), Kind::Answer);
        outbound.next().await;
        outbound.retain();
        push(&outbound, "a;");
        push(&outbound, "b;");
        outbound.next().await;
        outbound.push(bytes("ping;"), Kind::Control);
        push(&outbound, "c;");
        let mut room = pin!(outbound.room());
        assert!(room.as_mut().now_or_never().is_none());
        outbound.acknowledge(1);
        outbound.rewind(|first| format!("from {first};").into());
        assert_eq!(outbound.next().await, Next::Unit(bytes("from 2;b;c;")));
        room.await;
    }
}
