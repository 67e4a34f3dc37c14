//! [`Inbox`]: puts the messages of a subscription in the order of its own numbers, which have no holes.
//!
//! The service hands them out in that order, except for those that a connection took with it when it
//! died: they are locked for a while, and later ones go past them. It has no clock and no socket.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet},
};

use crate::transport::Incoming;

/// Messages that are held behind a hole, at most.
const MAX_HELD: usize = 1_024;
/// How far messages can come past each other that were asked for side by side.
const SPREAD: usize = 64;

#[derive(Debug)]
pub(crate) struct Inbox {
    /// The number that is due. Nothing before anything came, if what is first is not known.
    next: Option<i64>,
    /// What the topic numbered the last message with.
    last: i64,
    held: BTreeMap<i64, Incoming>,
    /// Numbers that are done with, of messages that may still be on their way as they were first delivered:
    /// where several are asked for at once, a later delivery may overtake an earlier one.
    late: BTreeSet<i64>,
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
            late: BTreeSet::new(),
        }
    }

    /// Skips what comes before the mark, of which some `passed`, and takes what overtook it.
    pub(crate) fn begin_after(&mut self, mark: &Incoming, mut passed: Passed) {
        let before = mark.sequence.saturating_sub_unsigned(SPREAD as u64).max(1)..mark.sequence;
        let missing = before.filter(|sequence| !passed.0.contains_key(sequence));
        self.late.extend(missing);
        self.held = passed.0.split_off(&mark.sequence);
        self.next = Some(mark.sequence + 1);
        self.last = mark.number;
    }

    /// Another receiver begins: what was on its way to the last one does not come any more.
    pub(crate) fn forget_late(&mut self) {
        self.late.clear();
    }

    /// Takes a message. What is due is taken out with [`due`](Self::due).
    pub(crate) fn put(&mut self, incoming: Incoming) -> Sorted {
        let next = *self.next.get_or_insert(incoming.sequence);
        if incoming.deliveries > 0 && incoming.sequence >= next {
            self.late.insert(incoming.sequence);
            if self.late.len() > MAX_HELD {
                self.late.pop_first();
            }
        }
        match incoming.sequence.cmp(&next) {
            // One that was delivered before comes again when its lock has ended.
            Ordering::Less if incoming.deliveries > 0 => Sorted::Repeated,
            Ordering::Less if self.late.remove(&incoming.sequence) => Sorted::Repeated,
            Ordering::Less => {
                let topic = incoming.number <= self.last;
                self.held.clear();
                self.late.clear();
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

/// The latest messages that came before a mark did.
#[derive(Debug, Default)]
pub(crate) struct Passed(BTreeMap<i64, Incoming>);

impl Passed {
    pub(crate) fn push(&mut self, incoming: Incoming) {
        self.0.insert(incoming.sequence, incoming);
        if self.0.len() > 2 * SPREAD {
            self.0.pop_first();
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
        assert_eq!(inbox.put(again(2)), Sorted::Repeated);
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

    fn again(sequence: i64) -> Incoming {
        Incoming {
            deliveries: 1,
            ..message(sequence)
        }
    }

    #[test]
    fn a_first_delivery_that_was_overtaken_by_the_second_tells_of_no_other_subscription() {
        let mut inbox = Inbox::from_the_first();
        assert_eq!(inbox.put(again(1)), Sorted::Due);
        assert_eq!(due(&mut inbox), [1]);
        assert_eq!(inbox.put(message(1)), Sorted::Repeated);
        // It was delivered for the first time once in this life.
        assert_eq!(inbox.put(message(1)), Sorted::Restarted { topic: true });
    }

    #[test]
    fn what_was_on_its_way_to_another_receiver_does_not_hide_that_the_topic_is_new() {
        let mut inbox = Inbox::from_the_first();
        inbox.put(again(1));
        due(&mut inbox);
        inbox.forget_late();
        assert_eq!(inbox.put(message(1)), Sorted::Restarted { topic: true });
    }

    #[test]
    fn a_mark_and_its_neighbours_may_come_past_each_other() {
        let mut inbox = Inbox::anywhere();
        let mut passed = Passed::default();
        for sequence in [5, 8, 10] {
            passed.push(message(sequence));
        }
        inbox.begin_after(&message(7), passed);
        assert_eq!(due(&mut inbox), [8]);
        assert_eq!(inbox.put(message(6)), Sorted::Repeated);
        assert_eq!(inbox.put(message(9)), Sorted::Due);
        assert_eq!(due(&mut inbox), [9, 10]);
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
