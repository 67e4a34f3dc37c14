//! [`ServiceBus`]: a node's end of a namespace, whichever way the messages go.

use std::{fmt, sync::Arc};

use scaleout_core::{
    Appended, Backend, Capabilities, Durability, EncodedFrame, Error, ErrorKind, Listener, LogName,
    Page, Partitioning, Position, Result,
};
use tokio::time::Instant;

use crate::{config::Config, http::Http, life::Topics, names, own::Shared, transport::Transport};

/// How many sequences stand for one number of the service: the most messages in a frame.
pub(crate) const SLOT: u64 = 1 << 20;

/// The backend over one transport.
pub(crate) struct ServiceBus<T: Transport> {
    shared: Arc<Shared<T>>,
}

impl<T: Transport> ServiceBus<T> {
    pub(crate) fn new(config: Arc<Config>, http: Http, transport: T) -> Self {
        let topics = Topics::new(config.clone(), http);
        Self {
            shared: Arc::new(Shared::new(config, topics, transport)),
        }
    }

    fn config(&self) -> &Config {
        &self.shared.config
    }
}

impl<T: Transport> Backend for ServiceBus<T> {
    fn capabilities(&self) -> Capabilities {
        let config = self.config();
        let mut capabilities = Capabilities::new("servicebus", config.max_frame_bytes);
        capabilities.dense = false;
        capabilities.receipts = false;
        capabilities.durability = Durability::None;
        capabilities.partitioning = Partitioning::Shared(config.logs);
        capabilities.slot = SLOT;
        capabilities
    }

    async fn probe(&self) -> Result<()> {
        self.shared.transport.probe().await
    }

    async fn append(&self, log: &LogName, frame: &EncodedFrame) -> Result<Appended> {
        frame.check_size(self.config().max_frame_bytes)?;
        let log = names::index(log, self.config())?;
        self.shared.append(log, frame).await?;
        Ok(Appended { first: None })
    }

    async fn read(&self, _: &LogName, _: Option<Position>, _: usize) -> Result<Page> {
        Err(Error::new(
            ErrorKind::Unsupported,
            "what Azure Service Bus has delivered cannot be read again",
        ))
    }

    async fn listen(&self, log: &LogName, after: Option<Position>) -> Result<Listener> {
        let log = names::index(log, self.config())?;
        self.shared.listen(log, after.is_some()).await
    }

    async fn close(&self, deadline: Instant) -> Result<()> {
        self.shared.close(deadline).await;
        Ok(())
    }
}

impl<T: Transport> fmt::Debug for ServiceBus<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServiceBus")
            .field("host", &self.config().host)
            .field("credential", &self.config().credential)
            .finish_non_exhaustive()
    }
}
