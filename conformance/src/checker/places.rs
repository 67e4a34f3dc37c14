//! Checks of where messages stand: who published them, once, at one place, in order.

use std::{collections::HashMap, time::Duration};

use scaleout_core::Sequence;

use super::{
    Check, Ending, Observation, Plan, Publish, Report, Value,
    index::{LogIndex, Place, Rank},
};

pub(super) fn check(index: &LogIndex<'_>, plan: &Plan, report: &mut Report) {
    check_origin(index, report);
    check_once(index, report);
    check_divergence(index, report);
    let ordered = OrderedPublishes::new(index);
    check_publisher_order(index, &ordered, report);
    check_real_time(index, &ordered, report);
    if plan.linearizable {
        check_staleness(index, report);
    }
}

/// Everything delivered was published to this log, and not disowned.
fn check_origin(index: &LogIndex<'_>, report: &mut Report) {
    let delivered = index.subscribers.iter().flat_map(|s| &s.observations);
    let delivered = delivered.filter_map(|observation| match *observation {
        Observation::Entry(position, value) => Some((position.sequence, value)),
        _ => None,
    });
    let found = index
        .last
        .into_iter()
        .flat_map(|last| last.entries.iter().copied());
    for (sequence, value) in delivered.chain(found) {
        let publish = value.and_then(|value| index.by_value.get(&value));
        match publish.map(|publish| publish.ending) {
            None => report.add(Check::Unexpected, Some(index.topic), || {
                format!("{sequence} holds {value:?}, which nobody published here")
            }),
            Some(Ending::Fail) => report.add(Check::AbortedRead, Some(index.topic), || {
                format!("{sequence} holds {value:?}, whose publisher was told it is not stored")
            }),
            Some(Ending::Ok(..) | Ending::Unknown) => {}
        }
    }
}

/// A message has one place. Its log may lose it and then take it again from a publisher that has no
/// receipt yet; that is a place in each life, and no subscription sees both.
fn check_once(index: &LogIndex<'_>, report: &mut Report) {
    let mut by_value = index.places.clone();
    by_value.sort_unstable_by_key(|place| (place.value, place.rank, place.sequence));
    for pair in by_value.windows(2) {
        let [one, other] = [pair[0], pair[1]];
        if one.value != other.value {
            continue;
        }
        let receipt = index
            .by_value
            .get(&one.value)
            .and_then(|publish| match publish.ending {
                Ending::Ok(position, _) => Some(index.rank(position.epoch)),
                Ending::Fail | Ending::Unknown => None,
            });
        if one.rank == other.rank || receipt.is_some_and(|rank| rank < other.rank) {
            report.add(Check::Duplicate, Some(index.topic), || {
                format!(
                    "{:?} stands at {} and at {} (lives {} and {} of the log)",
                    one.value, one.sequence, other.sequence, one.rank, other.rank
                )
            });
        }
    }
}

fn check_divergence(index: &LogIndex<'_>, report: &mut Report) {
    for pair in index.places.windows(2) {
        let [one, other] = [pair[0], pair[1]];
        if (one.rank, one.sequence) == (other.rank, other.sequence) {
            report.add(Check::Divergence, Some(index.topic), || {
                format!(
                    "{} holds {:?} and {:?}",
                    one.sequence, one.value, other.value
                )
            });
        }
    }
}

/// Publishes whose place is known, in the order of their places.
struct OrderedPublishes<'h>(Vec<(Rank, Sequence, &'h Publish)>);

impl<'h> OrderedPublishes<'h> {
    fn new(index: &LogIndex<'h>) -> Self {
        let mut seen: HashMap<Value, &Place> = HashMap::new();
        for place in &index.places {
            seen.entry(place.value).or_insert(place);
        }
        let placed = index
            .publishes
            .iter()
            .filter_map(|&publish| match publish.ending {
                Ending::Ok(position, _) => {
                    Some((index.rank(position.epoch), position.sequence, publish))
                }
                Ending::Fail | Ending::Unknown => seen
                    .get(&publish.value)
                    .map(|place| (place.rank, place.sequence, publish)),
            });
        let mut ordered: Vec<_> = placed.collect();
        ordered.sort_by_key(|(rank, sequence, _)| (*rank, *sequence));
        Self(ordered)
    }
}

/// Nothing of a publisher stands before what it published earlier. A publish that ended as unknown
/// has left the library's hands: it may land late.
fn check_publisher_order(
    index: &LogIndex<'_>,
    ordered: &OrderedPublishes<'_>,
    report: &mut Report,
) {
    // Scanned from the end: of each publisher, the earliest publish with a receipt that stands later.
    let mut earliest: HashMap<u32, (Value, Sequence)> = HashMap::new();
    for &(_, sequence, publish) in ordered.0.iter().rev() {
        let value = publish.value;
        let later = earliest.get(&value.publisher).copied();
        if let Some((earlier, at)) = later
            && earlier.counter < value.counter
        {
            report.add(Check::PublisherOrder, Some(index.topic), || {
                format!("{value:?} at {sequence} stands before {earlier:?} at {at}")
            });
        }
        let acknowledged = matches!(publish.ending, Ending::Ok(..));
        if acknowledged && later.is_none_or(|(earlier, _)| value.counter < earlier.counter) {
            earliest.insert(value.publisher, (value, sequence));
        }
    }
}

/// No message stands after one whose publish began only when its own had returned: scanned from the
/// end, the earliest return among all that stands later must not lie before a publish's beginning.
fn check_real_time(index: &LogIndex<'_>, ordered: &OrderedPublishes<'_>, report: &mut Report) {
    let mut earliest: Option<(Duration, Value)> = None;
    for &(_, sequence, publish) in ordered.0.iter().rev() {
        if let Some((returned, later)) = earliest
            && returned < publish.invoked
        {
            report.add(Check::RealTimeOrder, Some(index.topic), || {
                format!(
                    "{:?} at {sequence} was published at {:?}, after {later:?}, which stands later, \
                     had returned at {returned:?}",
                    publish.value, publish.invoked
                )
            });
        }
        if let Ending::Ok(_, returned) = publish.ending
            && earliest.is_none_or(|(earliest, _)| returned < earliest)
        {
            earliest = Some((returned, publish.value));
        }
    }
}

/// A read shows at least every message whose publish had returned before the read began.
fn check_staleness(index: &LogIndex<'_>, report: &mut Report) {
    let mut receipts: Vec<_> = index
        .publishes
        .iter()
        .filter_map(|publish| match publish.ending {
            Ending::Ok(position, at) => Some((at, (index.rank(position.epoch), position.sequence))),
            Ending::Fail | Ending::Unknown => None,
        })
        .collect();
    receipts.sort_unstable();
    let mut newest = None;
    for receipt in &mut receipts {
        newest = newest.max(Some(receipt.1));
        // From here on: the newest place among all that had returned by then.
        receipt.1 = newest.unwrap_or(receipt.1);
    }
    for read in &index.reads {
        let returned = receipts.partition_point(|(at, _)| *at < read.invoked);
        let Some((_, promised)) = returned.checked_sub(1).map(|last| receipts[last]) else {
            continue;
        };
        if (index.rank(read.head.epoch), read.head.sequence) < promised {
            report.add(Check::Staleness, Some(index.topic), || {
                format!(
                    "a read on node {} at {:?} showed {} as the newest message when {} had been \
                     acknowledged",
                    read.node, read.invoked, read.head.sequence, promised.1
                )
            });
        }
    }
}
