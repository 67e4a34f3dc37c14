//! [`Directory`]: which stream is which log, as all nodes agree on it.
//!
//! A namespace has a stream of its own that is never trimmed and holds a handful of records, each a
//! line of text:
//!
//! - `logs N`: the namespace has N logs. The first such record counts.
//! - `log I OLD NEW`: the life of log I that is called OLD (`-` for none) is over, and NEW begins.
//!   It counts if OLD is the present one, so of several nodes that race, the first wins.
//!
//! A stream is one total order, so every node that has read up to the same place knows the same.

use std::collections::HashMap;

use scaleout_core::Epoch;
use tokio::sync::watch;

/// What a node knows of the directory.
#[derive(Debug)]
pub(crate) struct Directory(watch::Sender<Known>);

/// What the records up to some place say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) logs: Option<u16>,
    epochs: HashMap<u16, Epoch>,
    /// Every life that was ever named, whether it counts or not: each may have a stream.
    named: Vec<(u16, Epoch)>,
}

impl Directory {
    pub(crate) fn new() -> Self {
        Self(watch::Sender::default())
    }

    /// Takes the next record.
    pub(crate) fn apply(&self, record: &[u8]) {
        self.0.send_if_modified(|known| known.apply(record));
    }

    /// How many logs there are, if a record has said so.
    pub(crate) fn logs(&self) -> Option<u16> {
        self.0.borrow().logs
    }

    /// The present life of a log, if it has one.
    pub(crate) fn epoch(&self, log: u16) -> Option<Epoch> {
        self.0.borrow().epochs.get(&log).copied()
    }

    /// Every life that was ever named, with its log.
    pub(crate) fn named(&self) -> Vec<(u16, Epoch)> {
        self.0.borrow().named.clone()
    }

    /// Waits until a log's life is another one than `epoch`.
    pub(crate) async fn changed(&self, log: u16, epoch: Option<Epoch>) -> Option<Epoch> {
        let mut known = self.0.subscribe();
        let other = |known: &Known| known.epochs.get(&log).copied() != epoch;
        // The sender lives in self, so waiting cannot fail.
        let known = known.wait_for(|known| other(known)).await.ok()?;
        known.epochs.get(&log).copied()
    }
}

/// The record that says how many logs there are.
pub(crate) fn logs(count: u16) -> String {
    format!("logs {count}")
}

/// The record that begins a log's next life.
pub(crate) fn life(log: u16, old: Option<Epoch>, new: Epoch) -> String {
    let old = old.map_or_else(|| "-".to_owned(), |epoch| epoch.to_string());
    format!("log {log} {old} {new}")
}

impl Known {
    /// Takes a record, and tells whether it counts. What makes no sense does not.
    fn apply(&mut self, record: &[u8]) -> bool {
        let Ok(text) = std::str::from_utf8(record) else {
            return false;
        };
        match text.split(' ').collect::<Vec<_>>()[..] {
            ["logs", count] => {
                let count = count.parse().ok().filter(|_| self.logs.is_none());
                self.logs = self.logs.or(count);
                count.is_some()
            }
            ["log", log, old, new] => {
                let (Ok(log), Some(new)) = (log.parse(), epoch(new)) else {
                    return false;
                };
                self.named.push((log, new));
                let present = self.epochs.get(&log).copied();
                let counts = if old == "-" {
                    present.is_none()
                } else {
                    present.is_some() && epoch(old) == present
                };
                if counts {
                    self.epochs.insert(log, new);
                }
                counts
            }
            _ => false,
        }
    }
}

fn epoch(text: &str) -> Option<Epoch> {
    u128::from_str_radix(text, 16).ok().map(Epoch::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Epoch = Epoch::new(0xa);
    const B: Epoch = Epoch::new(0xb);
    const C: Epoch = Epoch::new(0xc);

    fn after(records: &[String]) -> Known {
        let mut known = Known::default();
        for record in records {
            known.apply(record.as_bytes());
        }
        known
    }

    #[test]
    fn the_first_number_of_logs_counts() {
        assert_eq!(after(&[logs(4), logs(8)]).logs, Some(4));
    }

    #[test]
    fn of_two_that_begin_a_life_the_first_wins() {
        let known = after(&[life(0, None, A), life(0, None, B), life(1, None, B)]);
        assert_eq!(known.epochs, HashMap::from([(0, A), (1, B)]));
    }

    #[test]
    fn a_life_ends_only_for_who_knew_it() {
        let known = after(&[
            life(0, None, A),
            life(0, Some(A), B),
            life(0, Some(A), C),
            life(0, None, C),
            life(1, Some(A), C),
        ]);
        assert_eq!(known.epochs, HashMap::from([(0, B)]));
    }

    #[test]
    fn what_makes_no_sense_does_not_count() {
        let mut known = Known::default();
        for record in [
            "",
            "logs",
            "logs x",
            "log 0 - -",
            "log 0 -",
            "log 70000 - a",
            "M",
        ] {
            assert!(!known.apply(record.as_bytes()), "{record}");
        }
        assert!(!known.apply(&[0xff, 0xfe]));
        assert_eq!(known, Known::default());
    }
}
