//! [`RabbitMqBackend`]: a node's end of a RabbitMQ broker.

use std::{
    fmt,
    sync::{Arc, atomic::AtomicBool},
};

use scaleout_core::{
    Appended, Backend, Capabilities, Durability, EncodedFrame, Listener, LogName, Page,
    Partitioning, Position, Result, Slot,
};
use tokio::time::Instant;

use crate::{
    append::Published,
    config::Config,
    error::{gone, lost},
    link::Link,
    names,
    read::SLOT,
};

/// How many frames before its place a resume looks at, to know what was stored twice.
const LOOKBACK: u64 = 256;

/// The RabbitMQ backend. [`connector`](crate::connector) makes one out of a URL.
///
/// It connects when it is first used: one connection to publish, and one to consume.
pub struct RabbitMqBackend {
    config: Arc<Config>,
    link: Slot<Link>,
    /// Whether the namespace's directory has been read: it is there.
    directory_known: Arc<AtomicBool>,
}

impl RabbitMqBackend {
    pub(crate) fn new(config: Config) -> Self {
        Self {
            config: Arc::new(config),
            link: Slot::default(),
            directory_known: Arc::default(),
        }
    }

    async fn link(&self) -> Result<Arc<Link>> {
        let (config, known) = (self.config.clone(), self.directory_known.clone());
        let open = || async move {
            let link = Link::open(config, &known).await?;
            link.check_logs()?;
            Ok(link)
        };
        self.link.get(open).await
    }

    fn index(&self, log: &LogName) -> Result<u16> {
        names::index(log, self.config.logs.get())
    }
}

impl Backend for RabbitMqBackend {
    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::new("rabbitmq", self.config.max_frame_bytes);
        capabilities.dense = false;
        capabilities.history = true;
        capabilities.receipts = false;
        capabilities.trim = true;
        capabilities.trim_age = true;
        capabilities.durability = Durability::ProcessCrash;
        capabilities.partitioning = Partitioning::Shared(self.config.logs);
        capabilities.slot = SLOT;
        capabilities.lookback = LOOKBACK * SLOT;
        capabilities
    }

    async fn probe(&self) -> Result<()> {
        if self.link.take_dead() {
            return Err(lost());
        }
        self.link().await?.ping().await
    }

    async fn append(&self, log: &LogName, frame: &EncodedFrame) -> Result<Appended> {
        frame.check_size(self.config.max_frame_bytes)?;
        let (log, link) = (self.index(log)?, self.link().await?);
        let epoch = link.epoch(log).await?;
        let stream = names::stream(&self.config.namespace, log, epoch);
        if let Published::Stored = link.append(&stream, frame).await? {
            return Ok(Appended { first: None });
        }
        // The stream was deleted. The log's next life is there, or begins now.
        let epoch = link.begin(log, Some(epoch)).await?;
        let stream = names::stream(&self.config.namespace, log, epoch);
        match link.append(&stream, frame).await? {
            Published::Stored => Ok(Appended { first: None }),
            Published::NoStream => Err(gone(&stream)),
        }
    }

    async fn read(&self, log: &LogName, after: Option<Position>, limit: usize) -> Result<Page> {
        let log = self.index(log)?;
        self.link().await?.read(log, after, limit).await
    }

    async fn listen(&self, log: &LogName, _after: Option<Position>) -> Result<Listener> {
        let log = self.index(log)?;
        self.link().await?.listen(log).await
    }

    async fn close(&self, deadline: Instant) -> Result<()> {
        if let Some(link) = self.link.close() {
            link.close(deadline).await;
        }
        Ok(())
    }
}

impl fmt::Debug for RabbitMqBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RabbitMqBackend")
            .field("server", &format_args!("{}", self.config))
            .field("user", &self.config.user)
            .field("password", &self.config.password)
            .finish_non_exhaustive()
    }
}
