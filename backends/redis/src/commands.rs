//! [`Commands`]: the connection for appends and reads.

use std::sync::Arc;

use scaleout_core::{Alive, Appended, EncodedFrame, Result};
use tokio::sync::{mpsc, oneshot};

use crate::{
    append::{Append, Writer},
    config::Config,
    error::lost,
    hints::Hints,
    keys::Key,
    link::Link,
};

/// A connection with a single writer for appends: it makes few large calls of many small ones.
pub(crate) struct Commands {
    pub(crate) link: Link,
    writer: Arc<Writer>,
    queue: mpsc::UnboundedSender<Append>,
}

impl Commands {
    pub(crate) async fn open(config: Arc<Config>, hints: Arc<Hints>) -> Result<Self> {
        let link = Link::open(&config, Arc::default(), None, |_| {}).await?;
        let writer = Arc::new(Writer::new(config, &link, hints));
        // The core bounds it: one frame of a log is in flight.
        let (queue, waiting) = mpsc::unbounded_channel();
        link.spawn({
            let writer = writer.clone();
            async move { writer.work(waiting).await }
        });
        Ok(Self {
            link,
            writer,
            queue,
        })
    }

    /// Sends a frame and waits for its receipt.
    pub(crate) async fn append(&self, key: Key, frame: EncodedFrame) -> Result<Appended> {
        let (reply, receipt) = oneshot::channel();
        let append = Append { key, frame, reply };
        if self.writer.is_idle() {
            // A lone frame is sent by who brings it: two changes of task less, there and back.
            self.writer.send(vec![append]).await;
        } else if self.queue.send(append).is_err() {
            return Err(lost());
        }
        // The writer answers every request unless it is stopped.
        receipt
            .await
            .unwrap_or_else(|_| Err(lost().with_unknown_outcome()))
    }
}

impl Alive for Commands {
    fn is_alive(&self) -> bool {
        self.link.pulse.is_alive()
    }
}
