//! Removing a namespace.

use std::{
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use scaleout_core::Result;
use tokio::time::Instant;

use crate::{config, link::Link, names};

/// How long closing the connections may take.
const CLOSE: Duration = Duration::from_secs(1);

/// Deletes all that the namespace of an `amqp://` URL has at the broker: its streams, with their
/// messages, and its directory. For tests, and for the day when an application is given up. Nodes that
/// still run begin anew.
///
/// # Errors
///
/// As [`connector`](crate::connector), and what the broker or the network answers.
///
/// # Cancellation
///
/// Some of it may be deleted. Call it again to finish.
pub async fn remove(url: &str) -> Result<()> {
    let (config, _) = config::read(url)?;
    let link = Link::open(Arc::new(config), &AtomicBool::new(false)).await?;
    let removed = link.remove().await;
    link.close(Instant::now() + CLOSE).await;
    removed
}

impl Link {
    /// Deletes the streams of every life of every log, and last the directory that names them.
    async fn remove(&self) -> Result<()> {
        let namespace = &self.config.namespace;
        for (log, epoch) in self.directory.named() {
            let stream = names::stream(namespace, log, epoch);
            self.delete_stream(&stream).await?;
        }
        self.delete_stream(&names::directory(namespace)).await
    }
}
