//! A WebSocket client made of a socket: it sends exactly what a test says, and shows everything that
//! comes back, close codes included.

use std::{collections::VecDeque, net::SocketAddr};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
};

pub(crate) const TEXT: u8 = 1;
pub(crate) const BINARY: u8 = 2;
pub(crate) const CLOSE: u8 = 8;
pub(crate) const PING: u8 = 9;
pub(crate) const PONG: u8 = 10;

const FIN: u8 = 0x80;

/// A WebSocket, and what was read of it.
pub(crate) struct Client<S = TcpStream> {
    stream: S,
    /// Hub messages that came together with earlier ones.
    messages: VecDeque<Value>,
}

/// What the server sent.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Frame {
    Data {
        opcode: u8,
        payload: Vec<u8>,
    },
    Close(Option<u16>),
    /// The socket ended.
    End,
}

impl Client {
    /// Opens a WebSocket on `/chat`, without negotiating.
    pub(crate) async fn open(address: SocketAddr) -> Self {
        Self::upgrade(TcpStream::connect(address).await.unwrap(), "/chat").await
    }

    /// The same, and shakes hands.
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        let mut client = Self::open(address).await;
        client.shake_hands().await;
        client
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    /// Opens a WebSocket on an open stream.
    pub(crate) async fn upgrade(mut stream: S, path: &str) -> Self {
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: test\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nX-Test: yes\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        let head = String::from_utf8(head).unwrap().to_lowercase();
        assert!(head.starts_with("http/1.1 101"), "{head}");
        assert!(
            head.contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo="),
            "{head}"
        );
        Self::over(stream)
    }

    /// A WebSocket that has been opened.
    pub(crate) fn over(stream: S) -> Self {
        Self {
            stream,
            messages: VecDeque::new(),
        }
    }

    pub(crate) async fn shake_hands(&mut self) {
        self.send_raw("{\"protocol\":\"json\",\"version\":1}\x1e")
            .await;
        assert_eq!(self.receive().await, json!({}));
    }

    /// Invokes a hub method and returns its completion. Invocations that come before it are lost.
    pub(crate) async fn call(&mut self, target: &str, arguments: Value) -> Value {
        self.invoke("call", target, arguments).await;
        loop {
            let message = self.receive().await;
            if message["type"] == 3 {
                assert_eq!(message["invocationId"], "call");
                return message;
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> Client<S> {
    /// Sends a whole text message.
    pub(crate) async fn send_raw(&mut self, text: &str) {
        self.send_frame(FIN | TEXT, text.as_bytes()).await;
    }

    /// Sends a hub message.
    pub(crate) async fn send(&mut self, message: Value) {
        self.send_raw(&format!("{message}\x1e")).await;
    }

    /// Invokes a hub method without waiting for its end.
    pub(crate) async fn invoke(&mut self, id: &str, target: &str, arguments: Value) {
        self.send(json!({"type": 1, "invocationId": id, "target": target, "arguments": arguments}))
            .await;
    }

    /// Sends a frame: `head` is its first byte.
    pub(crate) async fn send_frame(&mut self, head: u8, payload: &[u8]) {
        const MASK: [u8; 4] = [1, 2, 3, 4];
        let mut frame = vec![head];
        match payload.len() {
            len @ 0..=125 => frame.push(0x80 | u8::try_from(len).unwrap()),
            len @ 126..=0xffff => {
                frame.push(0x80 | 126);
                frame.extend(u16::try_from(len).unwrap().to_be_bytes());
            }
            len => {
                frame.push(0x80 | 127);
                frame.extend((len as u64).to_be_bytes());
            }
        }
        frame.extend(MASK);
        frame.extend(
            payload
                .iter()
                .zip(MASK.iter().cycle())
                .map(|(byte, mask)| byte ^ mask),
        );
        self.send_bytes(&frame).await;
    }

    /// Sends bytes that need not be a frame.
    pub(crate) async fn send_bytes(&mut self, bytes: &[u8]) {
        // The server may have hung up already; what it did is seen by reading.
        let _ = self.stream.write_all(bytes).await;
    }

    /// Whether the server still has its end of the socket.
    pub(crate) async fn can_send(&mut self) -> bool {
        self.stream
            .write_all(b"\x8a\x80\x01\x02\x03\x04")
            .await
            .is_ok()
    }

    /// Closes the WebSocket as a client does: `code` is what `close()` was given.
    pub(crate) async fn close(&mut self, code: Option<u16>) {
        let payload = code.map_or(Vec::new(), |code| code.to_be_bytes().to_vec());
        self.send_frame(FIN | CLOSE, &payload).await;
    }
}

impl<S: AsyncRead + Unpin> Client<S> {
    /// The next hub message.
    pub(crate) async fn receive(&mut self) -> Value {
        loop {
            if let Some(message) = self.messages.pop_front() {
                return message;
            }
            match self.frame().await {
                Frame::Data {
                    opcode: TEXT,
                    payload,
                } => {
                    let text = String::from_utf8(payload).unwrap();
                    assert!(
                        text.ends_with('\x1e'),
                        "a unit holds whole messages: {text:?}"
                    );
                    let records = text.split_terminator('\x1e');
                    self.messages
                        .extend(records.map(|record| serde_json::from_str(record).unwrap()));
                }
                other => panic!("no hub message: {other:?}"),
            }
        }
    }

    /// The next invocation by the server, as its target and arguments.
    pub(crate) async fn event(&mut self) -> (String, Value) {
        loop {
            let mut message = self.receive().await;
            if message["type"] == 1 {
                let target = message["target"].as_str().unwrap().to_owned();
                return (target, message["arguments"].take());
            }
        }
    }

    /// Reads to the end: the messages before it, and the code of the close frame.
    pub(crate) async fn until_closed(&mut self) -> (Vec<Value>, Option<u16>) {
        let mut messages = Vec::from(std::mem::take(&mut self.messages));
        loop {
            match self.frame().await {
                Frame::Data { payload, .. } => {
                    let text = String::from_utf8(payload).unwrap();
                    let records = text.split_terminator('\x1e');
                    messages.extend(
                        records.map(|record| serde_json::from_str::<Value>(record).unwrap()),
                    );
                }
                Frame::Close(code) => return (messages, code),
                Frame::End => return (messages, None),
            }
        }
    }

    /// The next frame. Pings count as data.
    pub(crate) async fn frame(&mut self) -> Frame {
        let Ok(head) = self.stream.read_u8().await else {
            return Frame::End;
        };
        assert_eq!(head & 0x70, 0, "no extension was negotiated");
        assert_ne!(head & FIN, 0, "the server does not fragment");
        let length = match self.stream.read_u8().await.unwrap() {
            126 => u64::from(self.stream.read_u16().await.unwrap()),
            127 => self.stream.read_u64().await.unwrap(),
            short => {
                assert!(short < 126, "a server must not mask");
                u64::from(short)
            }
        };
        let mut payload = vec![0; usize::try_from(length).unwrap()];
        self.stream.read_exact(&mut payload).await.unwrap();
        match head & 0x0f {
            CLOSE if payload.is_empty() => Frame::Close(None),
            CLOSE => {
                assert_eq!(payload.len(), 2, "no reason is given");
                Frame::Close(Some(u16::from_be_bytes([payload[0], payload[1]])))
            }
            opcode => Frame::Data { opcode, payload },
        }
    }

    /// Whether the server has hung up, after everything it sent.
    pub(crate) async fn hung_up(&mut self) -> bool {
        matches!(self.stream.read_u8().await, Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof)
    }
}
