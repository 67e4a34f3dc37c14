use std::{collections::BTreeSet, time::Duration};

use scaleout_core::{Epoch, Event, Position, Reset, ResetReason, Sequence, Topic};

use super::Value;

/// Everything that was recorded in a run. Times count from the run's start, on one clock.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// Publishes, in the order in which they were invoked.
    pub publishes: Vec<Publish>,
    /// Subscriptions and what they yielded.
    pub subscribers: Vec<Subscriber>,
    /// Reads of a log's head.
    pub reads: Vec<Read>,
    /// The faults that were injected, in words.
    pub faults: Vec<(Duration, String)>,
    /// What the logs held when everything had ended.
    pub finals: Vec<Final>,
}

impl History {
    /// The topics that occur.
    pub(super) fn logs(&self) -> BTreeSet<Topic> {
        let publishes = self.publishes.iter().map(|publish| &publish.topic);
        let subscribers = self.subscribers.iter().map(|subscriber| &subscriber.topic);
        publishes.chain(subscribers).cloned().collect()
    }
}

/// One publish.
#[derive(Clone, Debug)]
pub struct Publish {
    /// Where to.
    pub topic: Topic,
    /// The node it was published on.
    pub node: usize,
    /// What it carries. Its publisher's values are counted in the order of invocation.
    pub value: Value,
    /// When it was invoked.
    pub invoked: Duration,
    /// How and when it ended. A publish that never ended is [`Ending::Unknown`].
    pub ending: Ending,
}

/// How a publish ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Stored, at this position, known at this time.
    Ok(Position, Duration),
    /// Certainly not stored.
    Fail,
    /// May be stored, now or later, once.
    Unknown,
}

/// One subscription.
#[derive(Clone, Debug)]
pub struct Subscriber {
    /// Its topic.
    pub topic: Topic,
    /// The node it lives on.
    pub node: usize,
    /// Where it began.
    pub start: SubscriberStart,
    /// What it yielded.
    pub observations: Vec<Observation>,
    /// Whether it was followed until everything had arrived, so that what it lacks is lost.
    pub drained: bool,
}

/// Where a subscription began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SubscriberStart {
    /// Just after this position.
    After(Position),
    /// At the oldest message that was retained.
    Earliest,
    /// Somewhere: its first observation says where.
    Unknown,
}

/// What a subscription yielded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Observation {
    /// A message; `None` if its payload is no value at all.
    Entry(Position, Option<Value>),
    /// A gap: epoch, first and last.
    Gap(Epoch, Sequence, Sequence),
    /// A reset to this epoch, because the epoch changed.
    EpochChanged(Epoch),
    /// A reset within this epoch, because the position lay beyond the head.
    AheadOfHead(Epoch),
    /// A frame that could not be read: epoch, first and last.
    Unreadable(Epoch, Sequence, Sequence),
    /// The end.
    Closed,
}

impl Observation {
    /// What of an event the checker judges. An event of a kind it does not know ends the run: it must
    /// be taught first.
    ///
    /// # Panics
    ///
    /// On an event that this version of the suite does not know.
    pub fn of(event: &Event) -> Self {
        match event {
            Event::Message(entry) => {
                Self::Entry(entry.position(), Value::from_payload(entry.payload()))
            }
            Event::Gap(gap) => Self::Gap(gap.epoch, gap.first, gap.last),
            Event::Reset(Reset { epoch, reason, .. }) => match reason {
                ResetReason::EpochChanged => Self::EpochChanged(*epoch),
                ResetReason::AheadOfHead => Self::AheadOfHead(*epoch),
                _ => panic!("the checker does not know {event:?}"),
            },
            Event::Unreadable(frame) => Self::Unreadable(frame.epoch, frame.first, frame.last),
            Event::Closed(_) => Self::Closed,
            _ => panic!("the checker does not know {event:?}"),
        }
    }

    /// Where a subscription stands after it, if it moves one.
    pub fn end(&self) -> Option<Position> {
        match *self {
            Self::Entry(position, _) => Some(position),
            Self::Gap(epoch, _, last) | Self::Unreadable(epoch, _, last) => {
                Some(Position::new(epoch, last))
            }
            Self::EpochChanged(epoch) => Some(Position::new(epoch, Sequence::ZERO)),
            Self::AheadOfHead(_) | Self::Closed => None,
        }
    }
}

/// One read of a log's head.
#[derive(Clone, Debug)]
pub struct Read {
    /// Of what.
    pub topic: Topic,
    /// The node that was asked.
    pub node: usize,
    /// When it was invoked.
    pub invoked: Duration,
    /// The newest position that it showed.
    pub head: Position,
}

/// What a log held when everything had ended, as a fresh node found it.
#[derive(Clone, Debug)]
pub struct Final {
    /// Which log.
    pub topic: Topic,
    /// Its epoch.
    pub epoch: Epoch,
    /// Its oldest retained message.
    pub floor: Sequence,
    /// What a subscription from the oldest message on yielded, up to the head.
    pub entries: Vec<(Sequence, Option<Value>)>,
}

impl Final {
    /// The newest message that was found.
    pub(super) fn head(&self) -> Sequence {
        self.entries
            .last()
            .map_or(Sequence::ZERO, |(sequence, _)| *sequence)
    }

    /// Whether a message was found at this place.
    pub(super) fn holds(&self, sequence: Sequence) -> bool {
        self.entries
            .binary_search_by_key(&sequence, |(found, _)| *found)
            .is_ok()
    }
}
