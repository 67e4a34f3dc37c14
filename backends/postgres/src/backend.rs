//! [`PostgresBackend`]: a node's end of a PostgreSQL database.

use std::{fmt, sync::Arc};

use scaleout_core::{
    Appended, Backend, Capabilities, Durability, EncodedFrame, Listener, LogName, Page, Position,
    Result, Slot,
};
use tokio::time::Instant;

use crate::{commands::Commands, config::Config, listen::Subscriptions};

/// The PostgreSQL backend. [`connector`](crate::connector) makes one out of a URL.
///
/// It connects when it is first used: some connections for appends, one for reads and trimming, and
/// one for the subscriptions of all logs.
pub struct PostgresBackend {
    config: Arc<Config>,
    commands: Slot<Commands>,
    subscriptions: Slot<Subscriptions>,
}

impl PostgresBackend {
    pub(crate) fn new(config: Config) -> Self {
        Self {
            config: Arc::new(config),
            commands: Slot::default(),
            subscriptions: Slot::default(),
        }
    }

    async fn commands(&self) -> Result<Arc<Commands>> {
        self.commands
            .get(|| Commands::open(self.config.clone()))
            .await
    }

    async fn subscriptions(&self) -> Result<Arc<Subscriptions>> {
        self.subscriptions
            .get(|| Subscriptions::open(self.config.clone()))
            .await
    }
}

impl Backend for PostgresBackend {
    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::new("postgres", self.config.max_frame_bytes);
        capabilities.history = true;
        capabilities.dedup = true;
        capabilities.linearizable = true;
        capabilities.trim = true;
        capabilities.trim_age = true;
        capabilities.durability = Durability::PowerLoss;
        capabilities
    }

    async fn probe(&self) -> Result<()> {
        let lost = [self.commands.take_dead(), self.subscriptions.take_dead()];
        if lost.contains(&true) {
            return Err(crate::error::lost());
        }
        let (commands, subscriptions) = tokio::try_join!(self.commands(), self.subscriptions())?;
        tokio::try_join!(
            commands.ping(&self.config),
            subscriptions.link.ping(&self.config)
        )?;
        Ok(())
    }

    async fn append(&self, log: &LogName, frame: &EncodedFrame) -> Result<Appended> {
        frame.check_size(self.config.max_frame_bytes)?;
        self.commands().await?.append(log, frame).await
    }

    async fn read(&self, log: &LogName, after: Option<Position>, limit: usize) -> Result<Page> {
        let commands = self.commands().await?;
        commands.read(&self.config, log, after, limit).await
    }

    async fn listen(&self, log: &LogName, _after: Option<Position>) -> Result<Listener> {
        self.subscriptions().await?.listen(&self.config, log).await
    }

    async fn close(&self, deadline: Instant) -> Result<()> {
        if let Some(commands) = self.commands.close() {
            commands.close(deadline).await;
        }
        if let Some(subscriptions) = self.subscriptions.close() {
            subscriptions.close(deadline).await;
        }
        Ok(())
    }
}

impl fmt::Debug for PostgresBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresBackend")
            .field("server", &format_args!("{}", self.config))
            .field("user", &self.config.client.get_user())
            .finish_non_exhaustive()
    }
}
