//! What travels over a connection, whatever the transport: the codecs, without I/O and without a
//! clock.
//!
//! `buffer` cuts the byte stream into whole messages, `handshake` reads the first of them, and `json`
//! or `msgpack` the rest. `types` are values that the protocols write in different ways.

mod buffer;
mod handshake;
mod json;
mod message;
mod msgpack;
mod types;
mod varint;

use std::fmt;

use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};

pub use self::types::{Binary, Timestamp};
pub(super) use self::varint::put_varint;
pub(super) use self::{
    buffer::InputBuffer,
    handshake::{HandshakeError, HandshakeRequest, handshake_error, handshake_success},
    message::{Invocation, Message, Outcome},
};

/// How deep a value of a client may be nested in MessagePack; JSON has a limit of its own.
const MAX_DEPTH: usize = 64;

/// A hub protocol, chosen by the client in its handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// One JSON object per message.
    Json,
    /// One MessagePack array per message.
    MessagePack,
}

impl Protocol {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Json, Self::MessagePack];

    /// The name that clients know.
    pub fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::MessagePack => "messagepack",
        }
    }

    /// Whether its messages are text.
    pub(super) fn is_text(self) -> bool {
        match self {
            Self::Json => true,
            Self::MessagePack => false,
        }
    }

    /// The protocol's number in envelopes between nodes. Never reuse one.
    pub(super) fn number(self) -> u8 {
        match self {
            Self::Json => 1,
            Self::MessagePack => 2,
        }
    }

    pub(super) fn by_number(number: u8) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|protocol| protocol.number() == number)
    }

    /// Its place in [`Protocol::ALL`].
    pub(super) fn index(self) -> usize {
        match self {
            Self::Json => 0,
            Self::MessagePack => 1,
        }
    }

    /// Takes the next message out of what a client has sent; `None` until one is whole. Messages of
    /// a type that this version does not know are skipped.
    pub(super) fn decode(
        self,
        input: &mut InputBuffer,
        limit: Option<usize>,
    ) -> Result<Option<Message>, ProtocolError> {
        loop {
            let Some(record) = (match self {
                Self::Json => input.next_record(limit)?,
                Self::MessagePack => input.next_frame(limit)?,
            }) else {
                return Ok(None);
            };
            let message = match self {
                Self::Json => json::decode(&record)?,
                Self::MessagePack => msgpack::decode(&record)?,
            };
            if message.is_some() {
                return Ok(message);
            }
        }
    }

    /// One value in this protocol's encoding.
    pub(super) fn value<T: Serialize + ?Sized>(self, value: &T) -> Result<Value, EncodeError> {
        match self {
            Self::Json => match serde_json::to_vec(value) {
                Ok(bytes) => Ok(Value::Json(bytes.into())),
                Err(error) => Err(EncodeError(error.to_string())),
            },
            Self::MessagePack => {
                let mut out = Vec::new();
                let mut serializer = rmp_serde::Serializer::new(&mut out)
                    .with_struct_map()
                    .with_human_readable();
                match types::in_binary(|| value.serialize(&mut serializer)) {
                    Ok(()) => Ok(Value::MessagePack(out.into())),
                    Err(error) => Err(EncodeError(error.to_string())),
                }
            }
        }
    }

    /// An array of arguments, in this protocol's encoding, with one more at its end.
    pub(super) fn with_argument(self, arguments: &[u8], last: &Value) -> Bytes {
        match self {
            Self::Json => json::with_argument(arguments, last.as_bytes()),
            Self::MessagePack => msgpack::with_argument(arguments, last.as_bytes()),
        }
    }

    /// An invocation of a client's method; with an `id`, the client answers. `arguments` is their whole
    /// array in this protocol's encoding.
    pub(super) fn invocation(self, id: Option<&str>, target: &str, arguments: &[u8]) -> Bytes {
        match self {
            Self::Json => json::invocation(id, target, arguments),
            Self::MessagePack => msgpack::invocation(id, target, arguments),
        }
    }

    /// An invocation as clients make them, which may stream in both directions.
    pub(super) fn call(
        self,
        streaming: bool,
        id: Option<&str>,
        target: &str,
        arguments: &[u8],
        stream_ids: &[String],
    ) -> Bytes {
        match self {
            Self::Json => json::call(streaming, id, target, arguments, stream_ids),
            Self::MessagePack => msgpack::call(streaming, id, target, arguments, stream_ids),
        }
    }

    /// The client wants no more of a stream.
    pub(super) fn cancel(self, invocation_id: &str) -> Bytes {
        match self {
            Self::Json => json::cancel(invocation_id),
            Self::MessagePack => msgpack::cancel(invocation_id),
        }
    }

    /// One item of a stream.
    pub(super) fn stream_item(self, id: &str, item: &Value) -> Bytes {
        match self {
            Self::Json => json::stream_item(id, item.as_bytes()),
            Self::MessagePack => msgpack::stream_item(id, item.as_bytes()),
        }
    }

    /// The end of an invocation that the client waits for.
    pub(super) fn completion(self, invocation_id: &str, outcome: &Outcome) -> Bytes {
        match self {
            Self::Json => json::completion(invocation_id, outcome),
            Self::MessagePack => msgpack::completion(invocation_id, outcome),
        }
    }

    pub(super) fn ping(self) -> Bytes {
        match self {
            Self::Json => json::PING,
            Self::MessagePack => msgpack::PING,
        }
    }

    /// The last message of a connection.
    pub(super) fn close(self, error: Option<&str>, allow_reconnect: bool) -> Bytes {
        match self {
            Self::Json => json::close(error, allow_reconnect),
            Self::MessagePack => msgpack::close(error, allow_reconnect),
        }
    }

    /// All messages up to this one were received.
    pub(super) fn ack(self, sequence: u64) -> Bytes {
        self.numbered(8, sequence)
    }

    /// The next message is this one.
    pub(super) fn sequence(self, sequence: u64) -> Bytes {
        self.numbered(9, sequence)
    }

    fn numbered(self, kind: u8, sequence: u64) -> Bytes {
        match self {
            Self::Json => json::numbered(kind, sequence),
            Self::MessagePack => msgpack::numbered(kind, sequence),
        }
    }
}

/// One value as a protocol encoded it: bound to a Rust type, or produced from one, only where that
/// type is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Json(Bytes),
    MessagePack(Bytes),
}

impl Value {
    /// A value that a node has passed on in this protocol.
    pub(super) fn new(protocol: Protocol, bytes: Bytes) -> Self {
        match protocol {
            Protocol::Json => Self::Json(bytes),
            Protocol::MessagePack => Self::MessagePack(bytes),
        }
    }

    /// The array of these values, all of one protocol.
    pub(super) fn array(protocol: Protocol, values: &[Self]) -> Self {
        let bytes = values.iter().map(|value| &value.as_bytes()[..]);
        match protocol {
            Protocol::Json => Self::Json(json::array_of(bytes)),
            Protocol::MessagePack => Self::MessagePack(msgpack::array_of(bytes)),
        }
    }

    /// The value as a Rust type; what is wrong with it otherwise.
    pub(super) fn bind<T: DeserializeOwned>(&self) -> Result<T, String> {
        match self {
            Self::Json(json) => serde_json::from_slice(json).map_err(|error| error.to_string()),
            Self::MessagePack(bytes) => {
                let mut deserializer =
                    rmp_serde::Deserializer::from_read_ref(bytes).with_human_readable();
                deserializer.set_max_depth(MAX_DEPTH);
                T::deserialize(&mut deserializer).map_err(|error| error.to_string())
            }
        }
    }

    pub(super) fn as_bytes(&self) -> &Bytes {
        match self {
            Self::Json(bytes) | Self::MessagePack(bytes) => bytes,
        }
    }
}

/// The client broke the protocol; its connection ends. The text is what clients of the .NET server
/// see with detailed errors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ProtocolError(pub(super) String);

impl ProtocolError {
    pub(super) fn too_large(limit: usize) -> Self {
        Self(format!(
            "The maximum message size of {limit}B was exceeded. The message size can be configured in AddHubOptions."
        ))
    }
}

impl fmt::Display for ProtocolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ProtocolError {}

/// A value that serde could not write, such as a map whose keys are not text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncodeError(String);

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for EncodeError {}
