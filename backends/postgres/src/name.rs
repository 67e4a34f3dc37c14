//! [`Name`]: what a log's channel is called.

use std::fmt;

use scaleout_core::LogName;
use sha2::{Digest, Sha256};

const PREFIX: &str = "scaleout_";
const BYTES: usize = 16;

/// The channel of a log: `scaleout_` and 32 hexadecimal digits.
///
/// Identifiers are cut at 63 bytes, so it is a hash of the log's name; the schema computes the same.
/// Kept as bytes, as a node may listen on many thousands.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Name([u8; BYTES]);

impl Name {
    pub(crate) fn of(log: &LogName) -> Self {
        let hash = Sha256::digest(log.key().as_bytes());
        let mut name = [0; BYTES];
        name.copy_from_slice(&hash[..BYTES]);
        Self(name)
    }

    /// Reads a channel's name; `None` if it is not one of ours.
    pub(crate) fn parse(channel: &str) -> Option<Self> {
        let digits = channel.strip_prefix(PREFIX)?;
        let ours = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if digits.len() != 2 * BYTES || !digits.bytes().all(ours) {
            return None;
        }
        let name = u128::from_str_radix(digits, 16).ok()?;
        Some(Self(name.to_be_bytes()))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{:032x}", u128::from_be_bytes(self.0))
    }
}

#[cfg(test)]
mod tests {
    use scaleout_core::{Namespace, Partitioning, Topic};

    use super::*;

    #[test]
    fn a_name_is_read_back() {
        let topic = Topic::new("room/42").unwrap();
        let log = LogName::of_topic(&Namespace::default(), &topic, Partitioning::PerTopic);
        let name = Name::of(&log);
        assert!(Name::parse(&name.to_string()) == Some(name));
        assert_eq!(name.to_string().len(), PREFIX.len() + 2 * BYTES);
    }

    #[test]
    fn what_is_not_a_name_is_refused() {
        for other in [
            "",
            "scaleout_",
            "scaleout_0123",
            "scaleout_0123456789ABCDEF0123456789ABCDEF",
            "scaleout_+123456789abcdef0123456789abcdef",
            "scaleout_0123456789abcdef0123456789abcdef0",
            "somebody_0123456789abcdef0123456789abcdef",
        ] {
            assert!(Name::parse(other).is_none(), "{other}");
        }
    }
}
