//! A client's byte stream on its way from its transports to the hub: bounded in bytes.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

/// A pipe that holds at most `capacity` bytes, or one chunk if that alone is larger.
pub(crate) fn pipe(capacity: usize) -> (PipeWriter, PipeReader) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let capacity = u32::try_from(capacity.min(Semaphore::MAX_PERMITS)).unwrap_or(u32::MAX);
    let room = Arc::new(Semaphore::new(capacity as usize));
    let writer = PipeWriter {
        sender,
        room: room.clone(),
        capacity,
    };
    let reader = PipeReader {
        receiver,
        room,
        end: None,
    };
    (writer, reader)
}

/// What comes out of a pipe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Input {
    Bytes(Bytes),
    /// The transport broke, and the client may come back with another one.
    Detached,
    /// It has. What its last transport sent of an unfinished message is sent again.
    Attached,
}

/// How a client's byte stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum InputEnd {
    /// The client closed it.
    Closed,
    /// The transport broke.
    Lost,
    /// The transport was handed something that is not its protocol, and has closed with a code that
    /// says so.
    Malformed,
}

#[derive(Debug)]
enum Chunk {
    Input(Input, Option<OwnedSemaphorePermit>),
    End(InputEnd),
}

/// The transports' side.
#[derive(Debug)]
pub(crate) struct PipeWriter {
    sender: mpsc::UnboundedSender<Chunk>,
    room: Arc<Semaphore>,
    capacity: u32,
}

impl PipeWriter {
    /// Hands bytes on, as soon as there is room for them. `false` if nobody reads them any more.
    pub(crate) async fn write(&self, bytes: Bytes) -> bool {
        if bytes.is_empty() {
            return !self.sender.is_closed();
        }
        let wanted = u32::try_from(bytes.len())
            .unwrap_or(u32::MAX)
            .min(self.capacity);
        match self.room.clone().acquire_many_owned(wanted).await {
            Ok(permit) => {
                let chunk = Chunk::Input(Input::Bytes(bytes), Some(permit));
                self.sender.send(chunk).is_ok()
            }
            Err(_) => false,
        }
    }

    /// The transport broke; another one may follow.
    pub(crate) fn detached(&self) {
        let _ = self.sender.send(Chunk::Input(Input::Detached, None));
    }

    /// Another transport follows.
    pub(crate) fn attached(&self) {
        let _ = self.sender.send(Chunk::Input(Input::Attached, None));
    }

    /// The stream is over. The first end counts.
    pub(crate) fn end(&self, how: InputEnd) {
        let _ = self.sender.send(Chunk::End(how));
    }
}

/// The hub's side.
#[derive(Debug)]
pub(crate) struct PipeReader {
    receiver: mpsc::UnboundedReceiver<Chunk>,
    room: Arc<Semaphore>,
    end: Option<InputEnd>,
}

impl PipeReader {
    /// What comes next, or how the stream ended. Cancel-safe.
    pub(crate) async fn read(&mut self) -> Result<Input, InputEnd> {
        if let Some(end) = self.end {
            return Err(end);
        }
        match self.receiver.recv().await {
            Some(Chunk::Input(input, room)) => {
                drop(room);
                Ok(input)
            }
            Some(Chunk::End(how)) => Err(*self.end.insert(how)),
            None => Err(*self.end.insert(InputEnd::Lost)),
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

    fn bytes(text: &'static str) -> Bytes {
        Bytes::from_static(text.as_bytes())
    }

    #[tokio::test]
    async fn a_writer_waits_until_the_reader_has_made_room() {
        let (writer, mut reader) = pipe(4);
        writer.write(bytes("abc")).await;
        let mut second = pin!(writer.write(bytes("de")));
        assert!(second.as_mut().now_or_never().is_none());
        assert_eq!(reader.read().await, Ok(Input::Bytes(bytes("abc"))));
        second.await;
        assert_eq!(reader.read().await, Ok(Input::Bytes(bytes("de"))));
    }

    #[tokio::test]
    async fn a_chunk_larger_than_the_pipe_passes_alone() {
        let (writer, mut reader) = pipe(2);
        writer.write(bytes("abcdef")).await;
        assert_eq!(reader.read().await, Ok(Input::Bytes(bytes("abcdef"))));
    }

    #[tokio::test]
    async fn the_reader_learns_how_it_ended_after_reading_everything() {
        let (writer, mut reader) = pipe(4);
        writer.write(bytes("abc")).await;
        writer.end(InputEnd::Closed);
        writer.end(InputEnd::Lost);
        assert_eq!(reader.read().await, Ok(Input::Bytes(bytes("abc"))));
        assert_eq!(reader.read().await, Err(InputEnd::Closed));
        assert_eq!(reader.read().await, Err(InputEnd::Closed));

        let (writer, mut reader) = pipe(4);
        drop(writer);
        assert_eq!(reader.read().await, Err(InputEnd::Lost));
    }

    #[tokio::test]
    async fn a_writer_does_not_wait_for_a_reader_that_is_gone() {
        let (writer, reader) = pipe(1);
        assert!(writer.write(bytes("a")).await);
        drop(reader);
        assert!(!writer.write(bytes("b")).await);
    }
}
