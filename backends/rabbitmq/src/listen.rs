//! Listen: a consumer from the end of a log's stream.

use std::{sync::Arc, time::Duration};

use scaleout_core::{Arrival, Epoch, Error, ErrorKind, Listener, ListenerSender, Result};
use tokio::{task::AbortHandle, time::timeout};

use crate::{
    directory::Directory,
    error::{gone, is_missing, of_client},
    link::Link,
    names,
    read::stored,
    stream::{From, Record, Records},
};

/// How many messages of the stream may be on their way.
const PREFETCH: u16 = 1_024;
/// How long an acknowledgement waits for others to go with. RabbitMQ closes the channel of a consumer
/// that owes one for half an hour.
const ACK_WITHIN: Duration = Duration::from_secs(1);

impl Link {
    /// Subscribes to a log.
    pub(crate) async fn listen(self: &Arc<Self>, log: u16) -> Result<Listener> {
        let mut epoch = self.epoch(log).await?;
        let mut stream = names::stream(&self.config.namespace, log, epoch);
        let records = match self.consume(&stream).await {
            Err(error) if is_missing(&error, &stream) => {
                // The stream was deleted. The log's next life is there, or begins now.
                epoch = self.begin(log, Some(epoch)).await?;
                stream = names::stream(&self.config.namespace, log, epoch);
                self.consume(&stream).await
            }
            records => records,
        };
        let records = records.map_err(|error| of_client(&error))?;
        let (sender, listener) = Listener::channel();
        let (directory, pulse) = (self.directory.clone(), self.pulse.clone());
        let task = self.spawn(async move {
            let error = tokio::select! {
                error = deliver(records, epoch, &sender) => error.unwrap_or_else(|| gone(&stream)),
                () = another_life(&directory, log, epoch) => gone(&stream),
                error = pulse.dead() => error,
            };
            sender.end(error);
        });
        Ok(listener.with_guard(Guard(task)))
    }

    async fn consume(&self, stream: &str) -> lapin::Result<Records> {
        Records::open(self.channel().await?, stream, From::Next, PREFETCH).await
    }
}

/// Hands over what arrives. Returns why nothing more does: nothing if the server ended it.
async fn deliver(mut records: Records, epoch: Epoch, sender: &ListenerSender) -> Option<Error> {
    let mut next = None;
    loop {
        let record = match records.has_unacked() {
            false => records.next().await,
            true => match timeout(ACK_WITHIN, records.next()).await {
                Ok(record) => record,
                Err(_) => match records.ack().await {
                    Ok(()) => continue,
                    Err(error) => Err(error),
                },
            },
        };
        let record = match record {
            Ok(record) => record?,
            Err(error) => return Some(of_client(&error)),
        };
        let offset = record.offset;
        if let Some(arrival) = arrival(record, epoch, next)
            && !sender.send(arrival)
        {
            return Some(Error::new(ErrorKind::Busy, "the listener takes no more"));
        }
        next = Some(offset + 1);
    }
}

/// What a message of the stream means to the node. If it is not the one that was due, something may
/// have been trimmed before it was delivered: RabbitMQ goes on with what it has. History tells.
fn arrival(record: Record, epoch: Epoch, due: Option<u64>) -> Option<Arrival> {
    if due.is_some_and(|due| record.offset != due) {
        return Some(Arrival::Wake);
    }
    let frame = stored(record)?;
    Some(Arrival::Frame { epoch, frame })
}

/// Waits until the log's life is another one.
async fn another_life(directory: &Directory, log: u16, epoch: Epoch) {
    directory.changed(log, Some(epoch)).await;
}

/// Ends the consumer when the listener is dropped.
struct Guard(AbortHandle);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.abort();
    }
}
