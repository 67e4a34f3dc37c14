//! A client's byte stream on its way from the transport to the hub: bounded in bytes.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

/// A pipe that holds at most `capacity` bytes, or one chunk if that alone is larger.
pub(crate) fn pipe(capacity: usize) -> (PipeWriter, PipeReader) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let capacity = u32::try_from(capacity.min(Semaphore::MAX_PERMITS)).unwrap_or(u32::MAX);
    let room = Arc::new(Semaphore::new(capacity as usize));
    let end = Arc::new(OnceLock::new());
    let writer = PipeWriter {
        sender,
        room: room.clone(),
        capacity,
        end: end.clone(),
    };
    (
        writer,
        PipeReader {
            receiver,
            room,
            end,
        },
    )
}

/// How a client's byte stream ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum InputEnd {
    /// The client closed it.
    Closed,
    /// The transport broke.
    Lost,
    /// The transport was handed something that is not its protocol, and has closed with a code that
    /// says so.
    Malformed,
}

/// The transport's side.
#[derive(Debug)]
pub(crate) struct PipeWriter {
    sender: mpsc::UnboundedSender<(Bytes, OwnedSemaphorePermit)>,
    room: Arc<Semaphore>,
    capacity: u32,
    end: Arc<OnceLock<InputEnd>>,
}

impl PipeWriter {
    /// Hands bytes on, as soon as there is room for them. What nobody will read is dropped.
    pub(crate) async fn write(&self, bytes: Bytes) {
        if bytes.is_empty() {
            return;
        }
        let wanted = u32::try_from(bytes.len())
            .unwrap_or(u32::MAX)
            .min(self.capacity);
        if let Ok(permit) = self.room.clone().acquire_many_owned(wanted).await {
            // It fails if the reader is gone, and then nothing waits for these bytes.
            let _ = self.sender.send((bytes, permit));
        }
    }

    /// Says how the stream ended. Dropping the writer without that means that it was lost.
    pub(crate) fn end(self, how: InputEnd) {
        let _ = self.end.set(how);
    }
}

/// The hub's side.
#[derive(Debug)]
pub(crate) struct PipeReader {
    receiver: mpsc::UnboundedReceiver<(Bytes, OwnedSemaphorePermit)>,
    room: Arc<Semaphore>,
    end: Arc<OnceLock<InputEnd>>,
}

impl PipeReader {
    /// The next bytes, or how the stream ended. Cancel-safe.
    pub(crate) async fn read(&mut self) -> Result<Bytes, InputEnd> {
        match self.receiver.recv().await {
            Some((bytes, _)) => Ok(bytes),
            None => Err(self.end.get().cloned().unwrap_or(InputEnd::Lost)),
        }
    }
}

impl Drop for PipeReader {
    fn drop(&mut self) {
        // A writer that waits for room would wait for ever.
        self.room.close();
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn a_writer_waits_until_the_reader_has_made_room() {
        let (writer, mut reader) = pipe(4);
        writer.write(Bytes::from_static(b"abc")).await;
        let mut second = pin!(writer.write(Bytes::from_static(b"de")));
        assert!(second.as_mut().now_or_never().is_none());
        assert_eq!(reader.read().await.unwrap(), "abc");
        second.await;
        assert_eq!(reader.read().await.unwrap(), "de");
    }

    #[tokio::test]
    async fn a_chunk_larger_than_the_pipe_passes_alone() {
        let (writer, mut reader) = pipe(2);
        writer.write(Bytes::from_static(b"abcdef")).await;
        assert_eq!(reader.read().await.unwrap(), "abcdef");
    }

    #[tokio::test]
    async fn the_reader_learns_how_it_ended_after_reading_everything() {
        let (writer, mut reader) = pipe(4);
        writer.write(Bytes::from_static(b"abc")).await;
        writer.end(InputEnd::Closed);
        assert_eq!(reader.read().await.unwrap(), "abc");
        assert_eq!(reader.read().await, Err(InputEnd::Closed));

        let (writer, mut reader) = pipe(4);
        drop(writer);
        assert_eq!(reader.read().await, Err(InputEnd::Lost));
    }

    #[tokio::test]
    async fn a_writer_does_not_wait_for_a_reader_that_is_gone() {
        let (writer, reader) = pipe(1);
        writer.write(Bytes::from_static(b"a")).await;
        drop(reader);
        writer.write(Bytes::from_static(b"b")).await;
    }
}
