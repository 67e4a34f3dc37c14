//! What is known of the publishers of a log: the counter of the last frame of each.

use std::{collections::HashMap, mem};

use crate::PublisherId;

/// How many publishers are remembered, at least. Those that published last are kept.
const REMEMBERED: usize = 1_024;

/// How a frame's counter relates to what was seen of its publisher.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// Seen already: the frame is a repetition.
    Before,
    /// The next one, or the first one that is seen of this publisher.
    Next,
    /// A later one: frames between are missing.
    Ahead,
}

/// The last counter of every publisher, in two generations: when the young one is full it becomes
/// the old one, and the old one is forgotten.
#[derive(Debug, Default)]
pub(super) struct Publishers(Option<Box<Generations>>);

#[derive(Debug, Default)]
struct Generations {
    young: HashMap<PublisherId, Last>,
    old: HashMap<PublisherId, Last>,
    losses: u32,
}

#[derive(Clone, Copy, Debug)]
struct Last {
    counter: u64,
    /// How many losses were known when the counter was noted. A jump after a newer one is expected.
    losses: u32,
}

impl Publishers {
    /// Relates a frame to what was seen.
    pub(super) fn check(&self, publisher: PublisherId, counter: u64) -> Seen {
        let Some(known) = self.0.as_deref() else {
            return Seen::Next;
        };
        let Some(last) = known
            .young
            .get(&publisher)
            .or_else(|| known.old.get(&publisher))
        else {
            return Seen::Next;
        };
        if counter <= last.counter {
            Seen::Before
        } else if counter == last.counter + 1 || last.losses != known.losses {
            Seen::Next
        } else {
            Seen::Ahead
        }
    }

    /// Relates a frame to what was seen, and remembers it.
    pub(super) fn note(&mut self, publisher: PublisherId, counter: u64) -> Seen {
        let seen = self.check(publisher, counter);
        if seen == Seen::Before {
            return seen;
        }
        let known = self.0.get_or_insert_default();
        let losses = known.losses;
        known.young.insert(publisher, Last { counter, losses });
        if known.young.len() >= REMEMBERED {
            known.old = mem::take(&mut known.young);
        }
        seen
    }

    /// Frames were lost, and it is not known whose.
    pub(super) fn forgive(&mut self) {
        if let Some(known) = &mut self.0 {
            known.losses = known.losses.wrapping_add(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: PublisherId = PublisherId::new([1; 16]);

    #[test]
    fn a_counter_is_next_ahead_or_seen_before() {
        let mut publishers = Publishers::default();
        assert_eq!(publishers.note(A, 7), Seen::Next);
        assert_eq!(publishers.check(A, 8), Seen::Next);
        assert_eq!(publishers.check(A, 9), Seen::Ahead);
        assert_eq!(publishers.check(A, 7), Seen::Before);
    }

    #[test]
    fn after_a_known_loss_one_jump_is_expected() {
        let mut publishers = Publishers::default();
        publishers.note(A, 1);
        publishers.forgive();
        assert_eq!(publishers.note(A, 5), Seen::Next);
        assert_eq!(publishers.check(A, 5), Seen::Before);
        assert_eq!(publishers.check(A, 9), Seen::Ahead);
    }

    #[test]
    fn memory_is_bounded_and_the_recent_ones_are_kept() {
        let id = |n: u32| {
            let mut bytes = [0; 16];
            bytes[..4].copy_from_slice(&n.to_le_bytes());
            PublisherId::new(bytes)
        };
        let mut publishers = Publishers::default();
        for n in 0..10_000 {
            publishers.note(id(n), 1);
        }
        let known = publishers.0.as_deref().unwrap();
        assert!(known.young.len() + known.old.len() <= 2 * REMEMBERED);
        assert_eq!(publishers.check(id(9_999), 1), Seen::Before);
    }
}
