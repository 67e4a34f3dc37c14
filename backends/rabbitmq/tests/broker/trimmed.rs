//! A stream that is trimmed while a node remembers where it began.

use libtest_mimic::{Failed, Trial};
use scaleout_conformance::broker::{RabbitMq, Server};
use scaleout_core::{Backplane, Event, Sequence, Start};

use crate::{next, node, trial};

/// Segments so small that they are trimmed soon.
const OPTIONS: &str = "partitioning=1&segment_bytes=4000&retention_bytes=8000";

pub(crate) fn trials() -> Vec<Trial> {
    vec![trial(
        "a_node_notices_that_a_stream_begins_later_than_it_remembers",
        begins_later,
    )]
}

async fn begins_later(server: Server<RabbitMq>) -> Result<(), Failed> {
    let (writer, reader) = (node(&server, OPTIONS).await?, node(&server, OPTIONS).await?);
    let first = writer.publish("t", "first").await?;
    // It knows now where the stream begins.
    assert_eq!(reader.read("t", None, 10).await?.len(), 1);
    let floor = trim(&writer, first.sequence()).await?;
    let read = reader.read("t", None, 1).await?;
    let [Event::Message(entry)] = &read[..] else {
        return Err(format!("{read:?} in place of the oldest message").into());
    };
    assert_eq!(entry.sequence(), floor);

    // And who comes back from before that.
    let floor = trim(&writer, floor).await?;
    let start = Start::After(first.cursor().clone());
    let mut tail = reader.subscribe("t", start).await?;
    let mut lost = first.sequence();
    // What was lost before the node looked, and what since, may be told apart.
    let entry = loop {
        match next(&mut tail).await? {
            Event::Gap(gap) => {
                assert_eq!(gap.first, lost.next());
                lost = gap.last;
            }
            Event::Message(entry) => break entry,
            other => return Err(format!("{other:?} in place of a message").into()),
        }
    };
    assert_eq!((lost, entry.sequence()), (floor.previous(), floor));
    Ok(())
}

/// Publishes until the stream begins after `past`, and returns where.
async fn trim(writer: &Backplane, past: Sequence) -> Result<Sequence, Failed> {
    for _ in 0..100 {
        for _ in 0..20 {
            writer.publish("t", "x".repeat(300)).await?;
        }
        let floor = writer.head("t").await?.floor;
        if floor > past {
            return Ok(floor);
        }
    }
    Err("2,000 messages were not trimmed".into())
}
