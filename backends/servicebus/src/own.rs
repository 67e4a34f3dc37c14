//! What a node has at the service: a subscription for each log that it listens to. It outlives the
//! links that receive from it, so that what is sent meanwhile waits there.

use std::{
    collections::HashMap,
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use scaleout_core::{Epoch, Error, ErrorKind, Result};
use tokio::{
    runtime::Handle,
    task::JoinSet,
    time::{Instant, timeout, timeout_at},
};

use crate::{config::Config, inbox::Inbox, life::Topics, names, transport::Transport};

/// How long a node without `close` tries to delete its subscription. It deletes itself anyhow.
const PATIENCE: Duration = Duration::from_secs(5);

/// How often the tasks of the clients get to run before a close returns.
const ROUNDS: usize = 8;

/// What the parts of a backend share.
pub(crate) struct Shared<T> {
    pub(crate) config: Arc<Config>,
    pub(crate) topics: Topics,
    pub(crate) transport: T,
    /// Subscriptions that nobody receives from just now, by log.
    kept: Mutex<Kept>,
    tasks: Mutex<JoinSet<()>>,
}

#[derive(Debug, Default)]
struct Kept {
    by_log: HashMap<u16, Own>,
    closed: bool,
}

/// A subscription of this node's own.
#[derive(Debug)]
pub(crate) struct Own {
    pub(crate) topic: String,
    pub(crate) name: String,
    /// The life of the log in which it was made.
    pub(crate) epoch: Epoch,
    pub(crate) inbox: Inbox,
}

impl<T: Transport> Shared<T> {
    pub(crate) fn new(config: Arc<Config>, topics: Topics, transport: T) -> Self {
        Self {
            config,
            topics,
            transport,
            kept: Mutex::default(),
            tasks: Mutex::default(),
        }
    }

    /// Makes a subscription, or takes the one that was made for this node.
    pub(crate) async fn make(self: &Arc<Self>, log: u16, epoch: Epoch) -> Result<Held<T>> {
        let given = self.topics.given();
        let own = Own {
            topic: self.topics.name(log),
            name: given.map_or_else(names::subscription, str::to_owned),
            epoch,
            inbox: match given {
                // It may have given something out before.
                Some(_) => Inbox::anywhere(),
                None => Inbox::from_the_first(),
            },
        };
        // Held before it exists, so that it is deleted if this is given up half way.
        let held = Held {
            shared: self.clone(),
            log,
            own: Some(own),
            keep: false,
        };
        if let Some(own) = &held.own {
            self.topics.subscribe(&own.topic, &own.name).await?;
        }
        Ok(held)
    }

    /// Takes the subscription of a log that nobody receives from.
    pub(crate) fn take_kept(self: &Arc<Self>, log: u16) -> Result<Option<Held<T>>> {
        let mut kept = self.kept();
        if kept.closed {
            return Err(Error::closed());
        }
        let own = kept.by_log.remove(&log);
        Ok(own.map(|own| Held {
            shared: self.clone(),
            log,
            own: Some(own),
            keep: true,
        }))
    }

    /// Keeps a subscription for whoever listens next.
    fn keep(self: &Arc<Self>, log: u16, own: Own) {
        let mut kept = self.kept();
        if kept.closed {
            drop(kept);
            self.discard(own);
            return;
        }
        if let Some(other) = kept.by_log.insert(log, own) {
            drop(kept);
            self.discard(other);
        }
    }

    /// Deletes a subscription, in the background.
    fn discard(self: &Arc<Self>, own: Own) {
        if self.topics.given().is_some() {
            return;
        }
        let shared = self.clone();
        self.spawn(async move {
            let limit = shared.config.request_timeout.min(PATIENCE);
            let deleted = timeout(limit, shared.topics.unsubscribe(&own.topic, &own.name)).await;
            if !matches!(deleted, Ok(Ok(()))) {
                let idle = shared.config.auto_delete_on_idle;
                tracing::debug!(topic = %own.topic, subscription = %own.name,
                    "cannot delete a subscription; the service does in {idle:?}");
            }
        });
    }

    /// Ends everything, by the deadline.
    pub(crate) async fn close(self: &Arc<Self>, deadline: Instant) {
        let kept = {
            let mut kept = self.kept();
            kept.closed = true;
            std::mem::take(&mut kept.by_log)
        };
        for own in kept.into_values() {
            self.discard(own);
        }
        tokio::join!(self.transport.close(deadline), self.finish(deadline));
        // What received until now deletes its subscription, too.
        self.finish(deadline).await;
        self.take_tasks().shutdown().await;
        self.topics.close();
        // The clients' own tasks have ended or are told to, and are gone when they have run once more.
        for _ in 0..ROUNDS {
            tokio::task::yield_now().await;
        }
    }

    /// Waits until nothing is under way.
    async fn finish(&self, deadline: Instant) {
        loop {
            let mut tasks = self.take_tasks();
            if tasks.is_empty() {
                return;
            }
            let all = async { while tasks.join_next().await.is_some() {} };
            if timeout_at(deadline, all).await.is_err() {
                tasks.shutdown().await;
                return;
            }
        }
    }

    /// Runs a task that ends with the backend. Nothing happens where there is no runtime any more.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let Ok(runtime) = Handle::try_current() else {
            return;
        };
        let mut tasks = self.tasks();
        while tasks.try_join_next().is_some() {}
        tasks.spawn_on(task, &runtime);
    }

    fn take_tasks(&self) -> JoinSet<()> {
        std::mem::take(&mut *self.tasks())
    }

    fn tasks(&self) -> MutexGuard<'_, JoinSet<()>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nothing that runs under the lock can panic half way.
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A subscription in somebody's hands. Dropped, it is kept or deleted.
pub(crate) struct Held<T: Transport> {
    shared: Arc<Shared<T>>,
    log: u16,
    own: Option<Own>,
    keep: bool,
}

impl<T: Transport> Held<T> {
    pub(crate) fn own(&mut self) -> Result<&mut Own> {
        self.own
            .as_mut()
            .ok_or_else(|| Error::new(ErrorKind::Broker, "the subscription is gone"))
    }

    /// From now on it is kept when it is dropped.
    pub(crate) fn keep(&mut self) {
        self.keep = true;
    }

    /// It is deleted when it is dropped.
    pub(crate) fn discard(&mut self) {
        self.keep = false;
    }

    /// It does not exist any more.
    pub(crate) fn forget(mut self) {
        self.own = None;
    }
}

impl<T: Transport> Drop for Held<T> {
    fn drop(&mut self) {
        match self.own.take() {
            Some(own) if self.keep => self.shared.keep(self.log, own),
            Some(own) => self.shared.discard(own),
            None => {}
        }
    }
}
