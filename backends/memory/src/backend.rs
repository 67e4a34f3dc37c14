//! [`MemoryBackend`]: a node's end of a broker.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use scaleout_core::{
    Appended, Backend, Capabilities, EncodedFrame, Error, Listener, LogName, Page, Position, Result,
};
use tokio::time::Instant;

use crate::{broker::Broker, config::Config, connection};

/// The memory backend. [`connector`](crate::connector) makes one out of a URL.
pub struct MemoryBackend {
    broker: Arc<Broker>,
    config: Config,
    /// Tells this node's listeners from those of other nodes, to end them on close.
    node: u64,
    closed: AtomicBool,
}

impl MemoryBackend {
    pub(crate) fn new(name: &str, config: Config) -> Self {
        static NODES: AtomicU64 = AtomicU64::new(0);
        Self {
            broker: connection::connect(name),
            config,
            node: NODES.fetch_add(1, Ordering::Relaxed),
            closed: AtomicBool::new(false),
        }
    }

    fn open(&self) -> Result<&Arc<Broker>> {
        if self.closed.load(Ordering::Acquire) {
            return Err(Error::closed());
        }
        Ok(&self.broker)
    }
}

impl Backend for MemoryBackend {
    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::new("memory", self.config.max_frame_bytes);
        capabilities.history = true;
        capabilities.dedup = true;
        capabilities.linearizable = true;
        capabilities.trim = true;
        capabilities.trim_age = true;
        capabilities
    }

    async fn probe(&self) -> Result<()> {
        self.open().map(drop)
    }

    async fn append(&self, log: &LogName, frame: &EncodedFrame) -> Result<Appended> {
        self.open()?
            .append(log, frame, &self.config, Instant::now())
    }

    async fn read(&self, log: &LogName, after: Option<Position>, limit: usize) -> Result<Page> {
        Ok(self
            .open()?
            .read(log, after, limit, &self.config, Instant::now()))
    }

    async fn listen(&self, log: &LogName, _after: Option<Position>) -> Result<Listener> {
        Ok(self
            .open()?
            .listen(log, self.node, &self.config, Instant::now()))
    }

    async fn close(&self, _deadline: Instant) -> Result<()> {
        self.closed.store(true, Ordering::Release);
        for sender in self.broker.take_listeners(|node| node == self.node) {
            sender.end(Error::closed());
        }
        Ok(())
    }
}

impl fmt::Debug for MemoryBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryBackend")
            .field("config", &self.config)
            .field("closed", &self.closed)
            .finish_non_exhaustive()
    }
}
