//! Removing a namespace.

use std::{sync::Arc, time::Duration};

use scaleout_core::Result;
use tokio::time::Instant;

use crate::{
    config,
    error::of,
    link::{Deaf, Link, Pulse},
    trim::Trimmer,
};

/// How long closing the connection may take.
const CLOSE: Duration = Duration::from_secs(1);
/// Whoever looks after the namespace is waited for, and keeps off until the connection is closed.
const KEEP_OFF: &str = "SELECT pg_advisory_lock(1935897701, hashtext($1))";

/// Deletes all that the namespace of a `postgres://` URL has in the database: its logs, with their
/// messages. For tests, and for the day when an application is given up. It needs no more rights than
/// a node. Nodes that still run begin anew.
///
/// # Errors
///
/// As [`connector`](crate::connector), and what the server or the network answers.
///
/// # Cancellation
///
/// Some of it may be deleted. Call it again to finish.
pub async fn remove(url: &str) -> Result<()> {
    let (config, _) = config::read(url)?;
    let link = Link::open(&Arc::new(config.clone()), Arc::new(Pulse::default()), Deaf).await?;
    let trimmer = Trimmer::of_everything(link.client.clone());
    let removed = async {
        link.client.batch_execute("SET lock_timeout = 0").await?;
        link.client.execute(KEEP_OFF, &[&config.namespace]).await?;
        trimmer.empty(&config.namespace).await
    };
    let removed = removed.await;
    link.close(Instant::now() + CLOSE).await;
    removed.map_err(|error| of(&error))
}
