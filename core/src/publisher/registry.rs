//! [`Publishers`]: the publish queues of a node.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::{sync::Notify, task::JoinSet};

use super::{Queue, run};
use crate::{LogName, Topic, node::Node};

/// Idle queues are looked for when there are so many, and twice as many as were in use last time.
const SWEEP: usize = 1_024;

#[derive(Debug, Default)]
pub(crate) struct Publishers {
    queues: Mutex<Queues>,
    /// How many publishes are being queued, queues emptied, and frames awaited.
    busy: AtomicUsize,
    idle: Notify,
    /// Tasks that wait for frames to come back.
    returns: Mutex<JoinSet<()>>,
}

#[derive(Debug, Default)]
struct Queues {
    by_log: HashMap<LogName, Arc<Queue>>,
    sweep_at: usize,
}

impl Publishers {
    /// The queue of the log that carries `topic`.
    pub(super) fn queue(&self, node: &Node, topic: &Topic) -> Arc<Queue> {
        let log = node.log_of(topic);
        let mut queues = self.lock();
        if let Some(queue) = queues.by_log.get(&log) {
            return queue.clone();
        }
        if queues.by_log.len() >= queues.sweep_at {
            // A queue that nobody holds and nothing waits in can be made anew when it is needed.
            queues
                .by_log
                .retain(|_, queue| Arc::strong_count(queue) > 1 || !queue.is_idle());
            queues.sweep_at = SWEEP.max(2 * queues.by_log.len());
        }
        let queue = Arc::new(Queue::new(log.clone(), &node.options));
        queues.by_log.insert(log, queue.clone());
        queue
    }

    /// Keeps the node from being seen idle.
    pub(super) fn busy<N: AsRef<Node>>(&self, node: N) -> Busy<N> {
        self.busy.fetch_add(1, Ordering::SeqCst);
        Busy(node)
    }

    /// Starts a task that empties a queue.
    pub(super) fn run(&self, node: &Arc<Node>, queue: &Arc<Queue>) {
        let busy = self.busy(node.clone());
        let running = queue.clone();
        queue.set_task(tokio::spawn(async move {
            run(&busy.0, &running).await;
        }));
    }

    /// Starts a task that waits for a frame to come back.
    pub(super) fn spawn(&self, node: &Arc<Node>, wait: impl Future<Output = ()> + Send + 'static) {
        let busy = self.busy(node.clone());
        let mut returns = self.returns();
        while returns.try_join_next().is_some() {}
        returns.spawn(async move {
            let _busy = busy;
            wait.await;
        });
    }

    /// Lets go of the feeds that bring frames back to nobody. To be called now and then.
    pub(crate) fn release_feeds(&self) {
        let unused: Vec<_> = {
            let queues = self.lock();
            let queues = queues.by_log.values();
            queues.filter_map(|queue| queue.release_feed()).collect()
        };
        drop(unused);
    }

    /// Waits until nothing is queued or in flight.
    pub(crate) async fn idle(&self) {
        loop {
            let mut idle = std::pin::pin!(self.idle.notified());
            idle.as_mut().enable();
            if self.busy.load(Ordering::SeqCst) == 0 {
                return;
            }
            idle.await;
        }
    }

    /// Stops all tasks, and waits until they are gone. What was queued ends with an error.
    pub(crate) async fn stop(&self) {
        let mut returns = std::mem::take(&mut *self.returns());
        let queues = std::mem::take(&mut self.lock().by_log);
        for queue in queues.into_values() {
            if let Some(task) = queue.take_task() {
                task.abort();
                // It was cancelled, or had ended; either way it is gone now.
                let _ = task.await;
            }
        }
        returns.shutdown().await;
    }

    /// Stops all tasks, without waiting.
    pub(crate) fn abort(&self) {
        self.returns().abort_all();
        for queue in std::mem::take(&mut self.lock().by_log).into_values() {
            if let Some(task) = queue.take_task() {
                task.abort();
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queues> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn returns(&self) -> MutexGuard<'_, JoinSet<()>> {
        self.returns.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts something as busy until it is dropped.
pub(super) struct Busy<N: AsRef<Node>>(N);

impl<N: AsRef<Node>> Drop for Busy<N> {
    fn drop(&mut self) {
        let publishers = &self.0.as_ref().publishers;
        if publishers.busy.fetch_sub(1, Ordering::SeqCst) == 1 {
            publishers.idle.notify_waiters();
        }
    }
}
