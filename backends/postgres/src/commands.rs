//! [`Commands`]: the connections for appends, reads and trimming.

use std::sync::Arc;

use futures_util::future::{try_join, try_join_all};
use scaleout_core::{Alive, Appended, EncodedFrame, Error, LogName, Result};
use tokio::{
    sync::{Mutex, mpsc, oneshot},
    time::Instant,
};

use crate::{
    append::{self, Append, Writer},
    config::Config,
    error::lost,
    link::{Deaf, Link, Pulse},
    patience::Patience,
    read::Reads,
    trim::{self, Trims},
};

/// Some connections that append, and one that reads and trims. They live and die together.
pub(crate) struct Commands {
    pub(crate) pulse: Arc<Pulse>,
    pub(crate) reader: Link,
    pub(crate) reads: Reads,
    writers: Vec<Link>,
    patience: Arc<Patience>,
    queue: mpsc::UnboundedSender<Append>,
}

impl Commands {
    pub(crate) async fn open(config: Arc<Config>) -> Result<Self> {
        let pulse = Arc::new(Pulse::default());
        let open = || Link::open(&config, pulse.clone(), Deaf);
        let reader = async {
            let link = open().await?;
            let reads = Reads::prepare(&link.client).await?;
            Ok::<_, Error>((link, reads))
        };
        let writers = try_join_all((0..config.connections).map(async |_| {
            let link = open().await?;
            let append = append::prepare(&link.client).await?;
            Ok::<_, Error>((link, append))
        }));
        let ((reader, reads), prepared) = try_join(reader, writers).await?;
        let (trims, told) = Trims::new(&config);
        reader.spawn(trim::work(config.clone(), reader.client.clone(), told));
        let patience = Arc::new(Patience::new(config.clone(), pulse.clone(), trims.clone()));
        // The core bounds it: one frame of a log is in flight.
        let (queue, waiting) = mpsc::unbounded_channel();
        let waiting = Arc::new(Mutex::new(waiting));
        let mut writers = Vec::with_capacity(prepared.len());
        for (link, append) in prepared {
            let writer = Writer {
                client: link.client.clone(),
                pulse: pulse.clone(),
                append,
                trims: trims.clone(),
                patience: patience.clone(),
            };
            link.spawn(writer.work(waiting.clone()));
            writers.push(link);
        }
        Ok(Self {
            pulse,
            reader,
            reads,
            writers,
            patience,
            queue,
        })
    }

    /// Sends a frame and waits for its receipt.
    pub(crate) async fn append(&self, log: &LogName, frame: &EncodedFrame) -> Result<Appended> {
        if !self.pulse.is_alive() {
            return Err(lost());
        }
        let (reply, receipt) = oneshot::channel();
        let append = Append {
            log: log.clone(),
            frame: frame.clone(),
            reply,
        };
        if self.queue.send(append).is_err() {
            return Err(lost());
        }
        // Every request is answered unless its connection ends.
        receipt
            .await
            .unwrap_or_else(|_| Err(lost().with_unknown_outcome()))
    }

    /// A round trip on every connection.
    pub(crate) async fn ping(&self, config: &Config) -> Result<()> {
        try_join_all(self.links().map(|link| link.ping(config))).await?;
        Ok(())
    }

    pub(crate) async fn close(&self, deadline: Instant) {
        self.pulse.die();
        for link in self.links() {
            link.close(deadline).await;
        }
        self.patience.close(deadline).await;
    }

    fn links(&self) -> impl Iterator<Item = &Link> {
        self.writers.iter().chain([&self.reader])
    }
}

impl Alive for Commands {
    fn is_alive(&self) -> bool {
        self.pulse.is_alive()
    }
}
