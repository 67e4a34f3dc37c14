//! What several groups of cases share.

use std::time::Duration;

use bytes::Bytes;
use scaleout_core::{Cursor, Entry, Event, Head, Receipt, Sequence, Topic};
use tokio::time::{Instant, sleep};

use crate::{
    Ctx, Failure, Node,
    bare::follows,
    failure::{ensure, ensure_eq},
};

/// Payloads `m0`, `m1` and so on.
pub(super) fn numbered(count: usize) -> Vec<Bytes> {
    (0..count)
        .map(|number| format!("m{number}").into())
        .collect()
}

/// Publishes messages one by one: a frame each.
pub(super) async fn publish_each(
    node: &Node,
    topic: &Topic,
    payloads: &[Bytes],
) -> Result<Vec<Receipt>, Failure> {
    let mut receipts = Vec::with_capacity(payloads.len());
    for payload in payloads {
        receipts.push(node.publish(topic, payload.clone()).await?);
    }
    Ok(receipts)
}

/// Publishes messages one by one until the log's floor has moved beyond `past`, and says where the
/// ends are then. Retention that the broker keeps approximately needs more messages to show.
pub(super) async fn publish_until_trimmed(
    node: &Node,
    topic: &Topic,
    past: Sequence,
) -> Result<Head, Failure> {
    for _ in 0..100 {
        publish_each(node, topic, &numbered(50)).await?;
        let head = node.head(topic).await?;
        if head.floor > past.next() {
            return Ok(head);
        }
    }
    Err(Failure::new(
        "5,000 frames beyond the retention were not trimmed",
    ))
}

/// Checks that these sequences follow each other as the backend promises.
#[track_caller]
pub(super) fn check_follow(
    ctx: &Ctx,
    sequences: impl IntoIterator<Item = Sequence>,
) -> Result<(), Failure> {
    let mut before: Option<Sequence> = None;
    for sequence in sequences {
        if let Some(before) = before {
            ensure!(
                follows(ctx.dense(), before, sequence),
                "sequence {sequence} follows {before}"
            );
        }
        before = Some(sequence);
    }
    Ok(())
}

/// Checks that these entries are exactly those messages, at those positions.
#[track_caller]
pub(super) fn check_same(
    entries: &[Entry],
    receipts: &[Receipt],
    payloads: &[Bytes],
) -> Result<(), Failure> {
    for (index, entry) in entries.iter().enumerate() {
        let (Some(receipt), Some(payload)) = (receipts.get(index), payloads.get(index)) else {
            return Err(Failure::new(format!(
                "one more than was published: {entry:?}"
            )));
        };
        ensure_eq!(
            entry.position(),
            receipt.cursor().position(),
            "message {index}"
        );
        ensure!(
            entry.payload() == payload,
            "message {index} carries {:?}",
            entry.payload()
        );
    }
    ensure_eq!(entries.len(), receipts.len(), "number of messages");
    Ok(())
}

/// Checks that these events account for every sequence from just after `start` up to and without
/// `end`: each is a message or lies in a gap, once, in order. Where the log may leave sequences out,
/// those between two messages count for nothing. Returns the gaps' bounds.
#[track_caller]
pub(super) fn check_accounted(
    ctx: &Ctx,
    events: &[Event],
    start: Sequence,
    end: Sequence,
) -> Result<Vec<(Sequence, Sequence)>, Failure> {
    let mut gaps = Vec::new();
    let mut before = start;
    for event in events {
        let (first, last) = match event {
            Event::Message(entry) => (entry.sequence(), entry.sequence()),
            Event::Gap(gap) => {
                gaps.push((gap.first, gap.last));
                (gap.first, gap.last)
            }
            other => return Err(Failure::new(format!("neither message nor gap: {other:?}"))),
        };
        ensure!(
            follows(ctx.dense(), before, first),
            "{first} follows {before}: {event:?}"
        );
        before = last;
    }
    ensure!(
        follows(ctx.dense(), before, end),
        "after all events, {end} follows {before}"
    );
    Ok(gaps)
}

/// Waits until something is so, which nothing tells when it is.
pub(super) async fn settle(
    ctx: &Ctx,
    what: &str,
    settled: impl Fn() -> bool,
) -> Result<(), Failure> {
    let deadline = Instant::now() + ctx.limits().scaled(Duration::from_secs(5));
    while !settled() {
        ensure!(Instant::now() < deadline, "{what}");
        sleep(Duration::from_millis(2)).await;
    }
    Ok(())
}

/// The same place in the log, so many messages further on.
pub(super) fn moved(cursor: &Cursor, by: u64) -> Cursor {
    let mut position = cursor.position();
    position.sequence = position.sequence.plus(by);
    Cursor::new(cursor.topic().clone(), position)
}
