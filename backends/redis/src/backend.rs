//! [`RedisBackend`]: a node's end of a Redis server.

use std::{fmt, sync::Arc};

use scaleout_core::{
    Appended, Backend, Capabilities, EncodedFrame, Error, Listener, LogName, Page, Position,
    Result, Slot,
};
use tokio::time::Instant;

use crate::{commands::Commands, config::Config, hints::Hints, keys::Key, listen::Subscriptions};

/// The Redis backend. [`connector`](crate::connector) makes one out of a URL.
///
/// It connects when it is first used: one connection for appends and reads, and one for the
/// subscriptions of all logs.
pub struct RedisBackend {
    config: Arc<Config>,
    commands: Slot<Commands>,
    subscriptions: Slot<Subscriptions>,
    hints: Arc<Hints>,
}

impl RedisBackend {
    pub(crate) fn new(config: Config) -> Self {
        Self {
            config: Arc::new(config),
            commands: Slot::default(),
            subscriptions: Slot::default(),
            hints: Arc::default(),
        }
    }

    async fn commands(&self) -> Result<Arc<Commands>> {
        let open = || Commands::open(self.config.clone(), self.hints.clone());
        self.commands.get(open).await
    }

    async fn subscriptions(&self) -> Result<Arc<Subscriptions>> {
        let open = || Subscriptions::open(self.config.clone());
        self.subscriptions.get(open).await
    }

    fn key(&self, log: &LogName) -> Key {
        Key::new(self.config.db, log)
    }
}

impl Backend for RedisBackend {
    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::new("redis", self.config.max_frame_bytes);
        capabilities.history = true;
        capabilities.dedup = true;
        capabilities.linearizable = true;
        capabilities.trim = true;
        capabilities
    }

    async fn probe(&self) -> Result<()> {
        let lost = [self.commands.take_dead(), self.subscriptions.take_dead()];
        if lost.contains(&true) {
            return Err(crate::error::lost());
        }
        let (commands, subscriptions) = tokio::try_join!(self.commands(), self.subscriptions())?;
        tokio::try_join!(
            commands.link.ping(&self.config),
            subscriptions.link.ping(&self.config)
        )?;
        Ok(())
    }

    async fn append(&self, log: &LogName, frame: &EncodedFrame) -> Result<Appended> {
        frame.check_size(self.config.max_frame_bytes)?;
        let commands = self.commands().await?;
        commands.append(self.key(log), frame.clone()).await
    }

    async fn read(&self, log: &LogName, after: Option<Position>, limit: usize) -> Result<Page> {
        let commands = self.commands().await?;
        commands
            .read(&self.config, &self.key(log), after, limit)
            .await
    }

    async fn listen(&self, log: &LogName, _after: Option<Position>) -> Result<Listener> {
        let subscriptions = self.subscriptions().await?;
        subscriptions.listen(&self.config, &self.key(log)).await
    }

    async fn close(&self, deadline: Instant) -> Result<()> {
        if let Some(commands) = self.commands.close() {
            commands.link.close(deadline).await;
        }
        if let Some(subscriptions) = self.subscriptions.close() {
            subscriptions.link.close(deadline).await;
            subscriptions.channels.end(&Error::closed());
        }
        Ok(())
    }
}

impl fmt::Debug for RedisBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisBackend")
            .field("server", &format_args!("{}", self.config))
            .field("user", &self.config.user)
            .field("password", &self.config.password)
            .field("durable", &self.config.durable)
            .finish_non_exhaustive()
    }
}
