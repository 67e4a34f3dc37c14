//! Claims: the tokens that a connection has shown to `$cbs`, one for each entity, and shows again
//! before they expire.

use std::{collections::HashMap, time::Duration};

use fe2o3_amqp_types::messaging::ApplicationProperties;
use scaleout_core::Result;
use serde_amqp::Value;
use tokio::{
    sync::{Mutex, Notify},
    time::{Instant, sleep, sleep_until},
};

use super::request::Requests;
use crate::{config::Config, error::of_status};

/// How soon a claim that could not be renewed is tried again.
const AGAIN: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(super) struct Claims {
    requests: Mutex<Requests>,
    /// When the claim for an entity is to be renewed.
    renewals: std::sync::Mutex<HashMap<String, Instant>>,
    changed: Notify,
}

impl Claims {
    pub(super) fn new(requests: Requests) -> Self {
        Self {
            requests: Mutex::new(requests),
            renewals: std::sync::Mutex::default(),
            changed: Notify::new(),
        }
    }

    /// Shows a token for an entity, and goes on doing so.
    pub(super) async fn claim(&self, config: &Config, entity: &str) -> Result<()> {
        let renew = self.show(config, entity).await?;
        self.renewals().insert(entity.to_owned(), renew);
        self.changed.notify_one();
        Ok(())
    }

    /// Shows a token once: a round trip. An entity that does not exist yet does not matter.
    pub(super) async fn ping(&self, config: &Config, entity: &str) -> Result<()> {
        self.show(config, entity).await.map(drop)
    }

    /// An entity is not used any more.
    pub(super) fn forget(&self, entity: &str) {
        self.renewals().remove(entity);
    }

    /// Renews claims for as long as it is polled.
    pub(super) async fn keep(&self, config: &Config) {
        loop {
            let due = {
                let renewals = self.renewals();
                let next = renewals.iter().min_by_key(|(_, at)| **at);
                next.map(|(entity, at)| (entity.clone(), *at))
            };
            let Some((entity, at)) = due else {
                self.changed.notified().await;
                continue;
            };
            tokio::select! {
                () = sleep_until(at) => {}
                () = self.changed.notified() => continue,
            }
            match self.show(config, &entity).await {
                Ok(renew) => {
                    if let Some(at) = self.renewals().get_mut(&entity) {
                        *at = renew;
                    }
                }
                Err(error) => {
                    // While the old one is good nothing happens; then the service ends the link, and
                    // whoever needs it learns why he does not get another.
                    tracing::warn!(%entity, %error, "cannot renew a claim; trying again");
                    sleep(AGAIN).await;
                }
            }
        }
    }

    /// Returns when to do it again.
    async fn show(&self, config: &Config, entity: &str) -> Result<Instant> {
        let audience = format!("sb://{}/{entity}", config.host);
        let token = config.credential.token(&audience).await?;
        let properties = ApplicationProperties::builder()
            .insert("operation", "put-token")
            .insert("type", token.kind.name())
            .insert("name", audience.as_str())
            .build();
        let body = Value::String(token.text.expose().to_owned());
        let reply = self.requests.lock().await.ask(properties, body).await?;
        match reply.status() {
            (200..300 | 404, _) => Ok(Instant::now() + token.fresh_for()),
            (status, description) => Err(of_status("the claim", status, &description)),
        }
    }

    /// Nothing that runs under the lock can panic half way.
    fn renewals(&self) -> std::sync::MutexGuard<'_, HashMap<String, Instant>> {
        let locked = self.renewals.lock();
        locked.unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
