//! [`Inbox`]: puts the messages of a subscription in the order of its own numbers, which have no holes.
//!
//! The service hands them out in that order, except for those that a connection took with it when it
//! died: they are locked for a while, and later ones go past them. It has no clock and no socket.

use std::{cmp::Ordering, collections::BTreeMap};

use crate::transport::Incoming;

/// Messages that are held behind a hole, at most.
const MAX_HELD: usize = 1_024;

#[derive(Debug)]
pub(crate) struct Inbox {
    /// The number that is due. Nothing before anything came, if what is first is not known.
    next: Option<i64>,
    /// What the topic numbered the last message with.
    last: i64,
    held: BTreeMap<i64, Incoming>,
}

/// What to make of a message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Sorted {
    /// It was handed over before.
    Repeated,
    /// It is due, or what was held is.
    Due,
    /// These numbers are missing before it. It is held.
    Hole { from: i64, to: i64 },
    /// The subscription counts anew: it was deleted and created again. So was the topic if `topic`.
    Restarted { topic: bool },
}

impl Inbox {
    /// Of a subscription that was just made.
    pub(crate) fn from_the_first() -> Self {
        Self {
            next: Some(1),
            ..Self::anywhere()
        }
    }

    /// Of a subscription that may have given messages out before.
    pub(crate) fn anywhere() -> Self {
        Self {
            next: None,
            last: 0,
            held: BTreeMap::new(),
        }
    }

    /// Begins after this number.
    pub(crate) fn begin_after(&mut self, incoming: &Incoming) {
        self.next = Some(incoming.sequence + 1);
        self.last = incoming.number;
    }

    /// Takes a message. What is due is taken out with [`due`](Self::due).
    pub(crate) fn put(&mut self, incoming: Incoming) -> Sorted {
        let next = *self.next.get_or_insert(incoming.sequence);
        match incoming.sequence.cmp(&next) {
            // One that was delivered before comes again when its lock has ended.
            Ordering::Less if incoming.deliveries > 0 => Sorted::Repeated,
            Ordering::Less => {
                let topic = incoming.number <= self.last;
                self.held.clear();
                self.next = Some(incoming.sequence);
                self.held.insert(incoming.sequence, incoming);
                Sorted::Restarted { topic }
            }
            Ordering::Equal => {
                self.held.insert(incoming.sequence, incoming);
                Sorted::Due
            }
            Ordering::Greater => {
                let to = incoming.sequence;
                self.held.entry(to).or_insert(incoming);
                // From the lowest that is held on, there may be holes behind this one.
                let first = self.held.keys().next().copied().unwrap_or(to);
                Sorted::Hole {
                    from: next,
                    to: first - 1,
                }
            }
        }
    }

    /// Takes what was found in a hole.
    pub(crate) fn fill(&mut self, found: Vec<Incoming>) {
        let next = self.next.unwrap_or_default();
        for incoming in found {
            if incoming.sequence >= next {
                self.held.entry(incoming.sequence).or_insert(incoming);
            }
        }
    }

    /// The next message that is due.
    pub(crate) fn due(&mut self) -> Option<Incoming> {
        let next = self.next?;
        let incoming = self.held.remove(&next)?;
        self.next = Some(next + 1);
        self.last = incoming.number;
        Some(incoming)
    }

    /// Whether something is held behind a hole.
    pub(crate) fn has_hole(&self) -> bool {
        !self.held.is_empty()
    }

    /// Whether no more can be held.
    pub(crate) fn is_full(&self) -> bool {
        self.held.len() >= MAX_HELD
    }

    /// Gives up what is missing before the first that is held.
    pub(crate) fn give_up(&mut self) {
        if let Some(first) = self.held.keys().next() {
            self.next = Some(*first);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(sequence: i64) -> Incoming {
        Incoming {
            number: 100 + sequence,
            sequence,
            deliveries: 0,
            body: bytes::Bytes::new(),
        }
    }

    fn due(inbox: &mut Inbox) -> Vec<i64> {
        std::iter::from_fn(|| inbox.due())
            .map(|message| message.sequence)
            .collect()
    }

    #[test]
    fn what_comes_in_order_is_due_at_once() {
        let mut inbox = Inbox::from_the_first();
        for sequence in 1..4 {
            assert_eq!(inbox.put(message(sequence)), Sorted::Due);
            assert_eq!(due(&mut inbox), [sequence]);
        }
    }

    #[test]
    fn what_was_locked_is_waited_for_and_comes_first() {
        let mut inbox = Inbox::from_the_first();
        assert_eq!(inbox.put(message(3)), Sorted::Hole { from: 1, to: 2 });
        assert_eq!(inbox.put(message(4)), Sorted::Hole { from: 1, to: 2 });
        assert_eq!(due(&mut inbox), [0; 0]);
        inbox.fill(vec![message(1), message(2)]);
        assert_eq!(due(&mut inbox), [1, 2, 3, 4]);
        let again = Incoming {
            deliveries: 1,
            ..message(2)
        };
        assert_eq!(inbox.put(again), Sorted::Repeated);
        assert!(!inbox.has_hole());
    }

    #[test]
    fn a_hole_that_stays_is_given_up() {
        let mut inbox = Inbox::from_the_first();
        inbox.put(message(5));
        inbox.give_up();
        assert_eq!(due(&mut inbox), [5]);
    }

    #[test]
    fn a_subscription_of_somebody_elses_begins_anywhere() {
        let mut inbox = Inbox::anywhere();
        assert_eq!(inbox.put(message(7)), Sorted::Due);
        assert_eq!(due(&mut inbox), [7]);
    }

    #[test]
    fn numbers_that_go_back_tell_of_another_subscription_or_topic() {
        let mut inbox = Inbox::from_the_first();
        inbox.put(message(1));
        inbox.put(message(2));
        due(&mut inbox);
        let mut later = message(1);
        later.number = 500;
        assert_eq!(inbox.put(later), Sorted::Restarted { topic: false });
        assert_eq!(due(&mut inbox), [1]);
        inbox.put(message(2));
        due(&mut inbox);
        assert_eq!(inbox.put(message(1)), Sorted::Restarted { topic: true });
    }
}
