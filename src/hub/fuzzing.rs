//! What fuzzing runs: each function takes any bytes and panics if something is wrong with what is made of
//! them. The targets in `fuzz/` call these, and so do the tests below, with random bytes and with
//! bytes that look like the real thing.
//!
//! Exists only under `cfg(fuzzing)` and in tests. It is no part of the public API.

use bytes::Bytes;

use super::{
    protocol::{HandshakeRequest, InputBuffer, Invocation, Message, Protocol, Value},
    transport::{
        events,
        websocket::frame::{Decoder, Event, Violation},
    },
};
use crate::Frame;

/// More than any hub allows by default, so that the limit is met too.
const LIMIT: usize = 1 << 12;

/// Messages of the JSON protocol, and the handshake.
///
/// # Panics
///
/// If it matters how the bytes were cut, or a message does not survive being written again.
pub fn hub_json(data: &[u8]) {
    let _ = HandshakeRequest::decode(data).map(|request| request.negotiate(&Protocol::ALL, false));
    protocol(Protocol::Json, data);
}

/// Messages of the MessagePack protocol.
///
/// # Panics
///
/// As [`hub_json`].
pub fn hub_message_pack(data: &[u8]) {
    protocol(Protocol::MessagePack, data);
}

/// Frames that a WebSocket client sends.
///
/// # Panics
///
/// If it matters how the bytes were cut.
pub fn web_socket(data: &[u8]) {
    let (size, data) = cut(data);
    let (mut whole, mut pieces) = (Socket::default(), Socket::default());
    whole.read(data);
    for piece in data.chunks(size) {
        pieces.read(piece);
    }
    assert_eq!(whole.broken, pieces.broken);
    if whole.broken.is_none() {
        assert_eq!(whole.data, pieces.data);
        assert_eq!(whole.pings, pieces.pings);
        assert_eq!(whole.closed, pieces.closed);
    }
    assert!(whole.data.len() <= data.len(), "data that nobody sent");
}

/// Units as server-sent events, which a client reads as the standard says.
///
/// # Panics
///
/// If the client does not get the unit back, line by line.
pub fn server_sent_event(data: &[u8]) {
    let event = events::event(data);
    let body = event
        .strip_suffix(b"\r\n\r\n")
        .unwrap_or_else(|| panic!("no end: {event:?}"));
    let mut lines = Vec::new();
    for line in body.split(|byte| *byte == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let value = line.strip_prefix(b"data: ");
        lines.push(value.unwrap_or_else(|| panic!("no field: {line:?}")));
    }
    let mut sent = Vec::new();
    let mut rest = data;
    while let Some(end) = rest.iter().position(|byte| matches!(byte, b'\r' | b'\n')) {
        sent.push(&rest[..end]);
        let both = rest[end..].starts_with(b"\r\n");
        rest = &rest[end + 1 + usize::from(both)..];
    }
    sent.push(rest);
    assert_eq!(lines, sent);
}

/// What clients without a WebSocket send: bodies of requests, cut anywhere, behind each other.
///
/// # Panics
///
/// If a record is longer than the limit, or it matters how the bytes were cut.
pub fn request_bodies(data: &[u8]) {
    let (size, data) = cut(data);
    let (mut whole, mut pieces) = (InputBuffer::default(), InputBuffer::default());
    let mut records = Vec::new();
    whole.push(data);
    let mut fits = true;
    for piece in data.chunks(size) {
        pieces.push(piece);
        loop {
            match pieces.next_record(Some(LIMIT)) {
                Ok(Some(record)) => records.push(record),
                Ok(None) => break,
                Err(_) => {
                    fits = false;
                    break;
                }
            }
        }
        if !fits {
            break;
        }
    }
    for record in records {
        assert!(record.len() < LIMIT);
        assert_eq!(whole.next_record(Some(LIMIT)), Ok(Some(record)));
    }
    assert_eq!(whole.next_record(Some(LIMIT)).is_ok(), fits);
}

/// Frames of the backplane.
///
/// # Panics
///
/// If a payload comes from nowhere.
pub fn core_frame(data: &[u8]) {
    if let Ok(frame) = Frame::decode(Bytes::copy_from_slice(data)) {
        let payloads: usize = frame.messages().iter().map(|one| one.payload().len()).sum();
        assert!(payloads <= data.len());
    }
}

/// The first byte says in what pieces the others arrive.
fn cut(data: &[u8]) -> (usize, &[u8]) {
    match data {
        [size, rest @ ..] => (usize::from(*size).max(1), rest),
        [] => (1, data),
    }
}

fn protocol(protocol: Protocol, data: &[u8]) {
    let (size, data) = cut(data);
    let whole = decode(protocol, std::iter::once(data));
    assert_eq!(whole, decode(protocol, data.chunks(size)));
    for message in whole.0 {
        if let Message::Invocation(invocation) = message {
            let written = write(protocol, &invocation);
            let (again, fine) = decode(protocol, std::iter::once(&written[..]));
            assert_eq!((again, fine), (vec![Message::Invocation(invocation)], true));
        }
    }
}

/// The messages, and whether nothing was wrong.
fn decode<'a>(protocol: Protocol, pieces: impl Iterator<Item = &'a [u8]>) -> (Vec<Message>, bool) {
    let mut input = InputBuffer::default();
    let mut messages = Vec::new();
    for piece in pieces {
        input.push(piece);
        loop {
            match protocol.decode(&mut input, None) {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => break,
                Err(_) => return (messages, false),
            }
        }
    }
    (messages, true)
}

fn write(protocol: Protocol, invocation: &Invocation) -> Bytes {
    let arguments = Value::array(protocol, &invocation.arguments);
    protocol.call(
        invocation.streaming,
        invocation.id.as_deref(),
        &invocation.target,
        arguments.as_bytes(),
        &invocation.stream_ids,
    )
}

/// A WebSocket's reading side.
#[derive(Default)]
struct Socket {
    decoder: Decoder,
    data: Vec<u8>,
    pings: Vec<Bytes>,
    closed: bool,
    broken: Option<Violation>,
}

impl Socket {
    fn read(&mut self, bytes: &[u8]) {
        if self.closed || self.broken.is_some() {
            return;
        }
        self.decoder.buffer().extend_from_slice(bytes);
        loop {
            match self.decoder.next() {
                Ok(Some(Event::Data(data))) => self.data.extend_from_slice(&data),
                Ok(Some(Event::Ping(payload))) => self.pings.push(payload),
                Ok(Some(Event::Pong)) => {}
                Ok(Some(Event::Close)) => {
                    self.closed = true;
                    return;
                }
                Ok(None) => return,
                Err(violation) => {
                    self.broken = Some(violation);
                    return;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*, sample::select};

    use super::*;

    /// Bytes of which some are what the real thing is made of.
    fn like(words: &'static [&'static [u8]]) -> impl Strategy<Value = Vec<u8>> {
        let word = prop_oneof![
            4 => select(words).prop_map(<[u8]>::to_vec),
            1 => vec(any::<u8>(), 0..6),
        ];
        vec(word, 0..40).prop_map(|words| words.concat())
    }

    const JSON: &[&[u8]] = &[
        b"{\"type\":1,\"invocationId\":\"1\",\"target\":\"T\",\"arguments\":[1, {\"a\":null}]}\x1e",
        b"{\"arguments\":[],\"streamIds\":[\"a\"],\"target\":\"\\u00f6\",\"type\":4,\"invocationId\":\"x\"}\x1e",
        b"{\"type\":", b"1", b"2", b"3", b",\"item\":", b",\"result\":[]", b",\"error\":\"e\"",
        b",\"invocationId\":\"7\"", b",\"target\":\"t\"", b",\"arguments\":[\"\\u001e\"]", b"}\x1e", b"\x1e",
        b"{\"protocol\":\"json\",\"version\":1}\x1e", b"[", b"]", b"{", b"}", b"\"", b"\\",
    ];
    const MESSAGE_PACK: &[&[u8]] = &[
        b"\x0d\x96\x01\x80\xa3xyz\xa1m\x91\x2a\x90\xc0\xc0",
        b"\x0c\x96\x01\x80\xa3xyz\xa1m\x91\x2a\x90\xc0",
        b"\x0b\x95\x04\x80\xa1x\xa1m\x92\x01\xc0\xc0",
        b"\x02\x91\x06",
        b"\x96",
        b"\x01",
        b"\x80",
        b"\xc0",
        b"\xa1x",
        b"\xff\xff\xff\xff\x07",
        b"\xdd\xff\xff\xff\xff",
        b"\xc7",
        b"\xdb",
    ];
    const WEB_SOCKET: &[&[u8]] = &[
        b"\x81\x83\x00\x00\x00\x00abc",
        b"\x01\x82\x00\x00\x00\x00\xc3\xb6",
        b"\x80\x81\x01\x02\x03\x04z",
        b"\x89\x80\x00\x00\x00\x00",
        b"\x88\x82\x00\x00\x00\x00\x03\xe8",
        b"\x82\xfe\x00\x05\x00\x00\x00\x00hello",
        b"\x82\xff",
        b"\x00\x80\x00\x00\x00\x00",
        b"\xc3",
    ];
    const LINES: &[&[u8]] = &[b"\r", b"\n", b"\r\n", b"data: ", b":", b"{}\x1e"];

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn any_bytes_are_fine_everywhere(data in vec(any::<u8>(), 0..300)) {
            for target in [hub_json, hub_message_pack, web_socket, server_sent_event, request_bodies, core_frame] {
                target(&data);
            }
        }

        #[test]
        fn what_looks_like_json_is_fine(data in like(JSON)) {
            hub_json(&data);
            request_bodies(&data);
        }

        #[test]
        fn what_looks_like_message_pack_is_fine(data in like(MESSAGE_PACK)) {
            hub_message_pack(&data);
        }

        #[test]
        fn what_looks_like_web_socket_frames_is_fine(data in like(WEB_SOCKET)) {
            web_socket(&data);
        }

        #[test]
        fn what_looks_like_lines_is_fine(data in like(LINES)) {
            server_sent_event(&data);
        }

        #[test]
        fn what_looks_like_a_frame_is_fine(mut data in vec(any::<u8>(), 1..200), version in 0_u8..4) {
            data[0] = version;
            core_frame(&data);
        }
    }
}
