//! [`Control`]: what the nodes of a hub tell each other, besides what they pass on to clients.
//!
//! On the topics of nodes it stands beside [envelopes](super::envelope), and begins with another
//! version byte. The rest is MessagePack, of which later versions can add fields and variants: an
//! unknown one is reported and skipped.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::outgoing::Arguments;
use crate::hub::{
    id::ConnectionId,
    protocol::{Binary, Protocol, Value},
};

/// The first byte. Envelopes of clients' messages have 1.
pub(super) const VERSION: u8 = 2;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Control {
    /// The node lives.
    Beat {
        node: String,
        /// Whether it may have clients.
        serves: bool,
        /// Whether it wants to hear from the others at once.
        roll_call: bool,
    },
    /// The node leaves.
    Bye {
        node: String,
    },
    Request {
        id: u64,
        /// The node that waits for the reply.
        from: String,
        request: Request,
    },
    Reply {
        id: u64,
        from: String,
        reply: Reply,
    },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Request {
    /// Invoke a client's method and reply with what it answers.
    Ask {
        connection: ConnectionId,
        target: String,
        arguments: Vec<(u8, Binary)>,
        timeout_ms: u64,
    },
    Join {
        connection: ConnectionId,
        group: String,
    },
    Leave {
        connection: ConnectionId,
        group: String,
    },
    /// Who of your clients is in the group?
    Members { group: String },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Reply {
    Done,
    /// The connection does not exist.
    Unknown,
    /// It was there, and is gone.
    Disconnected,
    /// The client did not answer in time.
    TimedOut,
    /// The client's answer, in this protocol.
    Answer(u8, Binary),
    /// The client answered without a result.
    NoResult,
    /// The client answered with an error.
    Refused(String),
    /// The node could not do it.
    Failed(String),
    Members(Vec<(ConnectionId, Option<String>)>),
}

impl Control {
    pub(super) fn encode(&self) -> Bytes {
        let body = Protocol::MessagePack.value(self);
        // Text, numbers and bytes can be written.
        let body = body
            .map(|value| value.as_bytes().clone())
            .unwrap_or_default();
        [&[VERSION][..], &body].concat().into()
    }

    /// Reads what stands behind the version byte.
    pub(super) fn decode(body: Bytes) -> Result<Self, String> {
        Value::MessagePack(body).bind()
    }
}

impl Request {
    pub(super) fn pack(arguments: &Arguments) -> Vec<(u8, Binary)> {
        let of = |protocol: Protocol| {
            let arguments = arguments[protocol.index()].clone()?;
            Some((protocol.number(), Binary(arguments)))
        };
        Protocol::ALL.into_iter().filter_map(of).collect()
    }

    pub(super) fn unpack(packed: Vec<(u8, Binary)>) -> Arguments {
        let mut arguments = Arguments::default();
        for (number, Binary(bytes)) in packed {
            if let Some(protocol) = Protocol::by_number(number) {
                arguments[protocol.index()] = Some(bytes);
            }
        }
        arguments
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_node_writes_another_one_reads() {
        for control in [
            Control::Bye { node: "n".into() },
            Control::Request {
                id: u64::MAX,
                from: "n".into(),
                request: Request::Ask {
                    connection: "c".into(),
                    target: "t".into(),
                    arguments: vec![(2, Binary::from(&b"\x90"[..]))],
                    timeout_ms: 1,
                },
            },
            Control::Reply {
                id: 1,
                from: "n".into(),
                reply: Reply::Members(vec![("c".into(), Some("ada".into()))]),
            },
        ] {
            let bytes = control.encode();
            assert_eq!(bytes[0], VERSION);
            assert_eq!(Control::decode(bytes.slice(1..)), Ok(control));
        }
    }

    #[test]
    fn bytes_stay_bytes() {
        let reply = Control::Reply {
            id: 1,
            from: "n".into(),
            reply: Reply::Answer(1, Binary::from(&b"[1]"[..])),
        };
        assert!(
            reply
                .encode()
                .windows(5)
                .any(|bytes| bytes == b"\xc4\x03[1]")
        );
    }

    #[test]
    fn what_a_later_version_says_is_an_error_and_no_panic() {
        assert!(Control::decode(Bytes::from_static(b"\x81\xa5Later\xc0")).is_err());
        assert!(Control::decode(Bytes::new()).is_err());
    }
}
