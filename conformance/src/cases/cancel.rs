//! N. Cancellation: a future may be dropped at any point, and nothing is lost by it.

use std::{future::Future, pin::pin, time::Duration};

use futures_util::future::poll_immediate;
use scaleout_core::Start;
use tokio::{runtime::Handle, time::timeout};

use super::common::{check_follow, check_same, numbered, publish_each, settle};
use crate::{
    Case, Ctx, Failure,
    failure::{ensure, ensure_eq},
    node::expect_entry,
};

pub(super) const CASES: &[Case] = &[
    Case::new(
        "N01",
        "a publish that is dropped before its first poll does nothing",
        &[12],
        |ctx| Box::pin(unpolled_publish(ctx)),
    ),
    Case::new(
        "N04",
        "waits for the next event that are given up lose no event",
        &[12],
        |ctx| Box::pin(given_up_waits(ctx)),
    ),
    Case::new(
        "N08",
        "a task that is aborted with the handle in use harms nobody",
        &[12],
        |ctx| Box::pin(aborted_task(ctx)),
    ),
    Case::new(
        "N09",
        "no operation minds being polled once and dropped",
        &[12],
        |ctx| Box::pin(polled_once(ctx)),
    ),
];

async fn unpolled_publish(ctx: Ctx) -> Result<(), Failure> {
    let topic = ctx.topic("t");
    let (node, other) = (ctx.node().await?, ctx.node().await?);
    let mut tail = other.subscribe(&topic, Start::Latest).await?;
    let tasks = || Handle::current().metrics().num_alive_tasks();
    let before = tasks();
    for _ in 0..20 {
        drop(node.try_publish(&topic, "never"));
        drop(node.plane().publish_batch(&topic, ["never", "ever"]));
    }
    // Nor does a task do it behind the future's back.
    settle(
        &ctx,
        "tasks are left of futures that were never polled",
        || tasks() <= before,
    )
    .await?;
    let fence = node.fence(&topic).await?;
    let seen = tail.until(fence).await?;
    ensure!(seen.is_empty(), "published without being polled: {seen:?}");
    Ok(())
}

async fn given_up_waits(ctx: Ctx) -> Result<(), Failure> {
    const N: usize = 10_000;
    let topic = ctx.topic("t");
    let (node, other) = (ctx.node().await?, ctx.node().await?);
    let mut tail = other.subscribe(&topic, Start::Latest).await?;
    let publishing = {
        let topic = topic.clone();
        tokio::spawn(async move {
            let mut receipts = Vec::with_capacity(N);
            for chunk in numbered(N).chunks(20) {
                receipts.extend(node.publish_batch(&topic, chunk.to_vec()).await?);
            }
            Ok::<_, Failure>(receipts)
        })
    };
    let mut entries = Vec::with_capacity(N);
    let mut given_up = 0;
    let reading = async {
        while entries.len() < N {
            // Polled once and dropped; then raced against a millisecond.
            let once = poll_immediate(tail.next()).await;
            let event = match once {
                Some(event) => event,
                None => match timeout(Duration::from_millis(1), tail.next()).await {
                    Ok(event) => event,
                    Err(_) => {
                        given_up += 1;
                        continue;
                    }
                },
            };
            let event = event.ok_or_else(|| Failure::new("the subscription is at its end"))?;
            entries.push(expect_entry(event)?);
        }
        Ok::<_, Failure>(())
    };
    let done = ctx
        .limits()
        .within_time(Duration::from_secs(60), "ten thousand messages", reading);
    let read = done.await;
    let receipts = publishing.await??;
    read.map_err(|failure| failure.context(format!("{given_up} waits given up")))??;
    check_same(&entries, &receipts, &numbered(N))
}

async fn aborted_task(ctx: Ctx) -> Result<(), Failure> {
    let topic = ctx.topic("t");
    let (node, other) = (ctx.node().await?, ctx.node().await?);
    let mut tail = other.subscribe(&topic, Start::Latest).await?;
    let mut own = Vec::new();
    for _ in 0..30 {
        let doomed = {
            let (node, topic) = (node.clone(), topic.clone());
            tokio::spawn(async move {
                let _tail = node.subscribe(&topic, Start::Latest).await;
                loop {
                    let _receipt = node.publish(&topic, "doomed").await;
                }
            })
        };
        own.push(node.publish(&topic, "own").await?);
        doomed.abort();
        own.push(node.publish(&topic, "own").await?);
    }
    let fence = node.fence(&topic).await?;
    let entries = tail.until(fence).await?;
    check_follow(&ctx, entries.iter().map(|entry| entry.sequence()))?;
    let found: Vec<_> = entries
        .iter()
        .filter(|entry| entry.payload() == "own")
        .map(|entry| entry.position())
        .collect();
    let wanted: Vec<_> = own
        .iter()
        .map(|receipt| receipt.cursor().position())
        .collect();
    ensure_eq!(found, wanted, "messages of the task that went on");
    Ok(())
}

async fn polled_once(ctx: Ctx) -> Result<(), Failure> {
    let topic = ctx.topic("t");
    let (node, other) = (ctx.node().await?, ctx.node().await?);
    let mut tail = other.subscribe(&topic, Start::Latest).await?;
    let plane = node.plane();
    for round in 0..30 {
        once(plane.publish(&topic, format!("once {round}"))).await;
        once(plane.publish_batch(&topic, [format!("batch {round}"), format!("batch {round}")]))
            .await;
        once(plane.subscribe(&topic, Start::Latest)).await;
        once(plane.subscribe(&ctx.fresh_topic(), Start::Latest)).await;
        once(plane.subscribe(&topic, Start::Earliest)).await;
        once(plane.head(&topic)).await;
        once(plane.read(&topic, None, 10)).await;
    }
    // The node works as if nothing had been.
    let payloads = numbered(20);
    let mut own = node.subscribe(&topic, Start::Latest).await?;
    let receipts = publish_each(&node, &topic, &payloads).await?;
    let fence = node.fence(&topic).await?;
    let late = own.until(fence).await?;
    check_same(&late[late.len().saturating_sub(20)..], &receipts, &payloads)?;

    // Each that was dropped is there once or not at all, a batch whole.
    let entries = tail.until(fence).await?;
    check_follow(&ctx, entries.iter().map(|entry| entry.sequence()))?;
    for round in 0..30 {
        let count = |text: String| entries.iter().filter(|e| e.payload() == &text).count();
        let single = count(format!("once {round}"));
        ensure!(single <= 1, "round {round} was published {single} times");
        let batch = count(format!("batch {round}"));
        ensure!(
            batch == 0 || batch == 2,
            "{batch} messages of the batch of round {round}"
        );
    }
    Ok(())
}

/// Polls once, and drops.
async fn once<F: Future>(future: F) {
    poll_immediate(pin!(future)).await;
}
