//! [`Listener`]: how a backend hands over what arrives for one log.

use std::{
    any::Any,
    collections::VecDeque,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use crate::{Epoch, Error, ErrorKind, Result, StoredFrame};

/// What arrives for a log.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Arrival {
    /// A frame, stored in this epoch of the log.
    Frame {
        /// The log's epoch when the frame was stored.
        epoch: Epoch,
        /// The frame.
        frame: StoredFrame,
    },
    /// Something new is in the log: read it.
    Wake,
    /// Frames may have been lost on the way. Those between the last one that arrived and the next are
    /// reported as a gap. For brokers whose history cannot be read; elsewhere history tells.
    Lost {
        /// The log's epoch now. Another one than before is reported as a reset at once.
        epoch: Epoch,
    },
}

/// The receiving end of a subscription at the broker. Dropping it ends the subscription.
///
/// An idle listener holds no queue memory: a node may have one for each of 100,000 topics.
pub struct Listener {
    shared: Arc<Shared>,
    /// Dropped with the listener: the backend unsubscribes in its destructor.
    _guard: Option<Box<dyn Any + Send + Sync>>,
}

/// The backend's end of a [`Listener`]. Dropping it ends the listener.
pub struct ListenerSender {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    max_frames: usize,
    max_bytes: usize,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Arrival>,
    bytes: usize,
    end: Option<Error>,
    ended: bool,
    dropped: bool,
    waker: Option<Waker>,
    /// The backend's end, while it waits for room or for the end.
    sender: Option<Waker>,
}

impl State {
    fn wait_as_sender(&mut self, cx: &Context<'_>) {
        match &self.sender {
            Some(waker) if waker.will_wake(cx.waker()) => {}
            _ => self.sender = Some(cx.waker().clone()),
        }
    }
}

impl Shared {
    /// No code that can panic runs under the lock, so a poisoned one still holds a whole state.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether at least half of the queue is free: a backend that waits is not woken for every frame.
    fn has_room(&self, state: &State) -> bool {
        state.queue.len() <= self.max_frames / 2 && state.bytes <= self.max_bytes / 2
    }
}

impl Listener {
    /// Frames that may wait in a listener before it overflows.
    pub const MAX_FRAMES: usize = 8_192;
    /// Bytes that may wait in a listener before it overflows.
    pub const MAX_BYTES: usize = 32 << 20;

    /// A listener and the end to feed it with.
    pub fn channel() -> (ListenerSender, Self) {
        Self::channel_with(Self::MAX_FRAMES, Self::MAX_BYTES)
    }

    fn channel_with(max_frames: usize, max_bytes: usize) -> (ListenerSender, Self) {
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            max_frames,
            max_bytes,
        });
        let sender = ListenerSender {
            shared: shared.clone(),
        };
        let listener = Self {
            shared,
            _guard: None,
        };
        (sender, listener)
    }

    /// Keeps `guard` until the listener is dropped. A backend unsubscribes in the guard's `Drop`.
    #[must_use]
    pub fn with_guard(mut self, guard: impl Any + Send + Sync) -> Self {
        self._guard = Some(Box::new(guard));
        self
    }

    /// The next arrival. After an error the listener is at its end.
    ///
    /// # Errors
    ///
    /// What the backend ended it with; [`ErrorKind::Busy`] if the queue overflowed;
    /// [`ErrorKind::Unavailable`] if the backend dropped its end.
    ///
    /// # Cancellation
    ///
    /// Safe: nothing is taken before it is returned.
    pub async fn next(&mut self) -> Result<Arrival> {
        std::future::poll_fn(|cx| self.poll_next(cx)).await
    }

    /// The next arrival, if there is one now.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Arrival>> {
        let mut state = self.shared.lock();
        if let Some(arrival) = state.queue.pop_front() {
            state.bytes -= size(&arrival);
            if state.queue.is_empty() {
                // Gives the memory of a burst back; the next burst pays for it again.
                state.queue.shrink_to(16);
            }
            if self.shared.has_room(&state)
                && let Some(sender) = state.sender.take()
            {
                drop(state);
                sender.wake();
            }
            return Poll::Ready(Ok(arrival));
        }
        if state.ended {
            let end = state
                .end
                .take()
                .unwrap_or_else(|| Error::new(ErrorKind::Unavailable, "the subscription ended"));
            return Poll::Ready(Err(end));
        }
        match &state.waker {
            Some(waker) if waker.will_wake(cx.waker()) => {}
            _ => state.waker = Some(cx.waker().clone()),
        }
        Poll::Pending
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.dropped = true;
        state.queue = VecDeque::new();
        if let Some(sender) = state.sender.take() {
            drop(state);
            sender.wake();
        }
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.shared.lock();
        f.debug_struct("Listener")
            .field("queued", &state.queue.len())
            .field("ended", &state.ended)
            .finish()
    }
}

impl ListenerSender {
    /// Hands an arrival over, without waiting. Returns whether the listener takes more: `false` once
    /// it was dropped or ended, or when its queue is full. In that case it ends with an error, and
    /// the core reads what is missing from history.
    pub fn send(&self, arrival: Arrival) -> bool {
        let mut state = self.shared.lock();
        if state.dropped || state.ended {
            return false;
        }
        if state.queue.len() >= self.shared.max_frames
            || state.bytes + size(&arrival) > self.shared.max_bytes && !self.shared.has_room(&state)
        {
            drop(state);
            self.end(Error::new(
                ErrorKind::Busy,
                "the node received frames faster than it took them",
            ));
            return false;
        }
        // One wake per burst: a reader that was woken drains the queue.
        state.bytes += size(&arrival);
        state.queue.push_back(arrival);
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
        true
    }

    /// Waits until a good part of the queue is free. Returns at once whether the listener takes
    /// anything at all: `false` once it was dropped or ended. For backends that can leave frames at the
    /// broker meanwhile.
    ///
    /// # Cancellation
    ///
    /// Safe.
    pub async fn room(&self) -> bool {
        std::future::poll_fn(|cx| self.poll_room(cx)).await
    }

    /// Whether [`room`](Self::room) would return now, and what.
    pub fn poll_room(&self, cx: &mut Context<'_>) -> Poll<bool> {
        let mut state = self.shared.lock();
        if state.dropped || state.ended {
            return Poll::Ready(false);
        }
        if self.shared.has_room(&state) {
            return Poll::Ready(true);
        }
        state.wait_as_sender(cx);
        Poll::Pending
    }

    /// Waits until the listener was dropped or ended. Only one task can wait for this and for
    /// [`room`](Self::room).
    ///
    /// # Cancellation
    ///
    /// Safe.
    pub async fn closed(&self) {
        std::future::poll_fn(|cx| self.poll_closed(cx)).await;
    }

    fn poll_closed(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.shared.lock();
        if state.dropped || state.ended {
            return Poll::Ready(());
        }
        state.wait_as_sender(cx);
        Poll::Pending
    }

    /// Ends the listener: after what is queued, it returns `error`.
    pub fn end(&self, error: Error) {
        let mut state = self.shared.lock();
        if state.ended {
            return;
        }
        state.ended = true;
        state.end = Some(error);
        if let Some(waker) = state.waker.take() {
            drop(state);
            waker.wake();
        }
    }

    /// Whether the listener was dropped or ended.
    pub fn is_closed(&self) -> bool {
        let state = self.shared.lock();
        state.dropped || state.ended
    }
}

impl Drop for ListenerSender {
    fn drop(&mut self) {
        self.end(Error::new(ErrorKind::Unavailable, "the subscription ended"));
    }
}

impl fmt::Debug for ListenerSender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ListenerSender")
            .field("closed", &self.is_closed())
            .finish()
    }
}

fn size(arrival: &Arrival) -> usize {
    match arrival {
        Arrival::Frame { frame, .. } => frame.bytes.len(),
        Arrival::Wake | Arrival::Lost { .. } => 0,
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;
    use crate::Sequence;

    fn frame(bytes: usize) -> Arrival {
        Arrival::Frame {
            epoch: Epoch::new(1),
            frame: StoredFrame {
                first: Sequence::FIRST,
                len: 1,
                bytes: vec![0; bytes].into(),
            },
        }
    }

    fn room(sender: &ListenerSender) -> Poll<bool> {
        sender.poll_room(&mut Context::from_waker(Waker::noop()))
    }

    async fn polled(sender: ListenerSender) -> bool {
        sender.room().await
    }

    #[tokio::test]
    async fn a_backend_waits_for_room_and_is_woken_by_it() {
        let (sender, mut listener) = Listener::channel_with(4, 1_000);
        for _ in 0..3 {
            assert!(sender.send(frame(1)));
        }
        assert_eq!(room(&sender), Poll::Pending);
        let waiting = tokio::spawn(polled(sender));
        tokio::task::yield_now().await;
        listener.next().await.unwrap();
        assert!(waiting.await.unwrap());
    }

    #[test]
    fn where_there_is_room_a_frame_is_taken_however_large() {
        let (sender, _listener) = Listener::channel_with(100, 1_000);
        assert!(sender.send(frame(400)));
        assert_eq!(room(&sender), Poll::Ready(true));
        assert!(sender.send(frame(5_000)));
        assert!(!sender.send(frame(1)));
    }

    #[test]
    fn bytes_count_as_well_as_frames() {
        let (sender, _listener) = Listener::channel_with(100, 1_000);
        assert_eq!(room(&sender), Poll::Ready(true));
        sender.send(frame(600));
        assert_eq!(room(&sender), Poll::Pending);
    }

    #[tokio::test]
    async fn whoever_waits_learns_that_the_listener_was_dropped() {
        let (sender, listener) = Listener::channel_with(2, 1_000);
        sender.send(frame(1));
        sender.send(frame(1));
        let waiting = tokio::spawn(polled(sender));
        tokio::task::yield_now().await;
        drop(listener);
        assert!(!waiting.await.unwrap());
        let (sender, listener) = Listener::channel();
        let ended = tokio::spawn(async move { sender.closed().await });
        tokio::task::yield_now().await;
        drop(listener);
        ended.await.unwrap();
    }
}
