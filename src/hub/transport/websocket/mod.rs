//! WebSockets.
//!
//! When and how to close is decided with care, because clients of this protocol take every close code
//! but 1000 for a failure, even the empty one that they sent themselves. Reading and writing are two
//! futures of their own that are never dropped while the connection is to go on.

pub(crate) mod frame;
mod utf8;

use std::{pin::pin, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::{Buf, BufMut, Bytes};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, sink},
    select,
    sync::{mpsc, oneshot},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use self::frame::{Decoder, Event, NORMAL, Opcode, Violation};
use super::{InputEnd, Next, Outbound, PipeWriter};

/// The least and the most bytes that are read at once. An idle connection keeps the least.
const READ_MIN: usize = 512;
const READ_MAX: usize = 16 << 10;

/// How long a socket that is replaced may take to say goodbye.
const REPLACED: Duration = Duration::from_secs(1);

/// Pings that may wait for their pongs. A client that sends more at once gets fewer pongs, as the
/// standard allows.
const PONGS: usize = 4;

/// The answer to `Sec-WebSocket-Key` (RFC 6455, section 4.2.2).
pub(crate) fn accept_key(key: &[u8]) -> String {
    let mut sha1 = sha1_smol::Sha1::from(key);
    sha1.update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    STANDARD.encode(sha1.digest().bytes())
}

/// What a socket carries, and for how long it may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Socket<'a> {
    pub(crate) input: &'a PipeWriter,
    pub(crate) outbound: &'a Outbound,
    /// Cancelled when another socket takes the place of this one.
    pub(crate) replaced: &'a CancellationToken,
    pub(crate) send_timeout: Duration,
    pub(crate) close_timeout: Duration,
}

/// How the carrying ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// Politely, by either side.
    Closed,
    /// Because the client does not speak WebSocket.
    Malformed,
    /// The connection broke, or was to be dropped.
    Lost,
    /// Another socket takes its place.
    Replaced,
}

impl Socket<'_> {
    /// Carries a connection over a socket that has been upgraded, until either side ends it. `is_text`
    /// tells what kind of message a unit is.
    pub(crate) async fn run(
        self,
        read: impl AsyncRead + Unpin,
        write: impl AsyncWrite + Unpin,
        is_text: impl Fn(&[u8]) -> bool,
    ) -> Ended {
        let (pong_sender, pongs) = mpsc::channel(PONGS);
        let (close_sender, close) = oneshot::channel();
        let writer = Writer {
            write,
            outbound: self.outbound,
            pongs,
            close,
            send_timeout: self.send_timeout,
        };
        let exchange = async {
            let mut reading = pin!(Reader::new(read, pong_sender).run(self.input));
            let mut writing = pin!(writer.run(is_text));
            let (end, rest) = select! {
                ended = &mut reading => ended,
                written = &mut writing => {
                    if written.is_err() {
                        return Ended::Lost;
                    }
                    let _ = timeout(self.close_timeout, async {
                        let (end, rest) = reading.await;
                        linger(end, rest).await;
                    })
                    .await;
                    return Ended::Closed;
                }
                () = self.replaced.cancelled() => {
                    let _ = close_sender.send(NORMAL);
                    let _ = timeout(REPLACED, writing).await;
                    return Ended::Replaced;
                }
            };
            // The writer may be in the middle of a frame: it is told, and closes after that one.
            let (code, ended) = match end {
                ReadEnd::Lost => return Ended::Lost,
                ReadEnd::Closed => (NORMAL, Ended::Closed),
                ReadEnd::Violation(code) => (code, Ended::Malformed),
            };
            // What was sent is handled while the closing goes on.
            self.input.end(match end {
                ReadEnd::Violation(_) => InputEnd::Malformed,
                _ => InputEnd::Closed,
            });
            let _ = close_sender.send(code);
            if writing.await.is_ok() {
                let _ = timeout(self.close_timeout, linger(end, rest)).await;
            }
            ended
        };
        select! {
            ended = exchange => ended,
            () = self.outbound.aborted() => Ended::Lost,
        }
    }
}

/// Waits, after the close frame, until the client has closed its side. Closing a socket in which
/// something is still to be read resets the connection, and with it the close frame on its way.
async fn linger(end: ReadEnd, mut rest: impl AsyncRead + Unpin) {
    if matches!(end, ReadEnd::Violation(_)) {
        let _ = tokio::io::copy(&mut rest, &mut sink()).await;
    }
}

/// How reading ended.
#[derive(Clone, Copy, Debug)]
enum ReadEnd {
    /// With the client's close frame.
    Closed,
    /// With something that is not WebSocket; the code to close with.
    Violation(u16),
    /// With the connection.
    Lost,
}

struct Reader<R> {
    read: R,
    decoder: Decoder,
    pongs: mpsc::Sender<Bytes>,
}

impl<R: AsyncRead + Unpin> Reader<R> {
    fn new(read: R, pongs: mpsc::Sender<Bytes>) -> Self {
        Self {
            read,
            decoder: Decoder::default(),
            pongs,
        }
    }

    /// Reads until the end, and gives back what is left of the stream.
    async fn run(mut self, input: &PipeWriter) -> (ReadEnd, R) {
        (self.read(input).await, self.read)
    }

    async fn read(&mut self, input: &PipeWriter) -> ReadEnd {
        let mut size = READ_MIN;
        loop {
            match self.decoder.next() {
                Ok(Some(Event::Data(data))) => {
                    // What nobody reads is dropped until the hub has closed.
                    input.write(data).await;
                }
                Ok(Some(Event::Ping(payload))) => {
                    let _ = self.pongs.try_send(payload);
                }
                Ok(Some(Event::Pong)) => {}
                Ok(Some(Event::Close)) => return ReadEnd::Closed,
                Err(Violation(code)) => return ReadEnd::Violation(code),
                Ok(None) => {
                    let buffer = self.decoder.buffer();
                    buffer.reserve(size);
                    let mut place = BufMut::limit(&mut *buffer, size);
                    match self.read.read_buf(&mut place).await {
                        Ok(0) | Err(_) => return ReadEnd::Lost,
                        Ok(read) if read == size => size = (size * 4).min(READ_MAX),
                        Ok(_) => size = READ_MIN,
                    }
                }
            }
        }
    }
}

struct Writer<'a, W> {
    write: W,
    outbound: &'a Outbound,
    pongs: mpsc::Receiver<Bytes>,
    close: oneshot::Receiver<u16>,
    send_timeout: Duration,
}

/// The client did not take what was written, or is gone.
struct Broken;

impl<W: AsyncWrite + Unpin> Writer<'_, W> {
    /// Writes until the end, the close frame included.
    async fn run(mut self, is_text: impl Fn(&[u8]) -> bool) -> Result<(), Broken> {
        loop {
            select! {
                Ok(code) = &mut self.close => return self.close(code).await,
                Some(pong) = self.pongs.recv() => self.write(Opcode::Pong, &pong).await?,
                next = self.outbound.next() => match next {
                    Next::Unit(unit) => {
                        let opcode = if is_text(&unit) { Opcode::Text } else { Opcode::Binary };
                        self.write(opcode, &unit).await?;
                    }
                    Next::Finish => return self.close(NORMAL).await,
                    Next::Abort => return Err(Broken),
                },
            }
        }
    }

    async fn close(mut self, code: u16) -> Result<(), Broken> {
        self.write(Opcode::Close, &code.to_be_bytes()).await?;
        let shutdown = timeout(self.send_timeout, self.write.shutdown()).await;
        shutdown.map_err(|_| Broken)?.map_err(|_| Broken)
    }

    async fn write(&mut self, opcode: Opcode, payload: &[u8]) -> Result<(), Broken> {
        let (head, size) = frame::head(opcode, payload.len());
        let mut bytes = Buf::chain(&head[..size], payload);
        let write = async {
            self.write.write_all_buf(&mut bytes).await?;
            self.write.flush().await
        };
        timeout(self.send_timeout, write)
            .await
            .map_err(|_| Broken)?
            .map_err(|_| Broken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_accept_key_is_that_of_the_standard() {
        assert_eq!(
            accept_key(b"dGhlIHNhbXBsZSBub25jZQ=="),
            "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        );
    }
}
