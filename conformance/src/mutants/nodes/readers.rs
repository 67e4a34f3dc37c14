//! Subscriptions that know of each other.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use scaleout_core::{Backplane, Cursor, Event, Result, Subscription, Topic};
use tokio::sync::Notify;

use crate::{BoxFuture, Layer, Source};

/// Every message goes to the subscription that asks first.
#[derive(Debug, Default)]
pub(super) struct Competing {
    taken: Arc<Mutex<HashMap<Topic, u64>>>,
}

impl Layer for Competing {
    fn tail(&self, subscription: Subscription) -> Box<dyn Source> {
        Box::new(Competitor {
            subscription,
            taken: self.taken.clone(),
        })
    }
}

struct Competitor {
    subscription: Subscription,
    taken: Arc<Mutex<HashMap<Topic, u64>>>,
}

impl Source for Competitor {
    fn next(&mut self) -> BoxFuture<'_, Option<Event>> {
        Box::pin(async move {
            loop {
                let event = self.subscription.next().await?;
                if let Event::Message(entry) = &event {
                    let mut all = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
                    let taken = all.entry(entry.topic().clone()).or_default();
                    if entry.sequence().get() <= *taken {
                        continue;
                    }
                    *taken = entry.sequence().get();
                }
                return Some(event);
            }
        })
    }

    fn cursor(&self) -> Cursor {
        self.subscription.cursor()
    }
}

/// When one subscription of a topic is dropped, the others get nothing more.
#[derive(Debug, Default)]
pub(super) struct Entangled {
    dropped: Arc<Mutex<HashSet<Topic>>>,
}

impl Layer for Entangled {
    fn tail(&self, subscription: Subscription) -> Box<dyn Source> {
        Box::new(EntangledTail {
            subscription,
            dropped: self.dropped.clone(),
        })
    }
}

struct EntangledTail {
    subscription: Subscription,
    dropped: Arc<Mutex<HashSet<Topic>>>,
}

impl Source for EntangledTail {
    fn next(&mut self) -> BoxFuture<'_, Option<Event>> {
        Box::pin(async move {
            let dropped = {
                let dropped = self.dropped.lock().unwrap_or_else(PoisonError::into_inner);
                dropped.contains(self.subscription.topic())
            };
            if dropped {
                return std::future::pending().await;
            }
            self.subscription.next().await
        })
    }

    fn cursor(&self) -> Cursor {
        self.subscription.cursor()
    }
}

impl Drop for EntangledTail {
    fn drop(&mut self) {
        let mut dropped = self.dropped.lock().unwrap_or_else(PoisonError::into_inner);
        dropped.insert(self.subscription.topic().clone());
    }
}

/// Counts its subscriptions, and closes when there are none.
#[derive(Debug, Default)]
pub(super) struct WaitsForReaders {
    readers: Arc<Readers>,
}

#[derive(Debug, Default)]
struct Readers {
    count: AtomicUsize,
    dropped: Notify,
}

impl Layer for WaitsForReaders {
    fn tail(&self, subscription: Subscription) -> Box<dyn Source> {
        self.readers.count.fetch_add(1, Ordering::Relaxed);
        Box::new(Counted {
            subscription,
            readers: self.readers.clone(),
        })
    }

    fn close<'a>(&'a self, plane: &'a Backplane, timeout: Duration) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            loop {
                let dropped = self.readers.dropped.notified();
                if self.readers.count.load(Ordering::Relaxed) == 0 {
                    return plane.close(timeout).await;
                }
                dropped.await;
            }
        })
    }
}

struct Counted {
    subscription: Subscription,
    readers: Arc<Readers>,
}

impl Source for Counted {
    fn next(&mut self) -> BoxFuture<'_, Option<Event>> {
        Box::pin(self.subscription.next())
    }

    fn cursor(&self) -> Cursor {
        self.subscription.cursor()
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.readers.count.fetch_sub(1, Ordering::Relaxed);
        self.readers.dropped.notify_waiters();
    }
}
