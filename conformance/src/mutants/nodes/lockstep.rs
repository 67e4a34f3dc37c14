//! Some wait for others.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use scaleout_core::{Backplane, Cursor, Event, Message, Receipt, Result, Subscription, Topic};
use tokio::sync::Notify;

use crate::{BoxFuture, Layer, Source};

/// How far the subscriptions of a target are: none may be more than a few messages ahead.
#[derive(Debug)]
pub(super) struct Lockstep {
    progress: Arc<Progress>,
    publishers: bool,
}

#[derive(Debug, Default)]
struct Progress {
    taken: Mutex<HashMap<usize, u64>>,
    published: Mutex<u64>,
    numbers: AtomicUsize,
    moved: Notify,
}

/// By how many messages the slowest may be behind.
const AHEAD: u64 = 64;

impl Progress {
    fn slowest(&self) -> Option<u64> {
        let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.values().min().copied()
    }

    async fn until_slowest(&self, at_least: u64) {
        loop {
            let moved = self.moved.notified();
            if self.slowest().is_none_or(|slowest| slowest >= at_least) {
                return;
            }
            moved.await;
        }
    }

    fn set(&self, number: usize, taken: Option<u64>) {
        let mut all = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        match taken {
            Some(taken) => all.insert(number, taken),
            None => all.remove(&number),
        };
        drop(all);
        self.moved.notify_waiters();
    }
}

impl Lockstep {
    pub(super) fn readers() -> Self {
        Self {
            progress: Arc::default(),
            publishers: false,
        }
    }

    pub(super) fn publishers() -> Self {
        Self {
            progress: Arc::default(),
            publishers: true,
        }
    }
}

impl Layer for Lockstep {
    fn publish<'a>(
        &'a self,
        plane: &'a Backplane,
        topic: &'a Topic,
        message: Message,
    ) -> BoxFuture<'a, Result<Receipt>> {
        Box::pin(async move {
            if self.publishers {
                let published = {
                    let progress = &self.progress.published;
                    let mut published = progress.lock().unwrap_or_else(PoisonError::into_inner);
                    *published += 1;
                    *published
                };
                self.progress
                    .until_slowest(published.saturating_sub(AHEAD))
                    .await;
            }
            plane.publish(topic, message).await
        })
    }

    fn tail(&self, subscription: Subscription) -> Box<dyn Source> {
        let number = self.progress.numbers.fetch_add(1, Ordering::Relaxed);
        self.progress.set(number, Some(0));
        Box::new(InStep {
            subscription,
            progress: self.progress.clone(),
            readers: !self.publishers,
            number,
            taken: 0,
        })
    }
}

struct InStep {
    subscription: Subscription,
    progress: Arc<Progress>,
    readers: bool,
    number: usize,
    taken: u64,
}

impl Source for InStep {
    fn next(&mut self) -> BoxFuture<'_, Option<Event>> {
        Box::pin(async move {
            if self.readers {
                self.progress
                    .until_slowest(self.taken.saturating_sub(AHEAD))
                    .await;
            }
            let event = self.subscription.next().await;
            self.taken += 1;
            self.progress.set(self.number, Some(self.taken));
            event
        })
    }

    fn cursor(&self) -> Cursor {
        self.subscription.cursor()
    }
}

impl Drop for InStep {
    fn drop(&mut self) {
        self.progress.set(self.number, None);
    }
}
