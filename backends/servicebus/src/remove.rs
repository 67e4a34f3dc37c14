//! Removing a namespace.

use scaleout_core::Result;

use crate::{config, http::Http, manage::Manager, names};

/// Deletes the topics of a namespace, with their subscriptions and what is in them. For tests, and for
/// the day when an application is given up. Nodes that still run begin anew.
///
/// # Errors
///
/// As [`connector`](crate::connector); [`Auth`](scaleout_core::ErrorKind::Auth) if the policy lacks the
/// right Manage; and what the network answers.
///
/// # Cancellation
///
/// Some of it may be deleted. Call it again to finish.
pub async fn remove(url: &str) -> Result<()> {
    let (config, _) = config::read(url)?;
    let manager = Manager::new(&config, Http::occasional(&config)?);
    let count = config.logs.get();
    for index in 0..count {
        let topic = names::topic(&config.namespace, index, count);
        manager.delete_topic(&topic).await?;
    }
    Ok(())
}
