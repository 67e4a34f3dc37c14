//! Names: what applications publish to ([`Topic`]) and what brokers store ([`LogName`]).

use std::{fmt, sync::Arc};

use crate::{Error, ErrorKind, Partitioning, Result};

/// What an application publishes to and subscribes to, such as `room/42`.
///
/// Any UTF-8 text of 1 to 255 bytes. Topics are compared byte by byte: case matters, and no Unicode
/// normalisation takes place.
///
/// ```
/// # use scaleout_core::Topic;
/// let topic = Topic::new("room/42")?;
/// assert_eq!(topic.as_str(), "room/42");
/// assert!(Topic::new("").is_err());
/// # Ok::<(), scaleout_core::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Topic(Arc<str>);

impl Topic {
    /// The longest topic name, in bytes.
    pub const MAX_BYTES: usize = 255;

    /// Checks and takes a name.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] if the name is empty or longer than [`Topic::MAX_BYTES`].
    pub fn new(name: impl AsRef<str>) -> Result<Self> {
        let name = name.as_ref();
        if name.is_empty() {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                "a topic name must not be empty; 1 to 255 bytes of UTF-8 are allowed",
            ));
        }
        if name.len() > Self::MAX_BYTES {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                format!(
                    "a topic name of {} bytes is too long; 1 to 255 bytes of UTF-8 are allowed",
                    name.len()
                ),
            ));
        }
        Ok(Self(name.into()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for Topic {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl TryFrom<&str> for Topic {
    type Error = Error;

    fn try_from(name: &str) -> Result<Self> {
        Self::new(name)
    }
}

impl TryFrom<String> for Topic {
    type Error = Error;

    fn try_from(name: String) -> Result<Self> {
        Self::new(name)
    }
}

impl From<&Self> for Topic {
    fn from(topic: &Self) -> Self {
        topic.clone()
    }
}

impl std::str::FromStr for Topic {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Self::new(name)
    }
}

/// Keeps applications that share a broker apart. Nodes see each other only within one namespace.
///
/// 1 to 64 characters out of `A-Z a-z 0-9 _ . -`, so that every broker can carry it unescaped.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Namespace(Arc<str>);

impl Namespace {
    /// Checks and takes a name.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] if the name is empty, longer than 64 bytes, or has another
    /// character than `A-Z a-z 0-9 _ . -`.
    pub fn new(name: impl AsRef<str>) -> Result<Self> {
        let name = name.as_ref();
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
        if name.is_empty() || name.len() > 64 || !name.bytes().all(allowed) {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                format!(
                    "namespace {name:?} is not allowed; use 1 to 64 characters of A-Z a-z 0-9 _ . -"
                ),
            ));
        }
        Ok(Self(name.into()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for Namespace {
    /// `scaleout`
    fn default() -> Self {
        Self("scaleout".into())
    }
}

impl fmt::Display for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// The broker-side sequence that carries one topic, or a fixed share of all topics.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct LogName {
    namespace: Namespace,
    carries: Carries,
}

/// Which topics a log carries.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Carries {
    /// One topic.
    Topic(Topic),
    /// Share `index` of all topics of the namespace, which are spread over `count` logs.
    Share {
        /// Which share, from 0.
        index: u16,
        /// How many shares there are.
        count: u16,
    },
}

impl LogName {
    /// The log that carries `topic` under `partitioning`.
    pub fn of_topic(namespace: &Namespace, topic: &Topic, partitioning: Partitioning) -> Self {
        let carries = match partitioning {
            Partitioning::PerTopic => Carries::Topic(topic.clone()),
            Partitioning::Shared(count) => Carries::Share {
                index: share_of(topic, count.get()),
                count: count.get(),
            },
        };
        Self {
            namespace: namespace.clone(),
            carries,
        }
    }

    /// The namespace that the log belongs to.
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// Which topics the log carries.
    pub fn carries(&self) -> &Carries {
        &self.carries
    }

    /// The name as text that no other log has: `<namespace>/t/<topic>` or
    /// `<namespace>/s/<count>/<index>`. A namespace has no slash, so nothing needs escaping. Up to
    /// 322 bytes; a broker that takes less must shorten it without merging two logs.
    pub fn key(&self) -> String {
        self.to_string()
    }
}

impl fmt::Display for LogName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.carries {
            Carries::Topic(topic) => write!(f, "{}/t/{topic}", self.namespace),
            Carries::Share { index, count } => write!(f, "{}/s/{count}/{index}", self.namespace),
        }
    }
}

impl fmt::Debug for LogName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LogName({:?})", self.key())
    }
}

/// FNV-1a over the topic's bytes, reduced to a share. Every node of every version must agree on it,
/// so it is spelled out here instead of taken from a hasher that may change.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the remainder is below a u16"
)]
fn share_of(topic: &Topic, count: u16) -> u16 {
    let hash = topic
        .as_str()
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
    // The low bits of FNV-1a mix better than its high ones; fold both in.
    ((hash ^ (hash >> 32)) % u64::from(count)) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topic_length_is_counted_in_bytes() {
        assert!(Topic::new("x".repeat(255)).is_ok());
        assert_eq!(
            Topic::new("é".repeat(128)).unwrap_err().kind(),
            ErrorKind::InvalidInput
        );
    }

    #[test]
    fn namespace_refuses_what_a_broker_would_have_to_escape() {
        for bad in ["", "a/b", "a:b", "a b", "ä", &"n".repeat(65)] {
            assert!(Namespace::new(bad).is_err(), "{bad:?}");
        }
        assert!(Namespace::new("chat-eu.v2_A").is_ok());
    }

    #[test]
    fn log_keys_are_distinct() {
        let ns = Namespace::default();
        let per_topic = |t| LogName::of_topic(&ns, &Topic::new(t).unwrap(), Partitioning::PerTopic);
        assert_eq!(per_topic("a").key(), "scaleout/t/a");
        assert_ne!(per_topic("s/4/1").key(), "scaleout/s/4/1");
    }

    #[test]
    fn shares_are_the_same_on_every_version() {
        let share = |t| share_of(&Topic::new(t).unwrap(), 16);
        assert_eq!(["a", "b", "room/1", "room/2"].map(share), SHARES);
    }

    /// Golden values: a change here strands every topic of every running cluster.
    const SHARES: [u16; 4] = [0, 9, 14, 3];
}
