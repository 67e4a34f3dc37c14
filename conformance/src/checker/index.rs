use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};

use scaleout_core::{Epoch, Position, Sequence, Topic};

use super::{
    Check, Ending, Final, History, Observation, Publish, Read, Report, Subscriber, SubscriberStart,
    Value,
};

/// Which life of the log: 0 is the first.
pub(super) type Rank = usize;

/// A message known to stand somewhere, from a receipt or because somebody got it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) rank: Rank,
    pub(super) sequence: Sequence,
    pub(super) value: Value,
}

/// What the history says about one log, in the order in which the checks need it.
pub(super) struct LogIndex<'h> {
    pub(super) topic: &'h Topic,
    pub(super) publishes: Vec<&'h Publish>,
    pub(super) by_value: HashMap<Value, &'h Publish>,
    pub(super) subscribers: Vec<&'h Subscriber>,
    pub(super) reads: Vec<&'h Read>,
    pub(super) last: Option<&'h Final>,
    /// Sorted and without repetitions.
    pub(super) places: Vec<Place>,
    ranks: HashMap<Epoch, Rank>,
}

impl<'h> LogIndex<'h> {
    pub(super) fn new(history: &'h History, topic: &'h Topic, report: &mut Report) -> Self {
        let publishes: Vec<_> = history
            .publishes
            .iter()
            .filter(|p| p.topic == *topic)
            .collect();
        let subscribers: Vec<_> = history
            .subscribers
            .iter()
            .filter(|s| s.topic == *topic)
            .collect();
        let reads: Vec<_> = history.reads.iter().filter(|r| r.topic == *topic).collect();
        let last = history.finals.iter().find(|last| last.topic == *topic);
        let mut index = Self {
            topic,
            by_value: publishes
                .iter()
                .map(|publish| (publish.value, *publish))
                .collect(),
            publishes,
            subscribers,
            reads,
            last,
            places: Vec::new(),
            ranks: HashMap::new(),
        };
        index.rank_epochs(report);
        index.collect_places();
        index
    }

    /// Which life of the log an epoch is.
    pub(super) fn rank(&self, epoch: Epoch) -> Rank {
        // Every epoch of the history is ranked: `rank_epochs` walks all that can hold one.
        self.ranks[&epoch]
    }

    /// How many lives the log had.
    pub(super) fn lives(&self) -> usize {
        self.ranks.len()
    }

    /// The life that the log is in at the end.
    pub(super) fn last_epoch(&self) -> Option<Epoch> {
        let newest = self.ranks.iter().max_by_key(|(_, rank)| **rank);
        newest.map(|(epoch, _)| *epoch)
    }

    /// Puts the epochs into the order in which the log lived them: the one that agrees with what every
    /// subscription went through, with each publisher's order, and with real time.
    fn rank_epochs(&mut self, report: &mut Report) {
        let mut chains: Vec<Vec<Epoch>> = Vec::new();
        chains.extend(
            self.subscribers
                .iter()
                .map(|subscriber| epochs_of(subscriber)),
        );
        chains.extend(self.epochs_of_publishers());
        let mut lives: BTreeMap<u128, Life> = BTreeMap::new();
        for epoch in chains.iter().flatten() {
            lives.entry(epoch.get()).or_default();
        }
        for (epoch, publish) in self.stored() {
            lives
                .entry(epoch.get())
                .or_default()
                .invoked(publish.invoked);
        }
        for publish in &self.publishes {
            if let Ending::Ok(position, at) = publish.ending {
                lives.entry(position.epoch.get()).or_default().returned(at);
            }
        }
        for read in &self.reads {
            lives
                .entry(read.head.epoch.get())
                .or_default()
                .read(read.invoked);
        }
        if let Some(last) = self.last {
            let last = last.epoch.get();
            lives.entry(last).or_default();
            chains.extend(
                lives
                    .keys()
                    .filter(|epoch| **epoch != last)
                    .map(|epoch| vec![Epoch::new(*epoch), Epoch::new(last)]),
            );
        }

        let mut before: BTreeSet<(u128, u128)> = BTreeSet::new();
        for step in chains.iter().flat_map(|chain| chain.windows(2)) {
            before.insert((step[0].get(), step[1].get()));
        }
        for (earlier, life) in &lives {
            let later = lives.iter().filter(|(later, _)| *later != earlier);
            let later = later.filter(|(_, later)| life.returned < later.invoked);
            before.extend(later.map(|(later, _)| (*earlier, *later)));
        }
        while !lives.is_empty() {
            let followers: BTreeSet<u128> = before.iter().map(|(_, later)| *later).collect();
            let first = lives
                .iter()
                .filter(|(epoch, _)| !followers.contains(epoch))
                .min_by_key(|(epoch, life)| {
                    // Reads may be stale, so they only decide between lives that nothing else orders.
                    let mut others = lives.iter().filter(|(other, _)| other != epoch);
                    (
                        others.any(|(_, other)| other.returned < life.read),
                        life.returned,
                    )
                })
                .map(|(epoch, _)| *epoch);
            if first.is_none() {
                report.add(Check::EpochChain, Some(self.topic), || {
                    format!("no order of its lives explains what was seen: {before:?}")
                });
            }
            let Some(first) = first.or_else(|| lives.keys().next().copied()) else {
                break;
            };
            lives.remove(&first);
            before.retain(|(earlier, later)| *earlier != first && *later != first);
            let rank = self.ranks.len();
            self.ranks.insert(Epoch::new(first), rank);
        }
    }

    /// The epochs that each publisher's receipts name, in its order.
    fn epochs_of_publishers(&self) -> impl Iterator<Item = Vec<Epoch>> {
        let mut chains: HashMap<u32, Vec<Epoch>> = HashMap::new();
        for publish in &self.publishes {
            if let Ending::Ok(position, _) = publish.ending {
                chains
                    .entry(publish.value.publisher)
                    .or_default()
                    .push(position.epoch);
            }
        }
        chains.into_values().map(|mut chain| {
            chain.dedup();
            chain
        })
    }

    /// Every publish that is known to have been stored, with the life it was stored in.
    fn stored(&self) -> impl Iterator<Item = (Epoch, &'h Publish)> {
        let receipts = self
            .publishes
            .iter()
            .filter_map(|publish| match publish.ending {
                Ending::Ok(position, _) => Some((position.epoch, *publish)),
                Ending::Fail | Ending::Unknown => None,
            });
        let observed = self.subscribers.iter().flat_map(|s| &s.observations);
        let observed = observed.filter_map(|observation| match *observation {
            Observation::Entry(position, value) => {
                Some((position.epoch, *self.by_value.get(&value?)?))
            }
            _ => None,
        });
        receipts.chain(observed)
    }

    fn collect_places(&mut self) {
        let mut places = Vec::new();
        let mut add = |position: Position, value| {
            places.push(Place {
                rank: self.ranks[&position.epoch],
                sequence: position.sequence,
                value,
            });
        };
        for publish in &self.publishes {
            if let Ending::Ok(position, _) = publish.ending {
                add(position, publish.value);
            }
        }
        for observation in self.subscribers.iter().flat_map(|s| &s.observations) {
            if let Observation::Entry(position, Some(value)) = *observation {
                add(position, value);
            }
        }
        if let Some(last) = self.last {
            for (sequence, value) in &last.entries {
                if let Some(value) = *value {
                    add(Position::new(last.epoch, *sequence), value);
                }
            }
        }
        places.sort_unstable();
        places.dedup();
        self.places = places;
    }
}

/// When a life of a log was certainly going on.
#[derive(Debug)]
struct Life {
    /// The last invocation of a publish that was stored in it: it had not ended.
    invoked: Duration,
    /// The first return of a publish that was stored in it: it had begun. `MAX` if there was none.
    returned: Duration,
    /// The last invocation of a read that showed it: it had not ended, if the read was not stale.
    read: Duration,
}

impl Default for Life {
    fn default() -> Self {
        Self {
            invoked: Duration::ZERO,
            returned: Duration::MAX,
            read: Duration::ZERO,
        }
    }
}

impl Life {
    fn invoked(&mut self, at: Duration) {
        self.invoked = self.invoked.max(at);
    }

    fn returned(&mut self, at: Duration) {
        self.returned = self.returned.min(at);
    }

    fn read(&mut self, at: Duration) {
        self.read = self.read.max(at);
    }
}

/// The epochs that a subscriber went through.
fn epochs_of(subscriber: &Subscriber) -> Vec<Epoch> {
    let start = match subscriber.start {
        SubscriberStart::After(position) => Some(position.epoch),
        SubscriberStart::Earliest | SubscriberStart::Unknown => None,
    };
    let observed = subscriber
        .observations
        .iter()
        .filter_map(|observation| match *observation {
            Observation::Entry(position, _) => Some(position.epoch),
            Observation::Gap(epoch, ..)
            | Observation::EpochChanged(epoch)
            | Observation::AheadOfHead(epoch)
            | Observation::Unreadable(epoch, ..) => Some(epoch),
            Observation::Closed => None,
        });
    let mut epochs: Vec<_> = start.into_iter().chain(observed).collect();
    epochs.dedup();
    epochs
}
