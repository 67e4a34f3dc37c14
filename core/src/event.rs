//! What a subscription yields: [`Event`].

use std::{fmt, sync::Arc, time::SystemTime};

use bytes::Bytes;

use crate::{Cursor, Epoch, Error, Frame, Message, Position, Sequence, Topic};

/// What a subscription yields. Nothing is lost without one of these in its place.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event {
    /// A message.
    Message(Entry),
    /// Messages that existed and can no longer be delivered. What follows comes after them.
    Gap(Gap),
    /// The log's life ended, or the position lies beyond its head. What follows belongs to
    /// [`Reset::epoch`].
    Reset(Reset),
    /// A frame that this version of the library cannot read, or that something else wrote into the
    /// log. It was skipped.
    Unreadable(Unreadable),
    /// The subscription is over, because the backplane was closed (`None`) or because of a permanent
    /// error. Nothing follows.
    Closed(Option<Error>),
}

/// A message at its position.
///
/// Cheap to clone. It shares the memory of the frame it came in, which is freed when the last entry
/// (or payload) of that frame is dropped.
#[derive(Clone)]
pub struct Entry {
    topic: Topic,
    position: Position,
    frame: Arc<Frame>,
    index: u32,
}

impl Entry {
    pub(crate) fn new(topic: Topic, position: Position, frame: Arc<Frame>, index: u32) -> Self {
        debug_assert!((index as usize) < frame.messages().len());
        Self {
            topic,
            position,
            frame,
            index,
        }
    }

    /// The topic.
    pub fn topic(&self) -> &Topic {
        &self.topic
    }

    /// Where it stands.
    pub fn position(&self) -> Position {
        self.position
    }

    /// Its number in the log.
    pub fn sequence(&self) -> Sequence {
        self.position.sequence
    }

    /// The life of the log it belongs to.
    pub fn epoch(&self) -> Epoch {
        self.position.epoch
    }

    /// The cursor to continue exactly after it.
    pub fn cursor(&self) -> Cursor {
        Cursor::new(self.topic.clone(), self.position)
    }

    /// Payload and headers.
    pub fn message(&self) -> &Message {
        &self.frame.messages()[self.index as usize]
    }

    /// The payload.
    pub fn payload(&self) -> &Bytes {
        self.message().payload()
    }

    /// The value of the first header of that name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.message().header(name)
    }

    /// When it left its publisher, by the publisher's clock, to the millisecond. Advisory: nothing
    /// is ordered by it.
    pub fn published_at(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH
            .checked_add(std::time::Duration::from_millis(
                self.frame.published_at_millis(),
            ))
            .unwrap_or(SystemTime::UNIX_EPOCH)
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry")
            .field("topic", &self.topic)
            .field("sequence", &self.sequence().get())
            .field("epoch", &self.epoch())
            .field("payload", self.payload())
            .finish()
    }
}

/// Messages of a log that can no longer be delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Gap {
    /// The life of the log.
    pub epoch: Epoch,
    /// The first sequence that is missing.
    pub first: Sequence,
    /// The last sequence that is missing.
    pub last: Sequence,
}

impl Gap {
    pub(crate) fn new(epoch: Epoch, first: Sequence, last: Sequence) -> Self {
        debug_assert!(first <= last);
        Self { epoch, first, last }
    }
}

/// The sequence starts anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reset {
    /// The life of the log that what follows belongs to.
    pub epoch: Epoch,
    /// Why.
    pub reason: ResetReason,
}

impl Reset {
    pub(crate) fn new(epoch: Epoch, reason: ResetReason) -> Self {
        Self { epoch, reason }
    }
}

/// Why a sequence starts anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ResetReason {
    /// The broker lost or recreated the log. All that the new life still holds follows, from its
    /// first message.
    EpochChanged,
    /// The position lies beyond the log's head: the broker fell back to older data. What is appended
    /// from now on follows.
    AheadOfHead,
}

/// A frame that was skipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Unreadable {
    /// The life of the log.
    pub epoch: Epoch,
    /// Its first sequence.
    pub first: Sequence,
    /// Its last sequence.
    pub last: Sequence,
    /// Why it cannot be read.
    pub reason: crate::FrameError,
}

impl Unreadable {
    pub(crate) fn new(
        epoch: Epoch,
        first: Sequence,
        last: Sequence,
        reason: crate::FrameError,
    ) -> Self {
        Self {
            epoch,
            first,
            last,
            reason,
        }
    }
}

/// Where a subscription begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// With what is published from now on.
    Latest,
    /// With the oldest message that the broker retains.
    Earliest,
    /// Just after a message.
    After(Cursor),
}

/// Proof that a message is stored, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    cursor: Cursor,
}

impl Receipt {
    pub(crate) fn new(cursor: Cursor) -> Self {
        Self { cursor }
    }

    /// The position at which everybody gets the message.
    pub fn cursor(&self) -> &Cursor {
        &self.cursor
    }

    /// Its number in the log.
    pub fn sequence(&self) -> Sequence {
        self.cursor.position().sequence
    }

    /// The life of the log it belongs to.
    pub fn epoch(&self) -> Epoch {
        self.cursor.position().epoch
    }
}

/// The ends of a log at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Head {
    /// The place after the newest message; a log without messages has [`Sequence::ZERO`] there.
    pub cursor: Cursor,
    /// The oldest message that is retained; one past the head if none is.
    pub floor: Sequence,
}
