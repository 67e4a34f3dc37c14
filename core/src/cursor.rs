//! [`Cursor`]: a place in a topic that can leave the process.

use std::{fmt, str::FromStr};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use crate::{Epoch, Error, ErrorKind, Position, Result, Sequence, Topic};

/// First byte of an encoded cursor.
const VERSION: u8 = 1;
/// Version, epoch, sequence.
const HEAD: usize = 1 + 16 + 8;

/// A place in a topic: topic, epoch and sequence. Hand its text to any node, in any process, and
/// continue exactly after it.
///
/// The text (`Display` and `FromStr`) is opaque, URL-safe, and at most 374 characters long. It holds
/// no secret, and is not signed: an application that lets strangers name cursors must itself check
/// that they may read [`Cursor::topic`].
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Cursor {
    topic: Topic,
    position: Position,
}

impl Cursor {
    /// The place `position` in `topic`.
    pub fn new(topic: Topic, position: Position) -> Self {
        Self { topic, position }
    }

    /// The topic it belongs to.
    pub fn topic(&self) -> &Topic {
        &self.topic
    }

    /// The place in the topic's log.
    pub fn position(&self) -> Position {
        self.position
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = Vec::with_capacity(HEAD + self.topic.as_str().len());
        bytes.push(VERSION);
        bytes.extend(self.position.epoch.get().to_be_bytes());
        bytes.extend(self.position.sequence.get().to_be_bytes());
        bytes.extend(self.topic.as_str().as_bytes());
        f.write_str(&URL_SAFE_NO_PAD.encode(bytes))
    }
}

impl fmt::Debug for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Cursor({:?} {}@{})",
            self.topic, self.position.sequence, self.position.epoch
        )
    }
}

impl FromStr for Cursor {
    type Err = Error;

    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] if the text is not a cursor, or one of a newer version.
    fn from_str(text: &str) -> Result<Self> {
        let invalid =
            |why: &str| Error::new(ErrorKind::InvalidInput, format!("not a cursor: {why}"));
        let bytes = URL_SAFE_NO_PAD
            .decode(text)
            .map_err(|_| invalid("it is not base64url text as a receipt or an entry gives it"))?;
        let (&version, rest) = bytes.split_first().ok_or_else(|| invalid("it is empty"))?;
        if version != VERSION {
            return Err(invalid(&format!(
                "version {version} is unknown; this library reads version {VERSION}"
            )));
        }
        let (epoch, rest) = rest
            .split_first_chunk()
            .ok_or_else(|| invalid("it is cut short"))?;
        let (sequence, topic) = rest
            .split_first_chunk()
            .ok_or_else(|| invalid("it is cut short"))?;
        let topic = std::str::from_utf8(topic).map_err(|_| invalid("its topic is not UTF-8"))?;
        Ok(Self {
            topic: Topic::new(topic).map_err(|error| error.context("not a cursor"))?,
            position: Position::new(
                Epoch::new(u128::from_be_bytes(*epoch)),
                Sequence::new(u64::from_be_bytes(*sequence)),
            ),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sample() -> Cursor {
        Cursor::new(
            Topic::new("room/42").unwrap(),
            Position::new(Epoch::new(0x0102), Sequence::new(7)),
        )
    }

    #[test]
    fn text_stays_readable_by_later_versions() {
        let golden = "AQAAAAAAAAAAAAAAAAAAAQIAAAAAAAAAB3Jvb20vNDI";
        assert_eq!(sample().to_string(), golden);
        assert_eq!(golden.parse::<Cursor>().unwrap(), sample());
    }

    #[test]
    fn a_foreign_text_is_refused_with_a_reason() {
        let error = |text: &str| text.parse::<Cursor>().unwrap_err().to_string();
        assert!(error("latest").contains("not a cursor"));
        assert!(error("").contains("empty"));
        assert!(error("AgAA").contains("version 2 is unknown"));
        assert!(error("AQAA").contains("cut short"));
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in ".{0,80}") {
            let _ = text.parse::<Cursor>();
        }

        #[test]
        fn every_cursor_comes_back(topic in "\\PC{1,60}", epoch: u128, sequence: u64) {
            prop_assume!(topic.len() <= Topic::MAX_BYTES);
            let cursor = Cursor::new(
                Topic::new(topic).unwrap(),
                Position::new(Epoch::new(epoch), Sequence::new(sequence)),
            );
            prop_assert_eq!(cursor.to_string().parse::<Cursor>().unwrap(), cursor);
        }
    }
}
