//! [`Bare`]: a namespace as a bare client needs it.

use std::fmt;

use scaleout_core::Result;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::{
    amqp::Stream,
    config::{self, Config},
    http::Http,
    manage::Manager,
};

/// What `scaleout bench` needs beside a bare AMQP client: where the namespace is, and entities to use. It
/// is no part of the library's interface.
#[doc(hidden)]
pub struct Bare {
    config: Config,
    manager: Manager,
}

impl Bare {
    pub fn new(url: &str) -> Result<Self> {
        let (config, _) = config::read(url)?;
        let manager = Manager::new(&config, Http::occasional(&config)?);
        Ok(Self { config, manager })
    }

    pub fn host(&self) -> &str {
        &self.config.host
    }

    /// The policy and its key, for SASL's PLAIN.
    pub fn key(&self) -> Option<(&str, &str)> {
        self.config.credential.exposed_key()
    }

    /// A connection to speak AMQP on, with TLS if the URL says so.
    pub async fn connect(
        &self,
    ) -> Result<impl AsyncRead + AsyncWrite + fmt::Debug + Send + Unpin + use<>> {
        Ok(Stream::connect(&self.config).await?.0)
    }

    pub async fn create_topic(&self, topic: &str) -> Result<()> {
        self.manager.create_topic(topic).await
    }

    /// Gives a topic a subscription, and returns its address.
    pub async fn create_subscription(&self, topic: &str, name: &str) -> Result<String> {
        self.manager.create_subscription(topic, name).await?;
        Ok(format!("{topic}/Subscriptions/{name}"))
    }

    pub async fn delete_topic(&self, topic: &str) -> Result<()> {
        self.manager.delete_topic(topic).await
    }
}

impl fmt::Debug for Bare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bare").finish_non_exhaustive()
    }
}
