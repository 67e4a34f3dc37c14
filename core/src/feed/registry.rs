//! [`Feeds`]: the feeds of a node, one for every log that somebody needs.

use std::{
    collections::HashMap,
    hash::BuildHasher,
    ops::Deref,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::task::JoinHandle;

use super::{Feed, run};
use crate::{Error, LogName, Result, node::Node};

#[derive(Debug, Default)]
pub(crate) struct Feeds {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    by_log: HashMap<LogName, Running>,
    /// No feed starts any more.
    ended: bool,
}

#[derive(Debug)]
struct Running {
    feed: Arc<Feed>,
    leases: usize,
    task: JoinHandle<()>,
}

/// A claim on a feed. The feed runs until the last one is dropped.
#[derive(Debug)]
pub(crate) struct Lease {
    node: Arc<Node>,
    feed: Arc<Feed>,
}

impl Feeds {
    /// The feed of a log, started if it does not run yet, and whether it was.
    ///
    /// # Errors
    ///
    /// `Closed` once the feeds have ended. A node that is closing flushes first, and may need a feed
    /// for that.
    pub(crate) fn lease(&self, node: &Arc<Node>, log: &LogName) -> Result<(Lease, bool)> {
        let mut state = self.lock();
        if state.ended {
            return Err(Error::closed());
        }
        let mut started = false;
        let running = state.by_log.entry(log.clone()).or_insert_with(|| {
            started = true;
            node.metrics.followed.increment(1);
            let feed = Arc::new(Feed::new(log.clone(), node));
            Running {
                task: tokio::spawn(run(node.clone(), feed.clone())),
                feed,
                leases: 0,
            }
        });
        running.leases += 1;
        let lease = Lease {
            node: node.clone(),
            feed: running.feed.clone(),
        };
        Ok((lease, started))
    }

    /// Has share `share` of `shares` of the feeds compare themselves with the broker.
    pub(crate) fn recheck(&self, share: u32, shares: u32) {
        let by_log = &self.lock().by_log;
        for (log, running) in by_log {
            if by_log.hasher().hash_one(log) % u64::from(shares) == u64::from(share) {
                running.feed.recheck();
            }
        }
    }

    /// Ends every feed: readers take what is in the windows, and then learn of it.
    pub(crate) async fn end(&self) {
        for task in self.abort() {
            // Cancelled: the listener is dropped with it.
            let _ = task.await;
        }
    }

    /// Ends every feed, without waiting. Returns their tasks, which are cancelled.
    pub(crate) fn abort(&self) -> Vec<JoinHandle<()>> {
        let end = |(_, running): (LogName, Running)| {
            running.task.abort();
            running.feed.window.end();
            // Those who wait for the feed find the node closed.
            running.feed.set_live(true);
            running.task
        };
        let mut state = self.lock();
        state.ended = true;
        state.by_log.drain().map(end).collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Deref for Lease {
    type Target = Arc<Feed>;

    fn deref(&self) -> &Arc<Feed> {
        &self.feed
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let by_log = &mut self.node.feeds.lock().by_log;
        let Some(running) = by_log.get_mut(&self.feed.log) else {
            return;
        };
        // After a close another feed may stand in its place, which this lease has no part in.
        if !Arc::ptr_eq(&running.feed, &self.feed) {
            return;
        }
        running.leases -= 1;
        if running.leases == 0 {
            running.task.abort();
            self.node.metrics.followed.decrement(1);
            by_log.remove(&self.feed.log);
        }
    }
}
