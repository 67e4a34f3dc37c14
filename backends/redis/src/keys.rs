//! Which keys and channel a log has.

use scaleout_core::LogName;

/// The names of one log: its hash (and channel, which is called the same) and its stream.
///
/// `so:{<log>}` and `so:{<log>}:s`. Redis Cluster hashes what stands between the first `{` and the
/// first `}` after it. The log's own name may have braces; both names begin alike up to there, so
/// they share a slot all the same. Two logs never share a name: one ends in `}`, the other in `s`,
/// and what stands before the ending is the log.
///
/// Channels know nothing of database numbers, so a number other than 0 is part of the name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key(Box<str>);

impl Key {
    pub(crate) const STREAM: &str = ":s";

    pub(crate) fn new(db: i64, log: &LogName) -> Self {
        Self(match db {
            0 => format!("so:{{{log}}}").into(),
            db => format!("so@{db}:{{{log}}}").into(),
        })
    }

    /// The hash with the log's state, and the channel.
    pub(crate) fn meta(&self) -> &str {
        &self.0
    }

    /// The stream with the log's frames.
    pub(crate) fn stream(&self) -> String {
        format!("{}{}", self.0, Self::STREAM)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use scaleout_core::{Namespace, Partitioning, Topic};

    use super::*;

    fn log(topic: &str) -> LogName {
        let topic = Topic::new(topic).unwrap();
        LogName::of_topic(&Namespace::default(), &topic, Partitioning::PerTopic)
    }

    /// The slot of a key, as the Redis Cluster specification defines it: CRC16 (XMODEM) of the hash
    /// tag, modulo 16384.
    fn slot(key: &str) -> u16 {
        let bytes = key.as_bytes();
        let tag = bytes.iter().position(|&b| b == b'{').and_then(|open| {
            let rest = &bytes[open + 1..];
            let close = rest.iter().position(|&b| b == b'}')?;
            (close > 0).then(|| &rest[..close])
        });
        let crc = tag.unwrap_or(bytes).iter().fold(0_u16, |crc, &byte| {
            (0..8).fold(crc ^ u16::from(byte) << 8, |crc, _| {
                let shifted = crc << 1;
                if crc & 0x8000 == 0 {
                    shifted
                } else {
                    shifted ^ 0x1021
                }
            })
        });
        crc % 16_384
    }

    #[test]
    fn the_slot_function_is_that_of_the_specification() {
        assert_eq!(slot("123456789"), 0x31c3);
        assert_eq!(slot("{user1000}.following"), slot("{user1000}.followers"));
        assert_eq!(slot("foo{{bar}}zap"), slot("{bar"));
    }

    #[test]
    fn another_database_has_another_channel() {
        assert_eq!(Key::new(0, &log("a")).meta(), "so:{scaleout/t/a}");
        assert_eq!(Key::new(3, &log("a")).meta(), "so@3:{scaleout/t/a}");
    }

    proptest! {
        #[test]
        fn all_keys_of_a_log_share_a_slot(topic in "[{}:s/a*.é]{1,20}") {
            let key = Key::new(0, &log(&topic));
            prop_assert_eq!(slot(key.meta()), slot(&key.stream()));
        }

        #[test]
        fn logs_never_share_a_key(one in "[{}:s]{1,8}", other in "[{}:s]{1,8}") {
            prop_assume!(one != other);
            let [one, other] = [one, other].map(|topic| Key::new(0, &log(&topic)));
            prop_assert_ne!(one.meta(), other.meta());
            prop_assert_ne!(one.stream(), other.stream());
            prop_assert_ne!(one.meta(), other.stream());
            prop_assert_ne!(one.stream(), other.meta());
        }
    }
}
