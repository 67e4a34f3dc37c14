//! Append: a confirmed, mandatory publish.

use std::{
    pin::Pin,
    sync::atomic::{AtomicU64, Ordering},
    task::{Context, Poll},
};

use lapin::{BasicProperties, Confirmation, PublisherConfirm, options::BasicPublishOptions};
use scaleout_core::{EncodedFrame, Error, ErrorKind, Result};
use tokio::runtime::Handle;

use crate::{
    error::{is_refusal, of_client},
    link::Link,
    wire,
};

/// What became of a publish.
pub(crate) enum Published {
    /// It is stored.
    Stored,
    /// There is no such stream: it is not stored.
    NoStream,
}

impl Link {
    /// Stores a frame in a stream.
    pub(crate) async fn append(&self, stream: &str, frame: &EncodedFrame) -> Result<Published> {
        self.pulse.check_unblocked()?;
        let body = wire::frame(frame.len(), frame.bytes());
        match self.publish(stream, &body).await {
            Ok(Confirmation::Ack(None)) => Ok(Published::Stored),
            // Nothing took it, so it came back.
            Ok(Confirmation::Ack(Some(_)) | Confirmation::Nack(Some(_))) => Ok(Published::NoStream),
            Ok(Confirmation::Nack(None) | Confirmation::NotRequested) => Err(Error::new(
                ErrorKind::Broker,
                format!("rabbitmq did not confirm that {stream} stored the frame"),
            )
            .with_unknown_outcome()),
            Err(Failed::Before(error)) => Err(of_client(&error)),
            Err(Failed::After(error)) => Err(of_client(&error).with_unknown_outcome()),
        }
    }

    /// Writes a message that is no frame.
    pub(crate) async fn write(&self, stream: &str, body: &[u8]) -> lapin::Result<Published> {
        match self.publish(stream, body).await {
            Ok(Confirmation::Ack(Some(_)) | Confirmation::Nack(Some(_))) => Ok(Published::NoStream),
            // One that is not confirmed is missed by whoever waits for it, and written again.
            Ok(_) => Ok(Published::Stored),
            Err(Failed::Before(error) | Failed::After(error)) => Err(error),
        }
    }

    async fn publish(&self, stream: &str, body: &[u8]) -> Result<Confirmation, Failed> {
        let channel = self.publisher().await.map_err(Failed::Before)?;
        let flight = Flight::begin(&self.flights);
        let mandatory = BasicPublishOptions {
            mandatory: true,
            ..BasicPublishOptions::default()
        };
        let confirm = channel
            .basic_publish(
                "".into(),
                stream.into(),
                mandatory,
                body,
                BasicProperties::default(),
            )
            .await
            .map_err(|error| match is_refusal(&error) {
                true => Failed::Before(error),
                false => Failed::After(error),
            })?;
        let confirm = Confirm {
            confirm: Some(confirm),
            runtime: self.engine.handle(),
        };
        // A refusal names no message. If only this one was on its way, it is the one that was refused.
        confirm
            .await
            .map_err(|error| match is_refusal(&error) && flight.was_alone() {
                true => Failed::Before(error),
                false => Failed::After(error),
            })
    }
}

/// The publishes on the channel of a link.
#[derive(Debug, Default)]
pub(crate) struct Flights {
    begun: AtomicU64,
    under_way: AtomicU64,
}

/// One of them.
struct Flight<'a> {
    flights: &'a Flights,
    number: u64,
    began_alone: bool,
}

impl<'a> Flight<'a> {
    fn begin(flights: &'a Flights) -> Self {
        Self {
            began_alone: flights.under_way.fetch_add(1, Ordering::SeqCst) == 0,
            number: flights.begun.fetch_add(1, Ordering::SeqCst),
            flights,
        }
    }

    /// Whether no other one was under way at any time.
    fn was_alone(&self) -> bool {
        self.began_alone && self.flights.begun.load(Ordering::SeqCst) == self.number + 1
    }
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        self.flights.under_way.fetch_sub(1, Ordering::SeqCst);
    }
}

/// When a publish failed.
enum Failed {
    /// Certainly before it was stored.
    Before(lapin::Error),
    /// It may have been sent.
    After(lapin::Error),
}

/// A confirmation that is awaited to its end, also when nobody wants to know it any more: lapin would
/// keep it for ever otherwise.
struct Confirm {
    confirm: Option<PublisherConfirm>,
    runtime: Handle,
}

impl Future for Confirm {
    type Output = lapin::Result<Confirmation>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(confirm) = &mut self.confirm else {
            return Poll::Pending;
        };
        let confirmation = Pin::new(confirm).poll(cx);
        if confirmation.is_ready() {
            self.confirm = None;
        }
        confirmation
    }
}

impl Drop for Confirm {
    fn drop(&mut self) {
        if let Some(confirm) = self.confirm.take() {
            self.runtime.spawn(async { drop(confirm.await) });
        }
    }
}
