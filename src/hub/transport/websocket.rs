//! WebSockets.
//!
//! `fastwebsockets` frames and unmasks; when and how to close is decided here, because clients of
//! this protocol take every close code but 1000 for a failure, even the empty one that they sent
//! themselves. Its `read_frame` loses bytes when it is dropped half-way, so reading and writing are
//! two futures of their own that are never dropped while the connection is to go on.

use std::{pin::pin, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use fastwebsockets::{Frame, OpCode, Payload, Role, WebSocket, WebSocketError};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt, Empty, Join, Sink, empty, join, sink},
    select,
    sync::{mpsc, oneshot},
    time::timeout,
};

use super::{InputEnd, Next, Outbound, PipeWriter};

/// The largest frame that is read when single messages are smaller than that. A client may put many
/// of them into one frame, and the frame is in memory as a whole.
const MIN_FRAME_LIMIT: usize = 1 << 20;
/// The same when messages are not limited.
const MAX_FRAME_LIMIT: usize = 64 << 20;

const NORMAL: u16 = 1000;
const PROTOCOL_ERROR: u16 = 1002;
const INVALID_DATA: u16 = 1007;

/// Pings that may wait for their pongs. A client that sends more at once gets fewer pongs, as the
/// standard allows.
const PONGS: usize = 4;

/// The limits of one socket.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) message: Option<usize>,
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
        let mut reading = pin!(Reader::new(read, pong_sender, limits.message).run(input));
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
            // The hub says why before it closes.
            ReadEnd::TooLarge => writing.await,
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
    if matches!(end, ReadEnd::Violation(_) | ReadEnd::TooLarge) {
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
    /// With a frame that is larger than any that is read.
    TooLarge,
    /// With the connection.
    Lost,
}

impl From<WebSocketError> for ReadEnd {
    fn from(error: WebSocketError) -> Self {
        match error {
            WebSocketError::UnexpectedEOF | WebSocketError::IoError(_) => Self::Lost,
            WebSocketError::FrameTooLarge => Self::TooLarge,
            WebSocketError::InvalidUTF8 => Self::Violation(INVALID_DATA),
            _ => Self::Violation(PROTOCOL_ERROR),
        }
    }
}

struct Reader<R> {
    socket: WebSocket<Join<R, Sink>>,
    pongs: mpsc::Sender<Bytes>,
}

impl<R: AsyncRead + Unpin> Reader<R> {
    fn new(read: R, pongs: mpsc::Sender<Bytes>, message_limit: Option<usize>) -> Self {
        let mut socket = WebSocket::after_handshake(join(read, sink()), Role::Server);
        socket.set_auto_close(false);
        socket.set_auto_pong(false);
        let limit = message_limit.map_or(MAX_FRAME_LIMIT, |limit| {
            limit.clamp(MIN_FRAME_LIMIT, MAX_FRAME_LIMIT)
        });
        // It refuses what is not less than this.
        socket.set_max_message_size(limit + 1);
        Self { socket, pongs }
    }

    /// Reads until the end, and gives back what is left of the stream.
    async fn run(mut self, input: PipeWriter) -> (ReadEnd, Join<R, Sink>) {
        let end = self.read(&input).await;
        input.end(match end {
            ReadEnd::Closed => InputEnd::Closed,
            ReadEnd::TooLarge => InputEnd::TooLarge,
            ReadEnd::Violation(_) => InputEnd::Malformed,
            ReadEnd::Lost => InputEnd::Lost,
        });
        (end, self.socket.into_inner())
    }

    async fn read(&mut self, input: &PipeWriter) -> ReadEnd {
        let mut within_message = false;
        loop {
            let frame = match self.socket.read_frame().await {
                Ok(frame) => frame,
                Err(error) => return error.into(),
            };
            match frame.opcode {
                OpCode::Text | OpCode::Binary | OpCode::Continuation => {
                    // The frames of a message follow each other.
                    if (frame.opcode == OpCode::Continuation) != within_message {
                        return ReadEnd::Violation(PROTOCOL_ERROR);
                    }
                    within_message = !frame.fin;
                    input.write(into_bytes(frame.payload)).await;
                }
                OpCode::Ping => {
                    let _ = self.pongs.try_send(into_bytes(frame.payload));
                }
                OpCode::Pong => {}
                OpCode::Close => return ReadEnd::Closed,
            }
        }
    }
}

fn into_bytes(payload: Payload<'_>) -> Bytes {
    match payload {
        Payload::Bytes(bytes) => bytes.freeze(),
        other => Bytes::copy_from_slice(&other),
    }
}

struct Writer<'a, W> {
    socket: WebSocket<Join<Empty, W>>,
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
            socket: WebSocket::after_handshake(join(empty(), write), Role::Server),
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
                Some(pong) = self.pongs.recv() => self.write(OpCode::Pong, &pong).await?,
                next = self.outbound.next() => match next {
                    Next::Unit(unit) => {
                        let opcode = if is_text() { OpCode::Text } else { OpCode::Binary };
                        self.write(opcode, &unit).await?;
                    }
                    Next::Finish => return self.close(NORMAL).await,
                    Next::Abort => return Err(Broken),
                },
            }
        }
    }

    async fn close(mut self, code: u16) -> Result<(), Broken> {
        self.write(OpCode::Close, &code.to_be_bytes()).await?;
        let shutdown = timeout(self.send_timeout, self.socket.into_inner().shutdown()).await;
        shutdown.map_err(|_| Broken)?.map_err(|_| Broken)
    }

    async fn write(&mut self, opcode: OpCode, payload: &[u8]) -> Result<(), Broken> {
        let frame = Frame::new(true, opcode, None, Payload::Borrowed(payload));
        let write = async {
            self.socket.write_frame(frame).await?;
            self.socket.flush().await
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
