//! AMQP 1.0, over `fe2o3-amqp`: a connection to send and one to receive.
//!
//! That client has tasks of its own which end with their connection. A connection that is not answered
//! is ended from below, by its stream: [`stream::Cut`].

mod claims;
mod connection;
mod error;
mod link;
mod message;
mod receiver;
mod request;
mod sender;
mod stream;
#[cfg(test)]
mod tests;

use std::{fmt, sync::Arc};

use scaleout_core::{Result, Slot};
use tokio::time::{Instant, timeout};

use self::link::Link;
use crate::{
    config::Config,
    error::{lost, timed_out},
    transport::{Outgoing, Sent, Transport},
};

pub(crate) use self::{receiver::AmqpReceiver, stream::Stream};

/// The namespace over AMQP.
pub(crate) struct Amqp {
    config: Arc<Config>,
    link: Slot<Link>,
}

impl Amqp {
    pub(crate) fn new(config: Arc<Config>) -> Self {
        Self {
            config,
            link: Slot::default(),
        }
    }

    async fn link(&self) -> Result<Arc<Link>> {
        self.link.get(|| Link::open(self.config.clone())).await
    }
}

impl Transport for Amqp {
    type Receiver = AmqpReceiver;

    async fn probe(&self) -> Result<()> {
        if self.link.take_dead() {
            return Err(lost());
        }
        let link = self.link().await?;
        // A little less than the core waits for, so that a connection that does not answer is given up
        // here, and with it all who wait for it.
        let limit = (self.config.liveness / 2)
            .min(self.config.request_timeout)
            .mul_f32(0.8);
        match timeout(limit, link.ping()).await {
            Ok(answered) => answered,
            Err(_) => {
                link.cut();
                self.link.take_dead();
                Err(timed_out("a probe", limit))
            }
        }
    }

    async fn send(&self, topic: &str, message: Outgoing) -> Result<Sent> {
        self.link().await?.send(topic, message).await
    }

    async fn receive(&self, topic: &str, subscription: &str) -> Result<Option<AmqpReceiver>> {
        self.link().await?.receive(topic, subscription).await
    }

    async fn close(&self, deadline: Instant) {
        if let Some(link) = self.link.close() {
            link.close(deadline).await;
        }
    }
}

impl fmt::Debug for Amqp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Amqp").finish_non_exhaustive()
    }
}
