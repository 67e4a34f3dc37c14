//! [`Upload`]: a stream that a client sends.

use std::{
    fmt,
    marker::PhantomData,
    pin::Pin,
    task::{Context, Poll},
};

use futures_util::Stream;
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;

use super::{Argument, BindError, Call, HubError, Taken, Value};

/// A stream that a client sends as an argument of a hub method. It ends when the client ends it, and
/// yields an error if the client says that it failed, if an item is not a `T`, or if the connection is
/// over.
///
/// The client sends only as fast as the method reads:
/// [`stream_buffer_capacity`](crate::hub::HubOptions::stream_buffer_capacity) items may wait, and then
/// nothing more of that client is read.
///
/// ```
/// use futures_util::TryStreamExt;
/// use scaleout::hub::{HubError, Upload};
///
/// async fn concat(_: &(), words: Upload<String>) -> Result<String, HubError> {
///     words.try_collect().await
/// }
/// ```
pub struct Upload<T> {
    /// `None` once it has ended.
    receiver: Option<Receiver>,
    items: PhantomData<fn() -> T>,
}

pub(crate) type Receiver = mpsc::Receiver<Part>;

/// What a client sends of a stream.
#[derive(Debug)]
pub(crate) enum Part {
    Item(Value),
    End(UploadEnd),
}

/// How a stream ended.
#[derive(Debug)]
pub(crate) enum UploadEnd {
    Complete,
    Failed(String),
}

/// A stream of which `capacity` items may wait.
pub(crate) fn upload(capacity: usize) -> (mpsc::Sender<Part>, Receiver) {
    mpsc::channel(capacity)
}

impl<T: DeserializeOwned> Stream for Upload<T> {
    type Item = Result<T, HubError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(receiver) = &mut self.receiver else {
            return Poll::Ready(None);
        };
        let Poll::Ready(part) = receiver.poll_recv(cx) else {
            return Poll::Pending;
        };
        let item = match part {
            Some(Part::Item(value)) => match value.bind() {
                Ok(item) => return Poll::Ready(Some(Ok(item))),
                Err(error) => {
                    tracing::debug!(%error, "an item of a client's stream is of another type");
                    Some(Err(HubError::new("Failed to bind Stream message.")))
                }
            },
            Some(Part::End(UploadEnd::Complete)) => None,
            Some(Part::End(UploadEnd::Failed(error))) => Some(Err(HubError::new(error))),
            None => Some(Err(HubError::new("The underlying connection was closed."))),
        };
        self.receiver = None;
        Poll::Ready(item)
    }
}

impl<T: DeserializeOwned + Send + 'static> Argument for Upload<T> {
    const TAKES: Taken = Taken {
        values: 0,
        streams: 1,
    };

    fn take(call: &mut Call) -> Result<Self, BindError> {
        let receiver = Some(call.uploads.pop_front().ok_or(BindError)?);
        Ok(Self {
            receiver,
            items: PhantomData,
        })
    }
}

impl<T> fmt::Debug for Upload<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upload").finish_non_exhaustive()
    }
}
