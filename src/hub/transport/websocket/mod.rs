//! WebSockets.
//!
//! When and how to close is decided with care, because clients of this protocol take every close code
//! but 1000 for a failure, even the empty one that they sent themselves. Reading and writing are two
//! futures of their own that are never dropped while the connection is to go on.

mod frame;
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

use self::frame::{Decoder, Event, NORMAL, Opcode, Violation};
use super::{InputEnd, Next, Outbound, PipeWriter};

/// The least and the most bytes that are read at once. An idle connection keeps the least.
const READ_MIN: usize = 512;
const READ_MAX: usize = 16 << 10;

/// Pings that may wait for their pongs. A client that sends more at once gets fewer pongs, as the
/// standard allows.
const PONGS: usize = 4;

/// The limits of one socket.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) send_timeout: Duration,
    pub(crate) close_timeout: Duration,
}

/// The answer to `Sec-WebSocket-Key` (RFC 6455, section 4.2.2).
pub(crate) fn accept_key(key: &[u8]) -> String {
    let mut sha1 = sha1_smol::Sha1::from(key);
    sha1.update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    STANDARD.encode(sha1.digest().bytes())
}

/// Carries a connection over a socket that has been upgraded, until either side ends it.
///
/// `is_text` tells, once the hub has answered the handshake, what kind of message its units are.
pub(crate) async fn run(
    read: impl AsyncRead + Unpin,
    write: impl AsyncWrite + Unpin,
    input: PipeWriter,
    outbound: &Outbound,
    is_text: impl Fn() -> bool,
    limits: Limits,
) {
    let (pong_sender, pongs) = mpsc::channel(PONGS);
    let (close_sender, close) = oneshot::channel();
    let writer = Writer::new(write, outbound, pongs, close, limits.send_timeout);
    let exchange = async {
        let mut reading = pin!(Reader::new(read, pong_sender).run(input));
        let mut writing = pin!(writer.run(is_text));
        let (end, rest) = select! {
            ended = &mut reading => ended,
            written = &mut writing => {
                if written.is_ok() {
                    let _ = timeout(limits.close_timeout, async {
                        let (end, rest) = reading.await;
                        linger(end, rest).await;
                    })
                    .await;
                }
                return;
            }
        };
        // The writer may be in the middle of a frame: it is told, and closes after that one.
        let written = match end {
            ReadEnd::Lost => return,
            ReadEnd::Closed => {
                let _ = close_sender.send(NORMAL);
                writing.await
            }
            ReadEnd::Violation(code) => {
                let _ = close_sender.send(code);
                writing.await
            }
        };
        if written.is_ok() {
            let _ = timeout(limits.close_timeout, linger(end, rest)).await;
        }
    };
    select! {
        () = exchange => {}
        () = outbound.aborted() => {}
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
    async fn run(mut self, input: PipeWriter) -> (ReadEnd, R) {
        let end = self.read(&input).await;
        input.end(match end {
            ReadEnd::Closed => InputEnd::Closed,
            ReadEnd::Violation(_) => InputEnd::Malformed,
            ReadEnd::Lost => InputEnd::Lost,
        });
        (end, self.read)
    }

    async fn read(&mut self, input: &PipeWriter) -> ReadEnd {
        let mut size = READ_MIN;
        loop {
            match self.decoder.next() {
                Ok(Some(Event::Data(data))) => input.write(data).await,
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

impl<'a, W: AsyncWrite + Unpin> Writer<'a, W> {
    fn new(
        write: W,
        outbound: &'a Outbound,
        pongs: mpsc::Receiver<Bytes>,
        close: oneshot::Receiver<u16>,
        send_timeout: Duration,
    ) -> Self {
        Self {
            write,
            outbound,
            pongs,
            close,
            send_timeout,
        }
    }

    /// Writes until the end, the close frame included.
    async fn run(mut self, is_text: impl Fn() -> bool) -> Result<(), Broken> {
        loop {
            select! {
                Ok(code) = &mut self.close => return self.close(code).await,
                Some(pong) = self.pongs.recv() => self.write(Opcode::Pong, &pong).await?,
                next = self.outbound.next() => match next {
                    Next::Unit(unit) => {
                        let opcode = if is_text() { Opcode::Text } else { Opcode::Binary };
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
