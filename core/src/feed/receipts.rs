//! [`Receipts`]: publishes that learn their position when their frame comes back, on brokers whose
//! confirmation does not name it.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::sync::oneshot;

use crate::{Frame, Position, PublisherId};

type Waiting = HashMap<(PublisherId, u64), oneshot::Sender<Position>>;

#[derive(Debug, Default)]
pub(crate) struct Receipts(Mutex<Option<Box<Waiting>>>);

impl Receipts {
    /// Waits for a frame. To be called before it is appended.
    pub(crate) fn expect(
        &self,
        publisher: PublisherId,
        counter: u64,
    ) -> oneshot::Receiver<Position> {
        let (sender, receiver) = oneshot::channel();
        let mut waiting = self.lock();
        let waiting = waiting.get_or_insert_default();
        // Those that gave up waiting are dropped on the way.
        waiting.retain(|_, sender| !sender.is_closed());
        waiting.insert((publisher, counter), sender);
        receiver
    }

    /// Takes out whoever waits for this frame.
    pub(crate) fn take(&self, frame: &Frame) -> Option<oneshot::Sender<Position>> {
        let mut waiting = self.lock();
        let known = waiting.as_mut()?;
        let sender = known.remove(&(frame.publisher(), frame.counter()));
        if known.is_empty() {
            *waiting = None;
        }
        sender
    }

    fn lock(&self) -> MutexGuard<'_, Option<Box<Waiting>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
