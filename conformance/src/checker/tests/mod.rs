//! Each check against a history that only it refuses, and all of them against histories that a
//! correct backplane could have made.

mod by_hand;
mod generated;

use std::{collections::BTreeSet, time::Duration};

use scaleout_core::{Epoch, Position, Sequence, Topic};

use super::{
    Check, Ending, Final, History, Observation, Plan, Publish, Read, Subscriber, SubscriberStart,
    Value,
};

const FIRST_LIFE: Epoch = Epoch::new(1);
const SECOND_LIFE: Epoch = Epoch::new(2);

fn topic() -> Topic {
    Topic::new("t").unwrap()
}

fn value(publisher: u32, counter: u64) -> Value {
    Value {
        run: 1,
        publisher,
        counter,
    }
}

fn at(epoch: Epoch, sequence: u64) -> Position {
    Position::new(epoch, Sequence::new(sequence))
}

/// Message `counter` of publisher 0, where it stands in the first life.
fn entry(sequence: u64, counter: u64) -> Observation {
    Observation::Entry(at(FIRST_LIFE, sequence), Some(value(0, counter)))
}

fn publish(value: Value, invoked: u64, ending: Ending) -> Publish {
    Publish {
        topic: topic(),
        node: 0,
        value,
        invoked: Duration::from_millis(invoked),
        ending,
    }
}

fn ok(position: Position, returned: u64) -> Ending {
    Ending::Ok(position, Duration::from_millis(returned))
}

fn subscriber(start: SubscriberStart, observations: Vec<Observation>) -> Subscriber {
    Subscriber {
        topic: topic(),
        node: 0,
        start,
        observations,
        drained: true,
    }
}

fn last(epoch: Epoch, floor: u64, entries: impl IntoIterator<Item = (u64, Value)>) -> Final {
    let entries = entries.into_iter();
    Final {
        topic: topic(),
        epoch,
        floor: Sequence::new(floor),
        entries: entries
            .map(|(sequence, value)| (Sequence::new(sequence), Some(value)))
            .collect(),
    }
}

/// The checks that refuse a history.
fn refused_by(history: &History, plan: &Plan) -> BTreeSet<Check> {
    let report = history.check(plan);
    report
        .violations()
        .iter()
        .map(|violation| violation.check)
        .collect()
}
