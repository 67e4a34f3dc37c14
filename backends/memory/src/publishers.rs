//! [`Publishers`]: what a log remembers to recognise a repetition.

use std::collections::HashMap;

use scaleout_core::{PublisherId, Sequence};

/// How many publishers a log remembers at least: those that stored a frame most recently. A
/// publisher is one node's, and repeats a frame within its publish timeout.
const REMEMBERED: usize = 1_024;

/// The last frame of each publisher. Only the last: a publisher sends the next frame when it knows
/// that this one is stored.
#[derive(Debug, Default)]
pub(crate) struct Publishers {
    last: HashMap<PublisherId, Last>,
}

#[derive(Clone, Copy, Debug)]
struct Last {
    counter: u64,
    first: Sequence,
}

/// What a publisher's counter says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Repetition {
    /// The frame was not seen before.
    None,
    /// The publisher's last frame again; it is stored from this sequence on.
    OfLast(Sequence),
    /// A frame from before the publisher's last one, late: the publisher knows its position already.
    OfOlder,
}

impl Publishers {
    /// Whether the log has seen the frame.
    pub(crate) fn check(&self, publisher: PublisherId, counter: u64) -> Repetition {
        match self.last.get(&publisher) {
            Some(last) if counter == last.counter => Repetition::OfLast(last.first),
            Some(last) if counter < last.counter => Repetition::OfOlder,
            _ => Repetition::None,
        }
    }

    /// Remembers a frame that is stored from `first` on.
    pub(crate) fn remember(&mut self, publisher: PublisherId, counter: u64, first: Sequence) {
        self.last.insert(publisher, Last { counter, first });
        // Forgetting half at a time costs a pass over the map once per `REMEMBERED` newcomers.
        if self.last.len() > 2 * REMEMBERED {
            let mut firsts: Vec<_> = self.last.values().map(|last| last.first).collect();
            let forgotten = firsts.len() - REMEMBERED;
            let (_, &mut oldest_kept, _) = firsts.select_nth_unstable(forgotten);
            self.last.retain(|_, last| last.first >= oldest_kept);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn publisher(number: u64) -> PublisherId {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&number.to_le_bytes());
        PublisherId::new(bytes)
    }

    #[test]
    fn the_last_frame_is_answered_with_its_position() {
        let mut publishers = Publishers::default();
        publishers.remember(publisher(1), 1, Sequence::new(10));
        publishers.remember(publisher(1), 2, Sequence::new(11));
        let check = |number, counter| publishers.check(publisher(number), counter);
        assert_eq!(check(1, 1), Repetition::OfOlder);
        assert_eq!(check(1, 2), Repetition::OfLast(Sequence::new(11)));
        assert_eq!(check(1, 3), Repetition::None);
        assert_eq!(check(2, 2), Repetition::None);
    }

    #[test]
    fn the_most_recent_publishers_are_remembered_and_memory_is_bounded() {
        let mut publishers = Publishers::default();
        for number in 0..10 * REMEMBERED as u64 {
            publishers.remember(publisher(number), 1, Sequence::new(number + 1));
            assert!(publishers.last.len() <= 2 * REMEMBERED);
        }
        let newest = 9 * REMEMBERED as u64..10 * REMEMBERED as u64;
        for number in newest {
            assert_ne!(publishers.check(publisher(number), 1), Repetition::None);
        }
    }
}
