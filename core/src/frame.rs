//! [`Frame`]: what one append stores, and its binary encoding.
//!
//! Version 1, integers little-endian, `varint` as LEB128 of at most 64 bits:
//!
//! ```text
//! u8        version = 1
//! u8        flags: bit 0 = every message names its topic; the others are 0
//! [u8; 16]  publisher
//! u64       counter
//! u64       published at, milliseconds since 1970-01-01 UTC
//! varint    number of messages, 1 or more
//! messages: [varint length, topic]          if flag bit 0
//!           varint number of headers, each: varint length, name, varint length, value
//!           varint length, payload
//! ```
//!
//! Nothing may follow the last message.

use std::{fmt, time::SystemTime};

use bytes::{BufMut, Bytes, BytesMut};

use crate::{Error, ErrorKind, Message, Topic};

const VERSION: u8 = 1;
const FLAG_TOPICS: u8 = 1;
/// Version, flags, publisher, counter, time, and the longest message count.
const MAX_HEAD: usize = 1 + 1 + 16 + 8 + 8 + 5;

/// Names one publisher of one log: all its frames carry the same id, and counters 1, 2, 3 and so on.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublisherId([u8; 16]);

impl PublisherId {
    /// An id that nobody else has.
    ///
    /// # Panics
    ///
    /// If the operating system has no randomness to give.
    pub fn random() -> Self {
        Self(crate::random::u128().to_le_bytes())
    }

    /// Takes the bytes of an id.
    pub const fn new(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The bytes of the id.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for PublisherId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Debug for PublisherId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublisherId({self})")
    }
}

/// A frame on its way to the broker: the encoded bytes, and what a backend needs to know of them.
#[derive(Clone, PartialEq, Eq)]
pub struct EncodedFrame {
    publisher: PublisherId,
    counter: u64,
    len: u32,
    bytes: Bytes,
}

impl EncodedFrame {
    /// Who publishes it.
    pub fn publisher(&self) -> PublisherId {
        self.publisher
    }

    /// How many frames this publisher has sent to this log, this one included. The same publisher
    /// and counter again are a repetition of the same frame.
    pub fn counter(&self) -> u64 {
        self.counter
    }

    /// How many messages it holds: 1 or more. It takes that many sequences.
    #[expect(clippy::len_without_is_empty, reason = "a frame is never empty")]
    pub fn len(&self) -> u32 {
        self.len
    }

    /// What is to be stored, and handed back by reads and listeners.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Checks that it is within a backend's
    /// [`max_frame_bytes`](crate::Capabilities::max_frame_bytes).
    ///
    /// # Errors
    ///
    /// [`TooLarge`](ErrorKind::TooLarge), which names both sizes.
    pub fn check_size(&self, max_frame_bytes: usize) -> Result<(), Error> {
        let bytes = self.bytes.len();
        if bytes <= max_frame_bytes {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::TooLarge,
            format!(
                "a frame of {bytes} bytes is larger than the {max_frame_bytes} that \
                 max_frame_bytes allows"
            ),
        ))
    }
}

impl fmt::Debug for EncodedFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EncodedFrame")
            .field("publisher", &self.publisher)
            .field("counter", &self.counter)
            .field("len", &self.len)
            .field("bytes", &self.bytes.len())
            .finish()
    }
}

/// Builds an [`EncodedFrame`] message by message.
///
/// ```
/// # use scaleout_core::{Frame, FrameBuilder, Message, PublisherId};
/// let mut builder = FrameBuilder::new();
/// builder.push(None, &Message::new("hello"));
/// let encoded = builder.finish(PublisherId::random(), 1);
/// let frame = Frame::decode(encoded.bytes().clone())?;
/// assert_eq!(frame.messages()[0].payload(), "hello".as_bytes());
/// # Ok::<(), scaleout_core::FrameError>(())
/// ```
#[derive(Debug, Default)]
pub struct FrameBuilder {
    messages: BytesMut,
    len: u32,
    topics: bool,
}

impl FrameBuilder {
    /// An empty frame.
    pub fn new() -> Self {
        Self::default()
    }

    /// The most bytes that a message takes in a frame of its own.
    pub fn max_encoded_len(topic: Option<&Topic>, message: &Message) -> usize {
        let text = |text: &str| 10 + text.len();
        MAX_HEAD
            + topic.map_or(0, |topic| text(topic.as_str()))
            + 20
            + message.payload().len()
            + message
                .headers()
                .map(|(name, value)| text(name) + text(value))
                .sum::<usize>()
    }

    /// The most bytes that a frame adds to the payload of a single message without headers.
    pub(crate) fn max_overhead(names_topics: bool) -> usize {
        MAX_HEAD
            + 20
            + if names_topics {
                10 + Topic::MAX_BYTES
            } else {
                0
            }
    }

    /// Adds a message. Either all messages of a frame name their topic or none does.
    pub fn push(&mut self, topic: Option<&Topic>, message: &Message) {
        debug_assert!(self.len == 0 || self.topics == topic.is_some());
        if let Some(topic) = topic {
            self.topics = true;
            put_slice(&mut self.messages, topic.as_str().as_bytes());
        }
        put_varint(&mut self.messages, message.headers().len() as u64);
        for (name, value) in message.headers() {
            put_slice(&mut self.messages, name.as_bytes());
            put_slice(&mut self.messages, value.as_bytes());
        }
        put_slice(&mut self.messages, message.payload());
        self.len += 1;
    }

    /// How many messages it holds.
    pub fn len(&self) -> u32 {
        self.len
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many bytes it takes encoded, at most.
    pub fn encoded_len(&self) -> usize {
        MAX_HEAD + self.messages.len()
    }

    /// Encodes the frame, stamped with the current time.
    pub fn finish(self, publisher: PublisherId, counter: u64) -> EncodedFrame {
        self.finish_at(publisher, counter, unix_millis(SystemTime::now()))
    }

    /// Encodes the frame, stamped with a time in milliseconds since the Unix epoch. It is advisory:
    /// nothing is decided by it.
    pub fn finish_at(
        self,
        publisher: PublisherId,
        counter: u64,
        published_at: u64,
    ) -> EncodedFrame {
        debug_assert!(self.len > 0, "a frame holds at least one message");
        let mut bytes = BytesMut::with_capacity(self.encoded_len());
        bytes.put_u8(VERSION);
        bytes.put_u8(if self.topics { FLAG_TOPICS } else { 0 });
        bytes.put_slice(&publisher.0);
        bytes.put_u64_le(counter);
        bytes.put_u64_le(published_at);
        put_varint(&mut bytes, u64::from(self.len));
        bytes.put_slice(&self.messages);
        EncodedFrame {
            publisher,
            counter,
            len: self.len,
            bytes: bytes.freeze(),
        }
    }
}

/// A frame as it came from the broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    publisher: PublisherId,
    counter: u64,
    published_at: u64,
    size: usize,
    topics: Vec<Topic>,
    messages: Vec<Message>,
}

/// Why bytes are not a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FrameError {
    /// Written by a newer version of the library, or by something else.
    Version(u8),
    /// Not what the version promises.
    Malformed(&'static str),
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version(found) => {
                write!(
                    f,
                    "frame version {found} is unknown; this library reads version {VERSION}"
                )
            }
            Self::Malformed(what) => write!(f, "malformed frame: {what}"),
        }
    }
}

impl std::error::Error for FrameError {}

impl Frame {
    /// Reads a frame. Payloads share `bytes`, nothing is copied.
    ///
    /// # Errors
    ///
    /// [`FrameError`] if the bytes are not exactly one frame of a known version.
    pub fn decode(bytes: Bytes) -> Result<Self, FrameError> {
        let size = bytes.len();
        let mut reader = Reader { bytes };
        let version = reader.u8()?;
        if version != VERSION {
            return Err(FrameError::Version(version));
        }
        let flags = reader.u8()?;
        if flags & !FLAG_TOPICS != 0 {
            return Err(FrameError::Malformed("unknown flags"));
        }
        let publisher = PublisherId(reader.array()?);
        let counter = u64::from_le_bytes(reader.array()?);
        let published_at = u64::from_le_bytes(reader.array()?);
        let count = reader.count()?;
        if count == 0 {
            return Err(FrameError::Malformed("no messages"));
        }
        let named = flags & FLAG_TOPICS != 0;
        let mut topics = Vec::with_capacity(if named { count } else { 0 });
        let mut messages = Vec::with_capacity(count);
        for _ in 0..count {
            if named {
                let topic = Topic::new(reader.text()?)
                    .map_err(|_| FrameError::Malformed("topic name empty or too long"))?;
                topics.push(topic);
            }
            let mut headers = Vec::with_capacity(reader.count()?);
            for _ in 0..headers.capacity() {
                headers.push((reader.text()?, reader.text()?));
            }
            messages.push(Message::from_parts(reader.slice()?, headers));
        }
        if !reader.bytes.is_empty() {
            return Err(FrameError::Malformed("bytes after the last message"));
        }
        Ok(Self {
            publisher,
            counter,
            published_at,
            size,
            topics,
            messages,
        })
    }

    /// Who published it.
    pub fn publisher(&self) -> PublisherId {
        self.publisher
    }

    /// Which frame of this publisher it is, from 1.
    pub fn counter(&self) -> u64 {
        self.counter
    }

    /// When the publisher sent it, in milliseconds since 1970-01-01 UTC by the publisher's clock.
    /// Advisory: nothing is ordered by it.
    pub fn published_at_millis(&self) -> u64 {
        self.published_at
    }

    /// How many bytes it takes encoded.
    pub(crate) fn size(&self) -> usize {
        self.size
    }

    /// Its messages, one or more.
    pub fn messages(&self) -> &[Message] {
        &self.messages
    }

    /// The topic of message `index`, if the log carries several topics.
    pub fn topic(&self, index: usize) -> Option<&Topic> {
        self.topics.get(index)
    }
}

/// Milliseconds since 1970-01-01 UTC, 0 before.
pub(crate) fn unix_millis(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| {
            u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
        })
}

fn put_varint(out: &mut BytesMut, mut value: u64) {
    while value >= 0x80 {
        out.put_u8(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.put_u8(value.to_le_bytes()[0]);
}

fn put_slice(out: &mut BytesMut, slice: &[u8]) {
    put_varint(out, slice.len() as u64);
    out.put_slice(slice);
}

struct Reader {
    bytes: Bytes,
}

impl Reader {
    fn take(&mut self, len: usize) -> Result<Bytes, FrameError> {
        if self.bytes.len() < len {
            return Err(FrameError::Malformed("cut short"));
        }
        Ok(self.bytes.split_to(len))
    }

    fn u8(&mut self) -> Result<u8, FrameError> {
        Ok(self.array::<1>()?[0])
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], FrameError> {
        let mut array = [0; N];
        array.copy_from_slice(&self.take(N)?);
        Ok(array)
    }

    fn varint(&mut self) -> Result<u64, FrameError> {
        let mut value = 0_u64;
        for (index, &byte) in self.bytes.iter().take(10).enumerate() {
            let bits = u64::from(byte & 0x7f);
            if index == 9 && bits > 1 {
                break;
            }
            value |= bits << (7 * index);
            if byte & 0x80 == 0 {
                let _ = self.bytes.split_to(index + 1);
                return Ok(value);
            }
        }
        Err(FrameError::Malformed("bad number"))
    }

    /// A number of things that each take at least a byte: never more than there are bytes, so that a
    /// hostile count cannot reserve memory.
    fn count(&mut self) -> Result<usize, FrameError> {
        let count = usize::try_from(self.varint()?).unwrap_or(usize::MAX);
        if count > self.bytes.len() {
            return Err(FrameError::Malformed("more messages or headers than bytes"));
        }
        Ok(count)
    }

    fn slice(&mut self) -> Result<Bytes, FrameError> {
        let len = usize::try_from(self.varint()?).unwrap_or(usize::MAX);
        self.take(len)
    }

    fn text(&mut self) -> Result<String, FrameError> {
        String::from_utf8(self.slice()?.into()).map_err(|_| FrameError::Malformed("not UTF-8"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, option, prelude::*};

    use super::*;

    const PUBLISHER: PublisherId = PublisherId([7; 16]);

    fn encode(topic: Option<&str>, messages: &[Message]) -> EncodedFrame {
        let topic = topic.map(|t| Topic::new(t).unwrap());
        let mut builder = FrameBuilder::new();
        for message in messages {
            builder.push(topic.as_ref(), message);
        }
        builder.finish_at(PUBLISHER, 3, 0x1122)
    }

    #[test]
    fn bytes_stay_readable_by_later_versions() {
        let plain = encode(None, &[Message::new("hi"), Message::new("")]);
        let mut golden = vec![1, 0];
        golden.extend([7; 16]);
        golden.extend([3, 0, 0, 0, 0, 0, 0, 0]);
        golden.extend([0x22, 0x11, 0, 0, 0, 0, 0, 0]);
        golden.extend([2, 0, 2, b'h', b'i', 0, 0]);
        assert_eq!(plain.bytes(), &golden);

        let named = encode(Some("t"), &[Message::new("x").with_header("k", "")]);
        golden[1] = 1;
        golden.truncate(34);
        golden.extend([1, 1, b't', 1, 1, b'k', 0, 1, b'x']);
        assert_eq!(named.bytes(), &golden);
    }

    #[test]
    fn a_newer_version_is_named() {
        assert_eq!(
            Frame::decode(Bytes::from_static(&[9, 0])),
            Err(FrameError::Version(9))
        );
    }

    #[test]
    fn a_hostile_count_reserves_nothing() {
        let mut bytes = encode(None, &[Message::new("")]).bytes()[..34].to_vec();
        bytes.extend([0xff, 0xff, 0xff, 0xff, 0x7f]);
        assert!(Frame::decode(bytes.into()).is_err());
    }

    fn message() -> impl Strategy<Value = Message> {
        (vec(any::<u8>(), 0..300), vec((".{0,9}", ".{0,9}"), 0..4))
            .prop_map(|(payload, headers)| Message::from_parts(payload.into(), headers))
    }

    proptest! {
        #[test]
        fn every_frame_comes_back(
            topic in option::of("[a-z/é]{1,20}"),
            messages in vec(message(), 1..20),
        ) {
            let encoded = encode(topic.as_deref(), &messages);
            let frame = Frame::decode(encoded.bytes().clone()).unwrap();
            prop_assert_eq!(frame.messages(), &messages[..]);
            prop_assert_eq!(frame.topic(0).map(Topic::as_str), topic.as_deref());
            prop_assert_eq!(frame.publisher(), PUBLISHER);
            prop_assert_eq!(frame.counter(), 3);
            prop_assert_eq!(frame.published_at_millis(), 0x1122);
            prop_assert_eq!(encoded.len() as usize, messages.len());
        }

        #[test]
        fn a_frame_of_one_is_no_longer_than_promised(message in message()) {
            let topic = Topic::new("t").unwrap();
            let promised = FrameBuilder::max_encoded_len(Some(&topic), &message);
            let actual = encode(Some("t"), std::slice::from_ref(&message)).bytes().len();
            prop_assert!(actual <= promised);
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in vec(any::<u8>(), 0..200)) {
            let _ = Frame::decode(bytes.into());
        }

        #[test]
        fn a_cut_or_lengthened_frame_is_refused(messages in vec(message(), 1..4), cut in 0_usize..200) {
            let bytes = encode(None, &messages).bytes().clone();
            prop_assume!(cut < bytes.len());
            prop_assert!(Frame::decode(bytes.slice(..cut)).is_err());
            let mut longer = bytes.to_vec();
            longer.push(0);
            prop_assert!(Frame::decode(longer.into()).is_err());
        }
    }
}
