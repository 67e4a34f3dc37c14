//! What travels over a connection, whatever the transport: the codecs, without I/O and without a
//! clock.
//!
//! `buffer` cuts the byte stream into whole records, `handshake` reads the first of them, and `json`
//! the rest. Another protocol is another file beside `json` and another variant of [`Protocol`].

mod buffer;
mod handshake;
mod json;
mod message;

use std::fmt;

use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};

pub(super) use self::{
    buffer::InputBuffer,
    handshake::{HandshakeError, HandshakeRequest, handshake_error, handshake_success},
    message::{Invocation, Message, Outcome},
};

/// A hub protocol, chosen by the client in its handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Json,
}

impl Protocol {
    /// All protocols, in the order of [`Protocol::index`].
    pub(super) const ALL: [Self; 1] = [Self::Json];

    /// Finds a protocol by the name that clients give it, in any case.
    pub(super) fn by_name(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|protocol| protocol.name().eq_ignore_ascii_case(name))
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
        }
    }

    /// Whether its messages are text.
    pub(super) fn is_text(self) -> bool {
        match self {
            Self::Json => true,
        }
    }

    /// The protocol's number in envelopes between nodes. Never reuse one.
    pub(super) fn number(self) -> u8 {
        match self {
            Self::Json => 1,
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
            }) else {
                return Ok(None);
            };
            let message = match self {
                Self::Json => json::decode(&record)?,
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
        }
    }

    /// An invocation of a client's method. `arguments` is their whole array in this protocol's
    /// encoding.
    pub(super) fn invocation(self, target: &str, arguments: &[u8]) -> Bytes {
        match self {
            Self::Json => json::invocation(target, arguments),
        }
    }

    /// The end of an invocation that the client waits for.
    pub(super) fn completion(self, invocation_id: &str, outcome: &Outcome) -> Bytes {
        match self {
            Self::Json => json::completion(invocation_id, outcome),
        }
    }

    pub(super) fn ping(self) -> Bytes {
        match self {
            Self::Json => json::PING,
        }
    }

    /// The last message of a connection.
    pub(super) fn close(self, error: Option<&str>, allow_reconnect: bool) -> Bytes {
        match self {
            Self::Json => json::close(error, allow_reconnect),
        }
    }
}

/// One value as a protocol encoded it: bound to a Rust type, or produced from one, only where that
/// type is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Json(Bytes),
}

impl Value {
    pub(super) fn bind<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        match self {
            Self::Json(json) => serde_json::from_slice(json),
        }
    }

    pub(super) fn as_bytes(&self) -> &Bytes {
        match self {
            Self::Json(json) => json,
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
