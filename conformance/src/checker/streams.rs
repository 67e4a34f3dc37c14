//! Checks of what each subscription got, and of what is left at the end.

use std::collections::HashSet;

use scaleout_core::{Epoch, Sequence, Topic};

use super::{
    Check, Ending, Final, Observation, Plan, Report, Subscriber, SubscriberStart, index::LogIndex,
};

pub(super) fn check(index: &LogIndex<'_>, plan: &Plan, report: &mut Report) {
    check_lives(index, plan, report);
    for subscriber in &index.subscribers {
        check_steps(index.topic, subscriber, plan, report);
        check_twice(index.topic, subscriber, report);
        check_losses(index, subscriber, plan, report);
    }
    if let Some(last) = index.last {
        check_kept(index, last, plan, report);
    }
}

/// The log had no more lives than it was given, and everybody who was followed to the end ended in
/// the last one.
fn check_lives(index: &LogIndex<'_>, plan: &Plan, report: &mut Report) {
    if index.lives() > plan.wipes + 1 {
        report.add(Check::EpochChain, Some(index.topic), || {
            format!(
                "{} epochs were seen, after {} wipes",
                index.lives(),
                plan.wipes
            )
        });
    }
    let Some(last) = index.last_epoch() else {
        return;
    };
    for subscriber in index
        .subscribers
        .iter()
        .filter(|subscriber| subscriber.drained)
    {
        let ended = Walk::over(subscriber, |_, _| {}).epoch;
        if ended.is_some_and(|epoch| epoch != last) {
            report.add(Check::EpochChain, Some(index.topic), || {
                format!(
                    "a subscription on node {} ended in {ended:?}, the log is in {last:?}",
                    subscriber.node
                )
            });
        }
    }
}

/// Each message follows the one before it, or a gap or reset says why not.
fn check_steps(topic: &Topic, subscriber: &Subscriber, plan: &Plan, report: &mut Report) {
    Walk::over(subscriber, |walk, observation| {
        let node = subscriber.node;
        match *observation {
            _ if walk.closed => report.add(Check::Step, Some(topic), || {
                format!("node {node}: {observation:?} after the end")
            }),
            Observation::Entry(position, _) => {
                if let Some(problem) = walk.misstep(position.epoch, position.sequence, plan.dense) {
                    report.add(Check::Step, Some(topic), || {
                        format!("node {node}: message {} {problem}", position.sequence)
                    });
                }
            }
            Observation::Unreadable(epoch, first, last) => {
                if let Some(problem) = walk.misstep(epoch, first, plan.dense) {
                    report.add(Check::Step, Some(topic), || {
                        format!("node {node}: unreadable {first} to {last} {problem}")
                    });
                }
                report.add(Check::Unexpected, Some(topic), || {
                    format!("node {node}: {first} to {last} cannot be read")
                });
            }
            Observation::Gap(epoch, first, last) => {
                let misplaced = walk.misstep(epoch, first, plan.dense);
                let problem = if !plan.gaps {
                    Some("although nothing was to be lost".to_owned())
                } else if last < first {
                    Some("ends before it begins".to_owned())
                } else {
                    misplaced
                };
                if let Some(problem) = problem {
                    report.add(Check::SpuriousGap, Some(topic), || {
                        format!("node {node}: gap {first} to {last} {problem}")
                    });
                }
            }
            Observation::EpochChanged(epoch) => {
                if plan.wipes == 0 || walk.epoch == Some(epoch) {
                    report.add(Check::SpuriousGap, Some(topic), || {
                        format!("node {node}: reset to {epoch:?} from {:?}", walk.epoch)
                    });
                }
            }
            Observation::AheadOfHead(epoch) => report.add(Check::SpuriousGap, Some(topic), || {
                format!("node {node}: reset within {epoch:?} although no log was set back")
            }),
            Observation::Closed => {}
        }
    });
}

/// No subscription gets a message twice, not even from two lives of the log.
fn check_twice(topic: &Topic, subscriber: &Subscriber, report: &mut Report) {
    let mut seen = HashSet::new();
    for observation in &subscriber.observations {
        let &Observation::Entry(position, Some(value)) = observation else {
            continue;
        };
        if !seen.insert(value) {
            report.add(Check::Duplicate, Some(topic), || {
                format!(
                    "node {}: {value:?} delivered again at {}",
                    subscriber.node, position.sequence
                )
            });
        }
    }
}

/// A subscription that was followed to the end got every acknowledged message of the log's last life
/// that stands after its start, or a gap.
fn check_losses(index: &LogIndex<'_>, subscriber: &Subscriber, plan: &Plan, report: &mut Report) {
    let Some(life) = index.last_epoch().filter(|_| subscriber.drained) else {
        return;
    };
    let mut got = Vec::new();
    let mut gaps = Vec::new();
    // The first sequence that it owes; `None` while only its first observation can tell.
    let mut owed_from = match subscriber.start {
        SubscriberStart::After(position) if position.epoch == life => {
            Some(position.sequence.next())
        }
        SubscriberStart::Earliest => index.last.map(|last| last.floor),
        SubscriberStart::After(_) | SubscriberStart::Unknown => None,
    };
    for observation in &subscriber.observations {
        match *observation {
            Observation::Entry(position, _) if position.epoch == life => {
                got.push(position.sequence);
            }
            Observation::Gap(epoch, first, last) if epoch == life => gaps.push((first, last)),
            Observation::EpochChanged(epoch) if epoch == life => {
                owed_from = index.last.map(|last| last.floor);
            }
            _ => {}
        }
    }
    got.sort_unstable();
    gaps.sort_unstable();
    let first_observed = got
        .first()
        .copied()
        .into_iter()
        .chain(gaps.first().map(|gap| gap.0))
        .min();
    let Some(owed_from) = owed_from.or(first_observed) else {
        return;
    };
    for publish in &index.publishes {
        let Ending::Ok(position, _) = publish.ending else {
            continue;
        };
        let sequence = position.sequence;
        if position.epoch != life
            || sequence < owed_from
            || got.binary_search(&sequence).is_ok()
            || plan.gaps && covered(&gaps, sequence)
        {
            continue;
        }
        let part = if got.first().is_none_or(|first| sequence < *first) {
            "before the first"
        } else if got.last().is_some_and(|last| sequence > *last) {
            "after the last"
        } else {
            "in the middle"
        };
        report.add(Check::LostWrite, Some(index.topic), || {
            format!(
                "node {} never got {:?}, acknowledged at {sequence}: {part} of what it got",
                subscriber.node, publish.value
            )
        });
    }
}

/// What was acknowledged, and what anybody saw, is in the log at the end, without holes; and no gap
/// was reported of what is there.
fn check_kept(index: &LogIndex<'_>, last: &Final, plan: &Plan, report: &mut Report) {
    let rank = index.rank(last.epoch);
    let mut gaps = Vec::new();
    for observation in index.subscribers.iter().flat_map(|s| &s.observations) {
        if let Observation::Gap(epoch, first, end) = *observation
            && epoch == last.epoch
        {
            gaps.push((first, end));
            let kept = last
                .entries
                .partition_point(|(sequence, _)| *sequence < first);
            if last
                .entries
                .get(kept)
                .is_some_and(|(sequence, _)| *sequence <= end)
            {
                report.add(Check::SpuriousGap, Some(index.topic), || {
                    format!(
                        "gap {first} to {end} although {} is there",
                        last.entries[kept].0
                    )
                });
            }
        }
    }
    gaps.sort_unstable();

    for publish in &index.publishes {
        if let Ending::Ok(position, _) = publish.ending
            && position.epoch == last.epoch
            && position.sequence >= last.floor
            && !last.holds(position.sequence)
        {
            report.add(Check::Unseen, Some(index.topic), || {
                format!(
                    "{:?}, acknowledged at {}, is not in the log at the end",
                    publish.value, position.sequence
                )
            });
        }
    }

    if !plan.dense {
        return;
    }
    let of_life = index.places.iter().filter(|place| place.rank == rank);
    let known: Vec<_> = of_life.map(|place| place.sequence).collect();
    let end = known
        .last()
        .copied()
        .max(Some(last.head()))
        .unwrap_or(Sequence::ZERO);
    let mut next = last.floor;
    for sequence in known.into_iter().chain([end.next()]) {
        if sequence > next && !(plan.gaps && covered(&gaps, next)) {
            report.add(Check::Hole, Some(index.topic), || {
                format!("nothing holds {next} to {}", sequence.previous())
            });
        }
        next = next.max(sequence.next());
    }
}

/// Whether one of the sorted ranges covers a sequence.
fn covered(ranges: &[(Sequence, Sequence)], sequence: Sequence) -> bool {
    let after = ranges.partition_point(|(first, _)| *first <= sequence);
    ranges[..after]
        .iter()
        .rev()
        .take(1)
        .any(|(_, last)| *last >= sequence)
}

/// Where a subscription stands while its observations are gone through.
struct Walk {
    epoch: Option<Epoch>,
    /// The sequence that must come next; `None` where any may.
    next: Option<Sequence>,
    closed: bool,
}

impl Walk {
    /// Calls `visit` with each observation and where the subscription stood before it.
    fn over(subscriber: &Subscriber, mut visit: impl FnMut(&Self, &Observation)) -> Self {
        let start = match subscriber.start {
            SubscriberStart::After(position) => Some(position),
            SubscriberStart::Earliest | SubscriberStart::Unknown => None,
        };
        let mut walk = Self {
            epoch: start.map(|position| position.epoch),
            next: start.map(|position| position.sequence.next()),
            closed: false,
        };
        for observation in &subscriber.observations {
            visit(&walk, observation);
            walk.step(observation);
        }
        walk
    }

    fn step(&mut self, observation: &Observation) {
        match *observation {
            Observation::Entry(position, _) => {
                self.epoch = Some(position.epoch);
                self.next = Some(position.sequence.next());
            }
            Observation::Gap(epoch, _, last) | Observation::Unreadable(epoch, _, last) => {
                self.epoch = Some(epoch);
                self.next = Some(last.next());
            }
            Observation::EpochChanged(epoch) | Observation::AheadOfHead(epoch) => {
                self.epoch = Some(epoch);
                self.next = None;
            }
            Observation::Closed => self.closed = true,
        }
    }

    /// What is wrong with something that begins at `sequence`.
    fn misstep(&self, epoch: Epoch, sequence: Sequence, dense: bool) -> Option<String> {
        if self.epoch.is_some_and(|current| current != epoch) {
            return Some(format!("belongs to {epoch:?}, without a reset"));
        }
        let next = self.next?;
        if sequence < next {
            return Some(format!("goes back: {next} was due"));
        }
        (dense && sequence > next).then(|| format!("skips: {next} was due"))
    }
}
