//! Append: a message for a frame.

use std::sync::Arc;

use scaleout_core::{EncodedFrame, Error, ErrorKind, Result};

use crate::{
    own::Shared,
    transport::{Outgoing, Sent, Transport},
    wire,
};

impl<T: Transport> Shared<T> {
    /// Stores a frame in the topic of a log.
    pub(crate) async fn append(self: &Arc<Self>, log: u16, frame: &EncodedFrame) -> Result<()> {
        let topic = self.topics.name(log);
        if let Sent::Stored = self.transport.send(&topic, message(frame)).await? {
            return Ok(());
        }
        // The topic was deleted, or never was.
        self.topics.life(log).await?;
        match self.transport.send(&topic, message(frame)).await? {
            Sent::Stored => Ok(()),
            Sent::NoTopic => Err(Error::new(
                ErrorKind::Broker,
                format!("servicebus: topic {topic} was deleted"),
            )),
        }
    }
}

/// A repetition has the same id, for a topic that was set up to drop those.
fn message(frame: &EncodedFrame) -> Outgoing {
    Outgoing {
        id: format!("{}-{}", frame.publisher(), frame.counter()),
        body: wire::frame(frame.len(), frame.bytes()),
    }
}
