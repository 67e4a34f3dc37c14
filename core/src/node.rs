//! [`Node`]: what the handles, feeds and publishers of one node share.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    task::JoinHandle,
    time::{Instant, interval, timeout_at},
};

use crate::{
    AnyBackend, Backend, Capabilities, Connector, Error, ErrorKind, LogName, NodeId, Options,
    Partitioning, Result, State, Topic, feed::Feeds, link::Link, metrics::Metrics, order::Rules,
    publisher::Publishers,
};

#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) id: NodeId,
    pub(crate) backend: AnyBackend,
    pub(crate) capabilities: Capabilities,
    pub(crate) options: Arc<Options>,
    pub(crate) partitioning: Partitioning,
    pub(crate) rules: Arc<Rules>,
    pub(crate) link: Arc<Link>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) feeds: Feeds,
    pub(crate) publishers: Publishers,
    closing: AtomicBool,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

impl Node {
    /// Takes a backend that has been probed (`Connected`) or not (`Connecting`), and starts the
    /// node's own tasks.
    pub(crate) fn start(connector: Connector, state: State) -> Result<Arc<Self>> {
        let Connector { backend, options } = connector;
        options.validate()?;
        let capabilities = backend.capabilities();
        let metrics = Arc::new(Metrics::new(capabilities.name));
        let node = Arc::new(Self {
            id: NodeId::random(),
            partitioning: options.partitioning.unwrap_or(capabilities.partitioning),
            rules: Arc::new(Rules::new(&capabilities, options.hole_timeout)),
            link: Arc::new(Link::new(state)),
            options: Arc::new(options),
            backend,
            capabilities,
            metrics,
            feeds: Feeds::default(),
            publishers: Publishers::default(),
            closing: AtomicBool::new(false),
            tasks: Mutex::default(),
        });
        let keep = node.link.clone().keep(
            node.backend.clone(),
            node.options.clone(),
            node.metrics.clone(),
        );
        let recheck = recheck(Arc::downgrade(&node), node.options.recheck);
        *node.tasks() = vec![tokio::spawn(keep), tokio::spawn(recheck)];
        Ok(node)
    }

    pub(crate) fn log_of(&self, topic: &Topic) -> LogName {
        LogName::of_topic(&self.options.namespace, topic, self.partitioning)
    }

    /// Whether frames name the topic of each message.
    pub(crate) fn names_topics(&self) -> bool {
        self.partitioning != Partitioning::PerTopic
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::SeqCst)
    }

    /// Flushes, ends the feeds and stops everything, by the deadline.
    pub(crate) async fn close(self: &Arc<Self>, deadline: Instant) -> Result<()> {
        self.closing.store(true, Ordering::SeqCst);
        let flushed = timeout_at(deadline, self.publishers.idle()).await;
        self.link.close();
        self.publishers.stop().await;
        self.feeds.end().await;
        self.stop_tasks().await;
        let closed = timeout_at(deadline, self.backend.close(deadline)).await;
        if flushed.is_err() {
            return Err(Error::new(
                ErrorKind::Timeout,
                "closed, but not every accepted message was stored by the deadline",
            ));
        }
        closed.unwrap_or(Ok(()))
    }

    /// Stops everything at once, without waiting for it.
    pub(crate) fn abort(&self) {
        self.closing.store(true, Ordering::SeqCst);
        self.link.close();
        self.publishers.abort();
        self.feeds.abort();
        for task in &*self.tasks() {
            task.abort();
        }
    }

    async fn stop_tasks(&self) {
        let tasks = std::mem::take(&mut *self.tasks());
        for task in tasks {
            task.abort();
            // It was cancelled, or had ended; either way it is gone now.
            let _ = task.await;
        }
    }

    fn tasks(&self) -> MutexGuard<'_, Vec<JoinHandle<()>>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AsRef<Self> for Node {
    fn as_ref(&self) -> &Self {
        self
    }
}

/// Asks the feeds of idle logs, a share of them at a time, to compare themselves with the broker, and
/// lets go of those that only brought back what was published.
async fn recheck(node: std::sync::Weak<Node>, every: Duration) {
    const SHARES: u32 = 16;
    let mut ticks = interval((every / SHARES).max(Duration::from_millis(1)));
    let mut share = 0;
    loop {
        ticks.tick().await;
        let Some(node) = node.upgrade() else {
            return;
        };
        node.feeds.recheck(share, SHARES);
        if !node.capabilities.receipts {
            node.publishers.release_feeds();
        }
        share = (share + 1) % SHARES;
    }
}
