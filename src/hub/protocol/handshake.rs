//! The handshake: the first record of either side. Always JSON, whatever protocol it chooses.

use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};
use serde_json::Value as Json;

use super::{Protocol, buffer::RECORD_SEPARATOR};

/// The newest version of each protocol: 2 is spoken by clients that can reconnect statefully.
const NEWEST_VERSION: i64 = 2;

/// What the client asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HandshakeRequest {
    protocol: String,
    version: i64,
}

impl HandshakeRequest {
    /// Reads the client's first record. What stands behind the object is ignored, as are members
    /// that are not known.
    pub(crate) fn decode(record: &[u8]) -> Result<Self, HandshakeError> {
        let malformed = |why: String| HandshakeError::Malformed(why);
        let content = || String::from_utf8_lossy(record);
        let value = serde_json::Deserializer::from_slice(record)
            .into_iter::<Json>()
            .next()
            .and_then(Result::ok)
            .ok_or_else(|| malformed("Error reading JSON.".into()))?;
        let Json::Object(members) = value else {
            return Err(malformed(format!(
                "Unexpected JSON Token Type '{}'. Expected a JSON Object.",
                super::json::token_name(record)
            )));
        };
        let member = |name: &str| {
            members.get(name).ok_or_else(|| {
                malformed(format!(
                    "Missing required property '{name}'. Message content: {}",
                    content()
                ))
            })
        };
        let protocol = member("protocol")?
            .as_str()
            .ok_or_else(|| malformed("Expected 'protocol' to be of type String.".into()))?
            .to_owned();
        let version = member("version")?
            .as_i64()
            .ok_or_else(|| malformed("Expected 'version' to be of type Number.".into()))?;
        Ok(Self { protocol, version })
    }

    /// The protocol it names in any case, if it is among those that are `spoken` and in a version that is.
    pub(crate) fn negotiate(
        &self,
        spoken: &[Protocol],
        carries_binary: bool,
    ) -> Result<Protocol, HandshakeError> {
        let mut spoken = spoken.iter().copied();
        let protocol = spoken
            .find(|protocol| protocol.name().eq_ignore_ascii_case(&self.protocol))
            .ok_or_else(|| HandshakeError::UnknownProtocol(self.protocol.clone()))?;
        if !carries_binary && !protocol.is_text() {
            return Err(HandshakeError::NoBinary(protocol));
        }
        if self.version > NEWEST_VERSION {
            return Err(HandshakeError::UnknownVersion(protocol, self.version));
        }
        Ok(protocol)
    }

    /// Whether the client counts messages, so that it can come back.
    pub(crate) fn counts_messages(&self) -> bool {
        self.version >= 2
    }
}

/// Why a handshake fails; its text is what the client gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum HandshakeError {
    UnknownProtocol(String),
    UnknownVersion(Protocol, i64),
    /// The transport is for text alone.
    NoBinary(Protocol),
    /// It took too long or too much room, or the server is closing.
    Canceled,
    /// The details are for clients of servers that show them.
    Malformed(String),
}

impl HandshakeError {
    pub(crate) fn text(&self, detailed: bool) -> String {
        match self {
            Self::Malformed(why) if detailed => format!("{self} InvalidDataException: {why}"),
            _ => self.to_string(),
        }
    }
}

impl fmt::Display for HandshakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownProtocol(name) => write!(f, "The protocol '{name}' is not supported."),
            Self::UnknownVersion(protocol, version) => write!(
                f,
                "The server does not support version {version} of the '{}' protocol.",
                protocol.name()
            ),
            Self::NoBinary(protocol) => write!(
                f,
                "Cannot use the '{}' protocol on the current transport. The transport does not support 'Binary' transfer format.",
                protocol.name()
            ),
            Self::Canceled => f.write_str("Handshake was canceled."),
            Self::Malformed(_) => {
                f.write_str("An unexpected error occurred during connection handshake.")
            }
        }
    }
}

impl std::error::Error for HandshakeError {}

/// The answer to a handshake that succeeded.
pub(crate) fn handshake_success() -> Bytes {
    Bytes::from_static(b"{}\x1e")
}

/// The answer to a handshake that failed.
pub(crate) fn handshake_error(text: &str) -> Bytes {
    let mut answer = BytesMut::new();
    answer.put_slice(b"{\"error\":");
    super::json::put_text(&mut answer, text);
    answer.put_slice(&[b'}', RECORD_SEPARATOR]);
    answer.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn negotiate(record: &str) -> Result<Protocol, String> {
        HandshakeRequest::decode(record.as_bytes())
            .and_then(|request| request.negotiate(&Protocol::ALL, true))
            .map_err(|error| error.text(false))
    }

    #[test]
    fn what_clients_send_is_accepted() {
        for record in [
            r#"{"protocol":"json","version":1}"#,
            r#"{"version":2,"protocol":"JSON","unknown":[1]}"#,
            r#"{"protocol":"json","version":0} and more"#,
            r#"{"protocol":"json","version":-1}"#,
        ] {
            assert_eq!(negotiate(record), Ok(Protocol::Json), "{record}");
        }
    }

    #[test]
    fn the_client_is_told_what_is_not_supported() {
        assert_eq!(
            negotiate(r#"{"protocol":"xml","version":1}"#),
            Err("The protocol 'xml' is not supported.".into())
        );
        assert_eq!(
            negotiate(r#"{"protocol":"json","version":3}"#),
            Err("The server does not support version 3 of the 'json' protocol.".into())
        );
    }

    #[test]
    fn a_malformed_handshake_is_explained_only_in_detail() {
        for (record, why) in [
            ("", "Error reading JSON."),
            (
                "null",
                "Unexpected JSON Token Type 'Null'. Expected a JSON Object.",
            ),
            (
                "[]",
                "Unexpected JSON Token Type 'Array'. Expected a JSON Object.",
            ),
            (
                r#"{"version":1}"#,
                r#"Missing required property 'protocol'. Message content: {"version":1}"#,
            ),
            (
                r#"{"protocol":1,"version":1}"#,
                "Expected 'protocol' to be of type String.",
            ),
            (
                r#"{"protocol":"json","version":"1"}"#,
                "Expected 'version' to be of type Number.",
            ),
        ] {
            let general = "An unexpected error occurred during connection handshake.";
            let error = HandshakeRequest::decode(record.as_bytes()).unwrap_err();
            assert_eq!(error.text(false), general);
            assert_eq!(
                error.text(true),
                format!("{general} InvalidDataException: {why}")
            );
        }
    }

    #[test]
    fn the_answer_is_one_record() {
        assert_eq!(
            handshake_error("a \"b\""),
            "{\"error\":\"a \\\"b\\\"\"}\x1e"
        );
    }
}
