//! How a log's life begins: a new stream, which the directory then names.

use std::sync::Arc;

use lapin::types::{AMQPValue, FieldTable};
use scaleout_core::{Epoch, Result};
use tokio::{sync::oneshot, time::timeout};

use crate::{
    append::Published,
    config::Config,
    directory::life,
    error::{lost, of_client, timed_out},
    link::Link,
    names, wire,
};

impl Link {
    /// The present life of a log. Its first one begins here if need be.
    pub(crate) async fn epoch(self: &Arc<Self>, log: u16) -> Result<Epoch> {
        match self.directory.epoch(log) {
            Some(epoch) => Ok(epoch),
            None => self.begin(log, None).await,
        }
    }

    /// Begins a log's next life after `old`, unless another one has begun. Returns the present life.
    ///
    /// # Cancellation
    ///
    /// It goes on all the same, so that no stream is left that the directory does not know.
    pub(crate) async fn begin(self: &Arc<Self>, log: u16, old: Option<Epoch>) -> Result<Epoch> {
        let (tell, told) = oneshot::channel();
        let link = Arc::downgrade(self);
        self.spawn(async move {
            let Some(link) = link.upgrade() else { return };
            let limit = link.config.request_timeout;
            let begin = timeout(limit, link.begin_once(log, old));
            let begun = tokio::select! {
                begun = begin => {
                    begun.unwrap_or_else(|_| Err(timed_out("the beginning of a log", limit)))
                }
                // What it waits for does not come any more.
                error = link.pulse.dead() => Err(error),
            };
            // Whoever asked may have gone.
            let _ = tell.send(begun);
        });
        told.await.unwrap_or_else(|_| Err(lost()))
    }

    async fn begin_once(&self, log: u16, old: Option<Epoch>) -> Result<Epoch> {
        let _one_at_a_time = self.creating.lock().await;
        if let Some(present) = self.directory.epoch(log)
            && Some(present) != old
        {
            return Ok(present);
        }
        self.pulse.check_unblocked()?;
        let namespace = &self.config.namespace;
        if let Some(old) = old
            && self
                .has_stream(&names::stream(namespace, log, old))
                .await
                .map_err(|error| of_client(&error))?
        {
            // It seemed to be gone, as one does that has yet to start.
            return Ok(old);
        }
        let new = Epoch::random();
        let stream = names::stream(namespace, log, new);
        // Nobody knows its name before the directory tells it, so it is made exactly once.
        let make = async {
            self.declare_stream(&stream, retention(&self.config))
                .await?;
            self.write(&stream, wire::MARK).await?;
            let record = life(log, old, new);
            self.write(&names::directory(namespace), record.as_bytes())
                .await
        };
        if let Published::NoStream = make.await.map_err(|error| of_client(&error))? {
            // The directory was deleted, and nobody will know the stream.
            self.pulse.die(lost());
            self.delete_stream(&stream).await?;
            return Err(lost());
        }
        let present = self.directory.changed(log, old).await.ok_or_else(lost)?;
        if present != new {
            self.delete_stream(&stream).await?;
        }
        Ok(present)
    }
}

/// How much a stream keeps.
fn retention(config: &Config) -> FieldTable {
    let bytes = |bytes: u64| AMQPValue::LongLongInt(i64::try_from(bytes).unwrap_or(i64::MAX));
    let age = format!("{}s", config.retention_age.as_secs());
    let mut arguments = FieldTable::default();
    arguments.insert("x-max-age".into(), AMQPValue::LongString(age.into()));
    arguments.insert("x-max-length-bytes".into(), bytes(config.retention_bytes));
    arguments.insert(
        "x-stream-max-segment-size-bytes".into(),
        bytes(config.segment_bytes),
    );
    arguments
}
