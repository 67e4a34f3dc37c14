//! [`Commands`]: the connection for appends and reads.

use std::sync::Arc;

use scaleout_core::{Appended, EncodedFrame, Result};
use tokio::sync::{mpsc, oneshot};

use crate::{
    append::{Append, Dice, Writer},
    config::Config,
    error::lost,
    hints::Hints,
    keys::Key,
    link::{Link, Pulse},
    slot::Connection,
};

/// A connection with a single writer for appends: it keeps their order, and makes few large calls of
/// many small ones.
pub(crate) struct Commands {
    pub(crate) link: Link,
    queue: mpsc::UnboundedSender<Append>,
}

impl Commands {
    pub(crate) async fn open(config: Arc<Config>, hints: Arc<Hints>) -> Result<Self> {
        let pulse = Arc::new(Pulse::default());
        let link = Link::open(&config, pulse.clone(), None, |_| {}).await?;
        // The core bounds it: one frame of a log is in flight.
        let (queue, waiting) = mpsc::unbounded_channel();
        let writer = Writer {
            config,
            connection: link.connection.clone(),
            run: link.run,
            pulse,
            hints,
            dice: Dice::new(),
        };
        link.spawn(writer.work(waiting));
        Ok(Self { link, queue })
    }

    /// Queues a frame and waits for its receipt.
    pub(crate) async fn append(&self, key: Key, frame: EncodedFrame) -> Result<Appended> {
        let (reply, receipt) = oneshot::channel();
        let append = Append { key, frame, reply };
        if self.queue.send(append).is_err() {
            return Err(lost());
        }
        // The writer answers every request unless it is stopped.
        receipt
            .await
            .unwrap_or_else(|_| Err(lost().with_unknown_outcome()))
    }
}

impl Connection for Commands {
    fn is_alive(&self) -> bool {
        self.link.pulse.is_alive()
    }
}
