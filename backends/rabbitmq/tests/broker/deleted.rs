//! Streams that are deleted: a new life, whoever looks, and whenever.

use libtest_mimic::{Failed, Trial};
use scaleout_conformance::broker::{RabbitMq, Server};
use scaleout_core::{Backplane, Event, ResetReason, Start, Subscription};

use crate::{expect, next, node, trial};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial(
            "an_old_cursor_of_a_deleted_stream_is_recognised",
            old_cursor,
        ),
        trial("nodes_agree_after_the_directory_was_deleted", directory),
    ]
}

async fn old_cursor(server: Server<RabbitMq>) -> Result<(), Failed> {
    let publisher = node(&server, "partitioning=1").await?;
    let old = publisher.publish("t", "old").await?;
    delete(&server, &format!("scaleout/scaleout/0/{}", old.epoch())).await?;
    // The new stream is filled beyond the cursor's place before anybody comes back with it.
    for number in 0..10 {
        let new = publisher.publish("t", number.to_string()).await?;
        assert_ne!(new.epoch(), old.epoch());
    }
    // What ends a channel of one log is no matter for the connection.
    assert_eq!(publisher.health().reconnects, 0);
    publisher.close(crate::GUARD).await?;
    let fresh = node(&server, "partitioning=1").await?;
    let start = Start::After(old.cursor().clone());
    let mut tail = fresh.subscribe("t", start).await?;
    reset(&mut tail).await?;
    for number in 0..10 {
        expect(&mut tail, &number.to_string()).await?;
    }
    Ok(())
}

async fn directory(server: Server<RabbitMq>) -> Result<(), Failed> {
    let (one, other) = (node(&server, "").await?, node(&server, "").await?);
    let mut tails = [
        one.subscribe("t", Start::Latest).await?,
        other.subscribe("t", Start::Latest).await?,
    ];
    one.publish("t", "before").await?;
    for tail in &mut tails {
        expect(tail, "before").await?;
    }
    delete(&server, "scaleout/scaleout").await?;
    // Each notices for itself, and until both have they may know different streams.
    for node in [&one, &other] {
        regained(node).await?;
    }
    let after = one.publish("t", "after").await?;
    for tail in &mut tails {
        reset(tail).await?;
        expect(tail, "after").await?;
    }
    let answer = other.publish("t", "answer").await?;
    assert_eq!(answer.epoch(), after.epoch());
    expect(&mut tails[0], "answer").await
}

async fn delete(server: &Server<RabbitMq>, stream: &str) -> Result<(), Failed> {
    let arguments = ["delete_queue", stream];
    server.program().control(server.port(), &arguments).await?;
    Ok(())
}

async fn reset(tail: &mut Subscription) -> Result<(), Failed> {
    match next(tail).await? {
        Event::Reset(reset) if reset.reason == ResetReason::EpochChanged => Ok(()),
        other => Err(format!("{other:?} in place of a reset").into()),
    }
}

/// Waits until a node has lost its connection and has it again.
async fn regained(node: &Backplane) -> Result<(), Failed> {
    let mut health = node.watch_health();
    let regained = health.wait_for(|health| health.reconnects > 0);
    tokio::time::timeout(crate::GUARD, regained).await??;
    Ok(())
}
