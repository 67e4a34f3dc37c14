//! [`Peers`]: which nodes of the hub live. Without a clock of its own.

use std::{collections::HashMap, time::Duration};

use tokio::time::Instant;

/// The other nodes of a hub that have clients, as far as this one has heard of them.
#[derive(Debug)]
pub(super) struct Peers {
    heard: HashMap<String, Instant>,
    /// Before this, nobody could be heard: this node was not connected to the broker.
    deaf_until: Instant,
    patience: Duration,
}

impl Peers {
    /// A node counts as dead once it was silent for `patience`.
    pub(super) fn new(now: Instant, patience: Duration) -> Self {
        Self {
            heard: HashMap::new(),
            deaf_until: now,
            patience,
        }
    }

    pub(super) fn heard(&mut self, node: String, now: Instant) {
        self.heard.insert(node, now);
    }

    pub(super) fn left(&mut self, node: &str) {
        self.heard.remove(node);
    }

    /// This node hears again: the silence so far says nothing about the others.
    pub(super) fn hears_again(&mut self, now: Instant) {
        self.deaf_until = now;
    }

    pub(super) fn lives(&self, node: &str, now: Instant) -> bool {
        self.heard
            .get(node)
            .is_some_and(|heard| self.is_recent(*heard, now))
    }

    /// Those that live; the others are forgotten.
    pub(super) fn living(&mut self, now: Instant) -> Vec<String> {
        let (deaf_until, patience) = (self.deaf_until, self.patience);
        self.heard
            .retain(|_, heard| now.duration_since((*heard).max(deaf_until)) <= patience);
        self.heard.keys().cloned().collect()
    }

    fn is_recent(&self, heard: Instant, now: Instant) -> bool {
        now.duration_since(heard.max(self.deaf_until)) <= self.patience
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    #[test]
    fn a_node_lives_until_it_was_silent_for_too_long() {
        let start = Instant::now();
        let mut peers = Peers::new(start, PATIENCE);
        assert!(!peers.lives("a", start));
        peers.heard("a".into(), start);
        peers.heard("b".into(), start + PATIENCE / 2);
        let later = start + PATIENCE + Duration::from_secs(1);
        assert!(!peers.lives("a", later));
        assert_eq!(peers.living(later), ["b"]);
        peers.left("b");
        assert!(!peers.lives("b", later));
    }

    #[test]
    fn a_node_that_could_not_hear_judges_nobody() {
        let start = Instant::now();
        let mut peers = Peers::new(start, PATIENCE);
        peers.heard("a".into(), start);
        let later = start + 3 * PATIENCE;
        peers.hears_again(later);
        assert!(peers.lives("a", later + PATIENCE));
        assert!(!peers.lives("a", later + PATIENCE + Duration::from_secs(1)));
    }
}
