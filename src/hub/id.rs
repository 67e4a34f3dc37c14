//! [`ConnectionId`]: names a client's connection, and the node that holds it.

use std::{fmt, sync::Arc};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Bytes of the node's part; a multiple of 3, so that it ends on a character boundary in base64.
const NODE_BYTES: usize = 9;
const NODE_CHARS: usize = NODE_BYTES / 3 * 4;
/// 128 bits that nobody can guess: in negotiate version 0 the id is also the connection's secret.
const RANDOM_BYTES: usize = 16;

/// Names one connection of one client, on whatever node it is.
///
/// The text is opaque and compared byte by byte. It is public: hub code hands it to other clients so
/// that they can address this one. A client that reconnects gets another one.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(Arc<str>);

impl ConnectionId {
    /// A new id of a connection on `node`.
    pub(super) fn random(node: &NodeTag) -> Self {
        let mut text = String::with_capacity(NODE_CHARS + RANDOM_BYTES.div_ceil(3) * 4);
        text.push_str(&node.0);
        URL_SAFE_NO_PAD.encode_string(random::<RANDOM_BYTES>(), &mut text);
        Self(text.into())
    }

    /// The node that holds the connection; `None` if this is not an id that a hub made.
    pub(super) fn node(&self) -> Option<&str> {
        let node = self.0.get(..NODE_CHARS)?;
        let made_here = self.0.len() == NODE_CHARS + 22
            && self
                .0
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
        made_here.then_some(node)
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for ConnectionId {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl From<&str> for ConnectionId {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

impl From<String> for ConnectionId {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

impl From<&Self> for ConnectionId {
    fn from(id: &Self) -> Self {
        id.clone()
    }
}

impl std::borrow::Borrow<str> for ConnectionId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl Serialize for ConnectionId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for ConnectionId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::from)
    }
}

/// Names one hub on one node: the part that its connections' ids share. Two hubs built on one
/// `Backplane` have different ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NodeTag(Arc<str>);

impl NodeTag {
    pub(super) fn random() -> Self {
        Self(URL_SAFE_NO_PAD.encode(random::<NODE_BYTES>()).into())
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

/// The secret that a client shows to attach a transport to its connection.
pub(super) fn token() -> Arc<str> {
    URL_SAFE_NO_PAD.encode(random::<16>()).into()
}

#[expect(
    clippy::expect_used,
    reason = "a system without randomness cannot run any of this"
)]
fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the operating system has randomness");
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_tells_its_node() {
        let node = NodeTag::random();
        let id = ConnectionId::random(&node);
        assert_eq!(id.node(), Some(node.as_str()));
        assert_ne!(id, ConnectionId::random(&node));
    }

    #[test]
    fn a_foreign_id_belongs_to_no_node() {
        for text in ["", "abc", "wgte9BuiyHtZeSqUPz4K-Q", "é".repeat(17).as_str()] {
            assert_eq!(ConnectionId::from(text).node(), None, "{text:?}");
        }
    }
}
