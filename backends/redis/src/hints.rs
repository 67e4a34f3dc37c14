//! [`Hints`]: what a node guesses of the logs it publishes to.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use crate::{keys::Key, wire::State};

/// How many logs are guessed at. One takes some 150 bytes.
const MOST: usize = 16_384;

/// The state that each log had after this node's last append, for the script to compare. A wrong
/// guess costs the script a little work and nothing else, so the hints need not be kept right: they
/// are forgotten all at once when there are too many.
#[derive(Debug, Default)]
pub(crate) struct Hints {
    logs: Mutex<HashMap<Key, State>>,
}

impl Hints {
    pub(crate) fn of<'a>(&self, keys: impl Iterator<Item = &'a Key>) -> Vec<Option<State>> {
        let logs = self.logs.lock().unwrap_or_else(PoisonError::into_inner);
        keys.map(|key| logs.get(key).copied()).collect()
    }

    pub(crate) fn learn(&self, learnt: impl Iterator<Item = (Key, State)>) {
        let mut logs = self.logs.lock().unwrap_or_else(PoisonError::into_inner);
        for (key, state) in learnt {
            if logs.len() >= MOST && !logs.contains_key(&key) {
                logs.clear();
            }
            logs.insert(key, state);
        }
    }
}
