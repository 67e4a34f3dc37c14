//! A buffer of its own for each subscription.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use scaleout_core::{Cursor, Event, Subscription};
use tokio::sync::mpsc;

use crate::{BoxFuture, Layer, Source, relay::AbortOnDrop};

/// A subscription that a task empties into a buffer.
#[derive(Debug)]
pub(super) struct Pumps(pub(super) Buffer);

#[derive(Clone, Copy, Debug)]
pub(super) enum Buffer {
    Drops,
    Grows,
}

struct Pumped {
    events: mpsc::UnboundedReceiver<Event>,
    queued: Arc<AtomicUsize>,
    cursor: Cursor,
    _task: AbortOnDrop,
}

impl Layer for Pumps {
    fn tail(&self, mut subscription: Subscription) -> Box<dyn Source> {
        let (sender, events) = mpsc::unbounded_channel();
        let queued = Arc::new(AtomicUsize::new(0));
        let cursor = subscription.cursor();
        let (buffer, room) = (self.0, queued.clone());
        let task = tokio::spawn(async move {
            while let Some(event) = subscription.next().await {
                let full = room.load(Ordering::Relaxed) >= 16;
                if full && matches!(buffer, Buffer::Drops) {
                    continue;
                }
                room.fetch_add(1, Ordering::Relaxed);
                if sender.send(event).is_err() {
                    return;
                }
            }
        });
        Box::new(Pumped {
            events,
            queued,
            cursor,
            _task: AbortOnDrop(task),
        })
    }
}

impl Source for Pumped {
    fn next(&mut self) -> BoxFuture<'_, Option<Event>> {
        Box::pin(async move {
            let event = self.events.recv().await?;
            self.queued.fetch_sub(1, Ordering::Relaxed);
            if let Event::Message(entry) = &event {
                self.cursor = entry.cursor();
            }
            Some(event)
        })
    }

    fn cursor(&self) -> Cursor {
        self.cursor.clone()
    }
}
