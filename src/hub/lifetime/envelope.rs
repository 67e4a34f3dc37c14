//! [`Envelope`]: what one node's hub tells the others through the backplane.
//!
//! ```text
//! envelope  := version:u8=1  except:ids  to:ids  target:text  payloads
//! ids       := count:varint  text*
//! payloads  := count:varint  (protocol:u8 bytes)*
//! text      := bytes, in UTF-8
//! bytes     := length:varint  byte*
//! varint    := little-endian base 128, the high bit says that more follows
//! ```
//!
//! What stands behind the payloads is ignored, and so is a payload in a protocol that this node does
//! not know: a later version can add both. What it cannot add that way gets another version number,
//! which nodes of this version report and skip.

use std::fmt;

use bytes::{Buf, BufMut, Bytes};

use super::outgoing::Arguments;
use crate::hub::{
    id::ConnectionId,
    protocol::{Protocol, put_varint},
};

/// [Control messages](super::control) have 2.
pub(super) const VERSION: u8 = 1;

/// An invocation of client methods, in each of the protocols that clients may speak.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Envelope {
    /// Connections that do not get it.
    pub(super) except: Vec<ConnectionId>,
    /// On a node's topic: the connections that get it. Empty on any other.
    pub(super) to: Vec<ConnectionId>,
    /// The clients' method.
    pub(super) target: String,
    /// The array of arguments, by [`Protocol::index`].
    pub(super) arguments: Arguments,
}

impl Envelope {
    pub(super) fn encode(&self) -> Bytes {
        let arguments: usize = self.arguments.iter().flatten().map(Bytes::len).sum();
        let mut out = Vec::with_capacity(32 + self.target.len() + arguments);
        out.put_u8(VERSION);
        for ids in [&self.except, &self.to] {
            put_varint(&mut out, ids.len());
            for id in ids {
                put_bytes(&mut out, id.as_str().as_bytes());
            }
        }
        put_bytes(&mut out, self.target.as_bytes());
        put_varint(&mut out, self.arguments.iter().flatten().count());
        for protocol in Protocol::ALL {
            if let Some(arguments) = &self.arguments[protocol.index()] {
                out.put_u8(protocol.number());
                put_bytes(&mut out, arguments);
            }
        }
        out.into()
    }

    /// Reads an envelope. The arguments share its memory.
    pub(super) fn decode(mut input: Bytes) -> Result<Self, EnvelopeError> {
        let version = take_u8(&mut input)?;
        if version != VERSION {
            return Err(EnvelopeError::Version(version));
        }
        let except = take_ids(&mut input)?;
        let to = take_ids(&mut input)?;
        let target = take_text(&mut input)?;
        let mut envelope = Self {
            except,
            to,
            target,
            ..Self::default()
        };
        for _ in 0..take_varint(&mut input)? {
            let number = take_u8(&mut input)?;
            let arguments = take_bytes(&mut input)?;
            if let Some(protocol) = Protocol::by_number(number) {
                envelope.arguments[protocol.index()] = Some(arguments);
            }
        }
        Ok(envelope)
    }
}

/// Why a message on a hub's topic is not for this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EnvelopeError {
    /// A newer node wrote it.
    Version(u8),
    /// Something else than a hub wrote it.
    Malformed,
}

impl fmt::Display for EnvelopeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version(version) => write!(
                f,
                "envelope version {version} is unknown; this node reads version {VERSION}"
            ),
            Self::Malformed => f.write_str("not an envelope of a hub"),
        }
    }
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len());
    out.put_slice(bytes);
}

fn take_u8(input: &mut Bytes) -> Result<u8, EnvelopeError> {
    if input.is_empty() {
        return Err(EnvelopeError::Malformed);
    }
    Ok(input.get_u8())
}

fn take_varint(input: &mut Bytes) -> Result<u64, EnvelopeError> {
    let mut value = 0;
    for shift in (0..63).step_by(7) {
        let byte = take_u8(input)?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(EnvelopeError::Malformed)
}

fn take_bytes(input: &mut Bytes) -> Result<Bytes, EnvelopeError> {
    let length = take_varint(input)?;
    match usize::try_from(length) {
        Ok(length) if length <= input.len() => Ok(input.split_to(length)),
        _ => Err(EnvelopeError::Malformed),
    }
}

fn take_text(input: &mut Bytes) -> Result<String, EnvelopeError> {
    let bytes = take_bytes(input)?;
    String::from_utf8(bytes.into()).map_err(|_| EnvelopeError::Malformed)
}

fn take_ids(input: &mut Bytes) -> Result<Vec<ConnectionId>, EnvelopeError> {
    let count = take_varint(input)?;
    // No room is reserved for what a count claims: each id takes at least a byte of the input.
    (0..count)
        .map(|_| take_text(input).map(ConnectionId::from))
        .collect::<Result<_, _>>()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn envelope(except: &[&str], to: &[&str], target: &str, json: Option<&str>) -> Envelope {
        Envelope {
            except: except.iter().map(|&id| id.into()).collect(),
            to: to.iter().map(|&id| id.into()).collect(),
            target: target.into(),
            arguments: [
                json.map(|text| Bytes::copy_from_slice(text.as_bytes())),
                None,
            ],
        }
    }

    #[test]
    fn the_bytes_stay_readable_by_other_versions() {
        let golden = b"\x01\x01\x02me\x00\x04Send\x01\x01\x05[\"a\"]";
        let expected = envelope(&["me"], &[], "Send", Some("[\"a\"]"));
        assert_eq!(expected.encode(), golden.as_slice());
        assert_eq!(Envelope::decode(Bytes::from_static(golden)), Ok(expected));
    }

    #[test]
    fn what_a_later_version_may_add_is_ignored() {
        let later = b"\x01\x00\x00\x01T\x02\x09\x03xyz\x01\x02[]more";
        assert_eq!(
            Envelope::decode(Bytes::from_static(later)),
            Ok(envelope(&[], &[], "T", Some("[]")))
        );
    }

    #[test]
    fn an_unknown_version_is_named() {
        assert_eq!(
            Envelope::decode(Bytes::from_static(b"\x03")),
            Err(EnvelopeError::Version(3))
        );
        assert_eq!(
            Envelope::decode(Bytes::new()),
            Err(EnvelopeError::Malformed)
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = Envelope::decode([&[VERSION][..], &bytes].concat().into());
        }

        #[test]
        fn every_envelope_comes_back(
            except: Vec<String>, to: Vec<String>, target: String, json: Option<Vec<u8>>, binary: Option<Vec<u8>>,
        ) {
            let envelope = Envelope {
                except: except.into_iter().map(Into::into).collect(),
                to: to.into_iter().map(Into::into).collect(),
                target,
                arguments: [json.map(Into::into), binary.map(Into::into)],
            };
            prop_assert_eq!(Envelope::decode(envelope.encode()), Ok(envelope));
        }
    }
}
