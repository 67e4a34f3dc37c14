//! Ids of the messages of late, to recognise repetitions.

use std::{
    collections::{HashSet, VecDeque},
    time::Duration,
};

use crate::clock::Moment;

/// The ids that came within the window.
#[derive(Debug, Default)]
pub(super) struct Duplicates {
    ids: HashSet<String>,
    ages: VecDeque<(Moment, String)>,
}

impl Duplicates {
    /// Whether this id came before within the window. If not, it is remembered from now on.
    pub(super) fn seen(&mut self, id: &str, window: Duration, now: Moment) -> bool {
        while self
            .ages
            .front()
            .is_some_and(|(at, _)| at.after(window) <= now)
        {
            if let Some((_, old)) = self.ages.pop_front() {
                self.ids.remove(&old);
            }
        }
        if self.ids.contains(id) {
            return true;
        }
        self.ids.insert(id.to_owned());
        self.ages.push_back((now, id.to_owned()));
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_a_repetition_within_the_window_only() {
        let window = Duration::from_secs(20);
        let mut duplicates = Duplicates::default();
        let at = Moment::from_millis;
        assert!(!duplicates.seen("a", window, at(0)));
        assert!(duplicates.seen("a", window, at(19_999)));
        assert!(!duplicates.seen("b", window, at(19_999)));
        assert!(!duplicates.seen("a", window, at(20_000)));
        assert!(duplicates.seen("b", window, at(20_000)));
    }
}
