//! M. Shutdown: what was accepted is flushed, everything ends, nothing hangs.

use std::time::{Duration, Instant};

use futures_util::future::{join_all, poll_immediate};
use scaleout_core::{ErrorKind, Event, Outcome, Start};
use tokio::task::JoinSet;

use super::common::{check_same, numbered, publish_each};
use crate::{
    Case, Claim, Ctx, Failure, Need,
    failure::{ensure, ensure_eq},
};

pub(super) const CASES: &[Case] = &[
    Case::new(
        "M01",
        "closing flushes the publishes that were accepted",
        &[14],
        |ctx| Box::pin(flushes(ctx)),
    )
    .needs(&[Need::Claim(Claim::History)]),
    Case::new(
        "M03",
        "after closing every operation says so at once",
        &[9, 14],
        |ctx| Box::pin(says_so(ctx)),
    ),
    Case::new(
        "M04",
        "closing twice, and at once from many tasks, is harmless",
        &[14],
        |ctx| Box::pin(closing_again(ctx)),
    ),
    Case::new(
        "M05",
        "closing does not wait for subscriptions that nobody polls, or that wait",
        &[14],
        |ctx| Box::pin(does_not_wait_for_readers(ctx)),
    ),
    Case::new(
        "M06",
        "a subscription ends by saying that it was closed",
        &[14],
        |ctx| Box::pin(ends_with_closed(ctx)),
    ),
    Case::new(
        "M07",
        "a runtime that ends without closing hangs nobody",
        &[12, 14],
        |ctx| Box::pin(runtime_ends(ctx)),
    ),
    Case::new(
        "M08",
        "closing one of two nodes leaves the other",
        &[14],
        |ctx| Box::pin(the_other_lives_on(ctx)),
    ),
];

const CLOSE: Duration = Duration::from_secs(5);

async fn flushes(ctx: Ctx) -> Result<(), Failure> {
    const N: usize = 500;
    let topic = ctx.topic("t");
    let (node, other) = (ctx.node().await?, ctx.node().await?);
    // One poll and they are accepted; none of them is answered yet.
    let mut publishes = Vec::with_capacity(N);
    for payload in numbered(N) {
        let mut publish = Box::pin(node.publish(&topic, payload));
        if let Some(answered) = poll_immediate(&mut publish).await {
            answered?;
            return Err(Failure::new(
                "a publish was answered before its node could send it",
            ));
        }
        publishes.push(publish);
    }
    let (closed, published) = tokio::join!(node.close(CLOSE), join_all(publishes));
    closed??;
    let receipts = published.into_iter().collect::<Result<Vec<_>, _>>()?;
    check_same(&other.read_all(&topic, 100).await?, &receipts, &numbered(N))
}

async fn says_so(ctx: Ctx) -> Result<(), Failure> {
    let topic = ctx.topic("t");
    let (node, other) = (ctx.node().await?, ctx.node().await?);
    let receipt = node.publish(&topic, "x").await?;
    node.close(CLOSE).await??;

    let began = Instant::now();
    let plane = node.plane();
    let mut errors = vec![
        node.try_publish(&topic, "y").await?.err(),
        node.try_publish_batch(&topic, ["y", "z"]).await?.err(),
        node.try_subscribe(&topic, Start::Latest).await?.err(),
    ];
    if ctx.capabilities().history {
        let after = Start::After(receipt.cursor().clone());
        errors.push(node.try_subscribe(&topic, after).await?.err());
        errors.push(node.try_subscribe(&topic, Start::Earliest).await?.err());
        errors.push(ctx.limits().within("head", plane.head(&topic)).await?.err());
        errors.push(
            ctx.limits()
                .within("read", plane.read(&topic, None, 1))
                .await?
                .err(),
        );
    }
    for (index, error) in errors.into_iter().enumerate() {
        let found = error.map(|error| (error.kind(), error.outcome()));
        ensure_eq!(
            found,
            Some((ErrorKind::Closed, Outcome::NotStored)),
            "answer {index}"
        );
    }
    let took = began.elapsed();
    ensure!(
        took < ctx.limits().scaled(Duration::from_secs(1)),
        "that took {took:?}"
    );

    if ctx.capabilities().history {
        ensure_eq!(
            other.read_all(&topic, 10).await?.len(),
            1,
            "messages stored"
        );
    }
    Ok(())
}

async fn closing_again(ctx: Ctx) -> Result<(), Failure> {
    let topic = ctx.topic("t");
    let node = ctx.node().await?;
    let _tail = node.subscribe(&topic, Start::Latest).await?;
    node.publish(&topic, "x").await?;
    let mut closing = JoinSet::new();
    for _ in 0..8 {
        let node = node.clone();
        closing.spawn(async move { node.close(CLOSE).await });
    }
    while let Some(closed) = closing.join_next().await {
        closed???;
    }
    node.close(CLOSE).await??;
    node.close(Duration::ZERO).await??;
    Ok(())
}

async fn does_not_wait_for_readers(ctx: Ctx) -> Result<(), Failure> {
    let topic = ctx.topic("t");
    let other = ctx.node().await?;
    let node = ctx.open().set("window_frames", 2).node().await?;
    let unpolled = node.subscribe(&topic, Start::Latest).await?;
    let mut halfway = node.subscribe(&topic, Start::Latest).await?;
    publish_each(&other, &topic, &numbered(50)).await?;
    if ctx.capabilities().history {
        halfway.take(3).await?;
    } else {
        // It has fallen out of the window, so a gap comes first.
        halfway.event().await?;
    }
    let mut waiting = node.subscribe(&ctx.topic("quiet"), Start::Latest).await?;
    let waits = tokio::spawn(async move { waiting.event().await });
    let began = Instant::now();
    node.close(CLOSE).await??;
    let took = began.elapsed();
    ensure!(took < ctx.limits().scaled(CLOSE), "closing took {took:?}");
    let last = waits.await??;
    ensure!(
        matches!(last, Event::Closed(None)),
        "the one that waited got {last:?}"
    );
    drop((unpolled, halfway));
    Ok(())
}

async fn ends_with_closed(ctx: Ctx) -> Result<(), Failure> {
    let topic = ctx.topic("t");
    let node = ctx.node().await?;
    let mut tail = node.subscribe(&topic, Start::Latest).await?;
    let payloads = numbered(5);
    let receipts = publish_each(&node, &topic, &payloads).await?;
    check_same(&tail.take(5).await?, &receipts, &payloads)?;
    node.close(CLOSE).await??;
    let last = tail.event().await?;
    ensure!(
        matches!(last, Event::Closed(None)),
        "the last event is {last:?}"
    );
    for _ in 0..2 {
        let after = ctx.limits().within("the end", tail.next()).await?;
        ensure!(after.is_none(), "{after:?} after the end");
    }
    Ok(())
}

async fn runtime_ends(ctx: Ctx) -> Result<(), Failure> {
    let topic = ctx.topic("t");
    let url = ctx.clone();
    let ended = tokio::task::spawn_blocking(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .map_err(|error| Failure::new(error.to_string()))?;
        let held = runtime.block_on(async {
            let node = url.open().untracked().node().await?;
            let tail = node.subscribe(&url.topic("t"), Start::Latest).await?;
            node.publish(&url.topic("t"), "x").await?;
            Ok::<_, Failure>((node, tail))
        })?;
        // In the middle of things: subscribed, connected, not closed.
        drop(runtime);
        drop(held);
        Ok::<_, Failure>(())
    });
    ctx.limits()
        .within("the end of the runtime", ended)
        .await???;
    // The broker and other nodes do not mind.
    let node = ctx.node().await?;
    let mut tail = node.subscribe(&topic, Start::Latest).await?;
    let fence = node.fence(&topic).await?;
    ensure!(
        tail.until(fence).await?.is_empty(),
        "something was published by a dead runtime"
    );
    Ok(())
}

async fn the_other_lives_on(ctx: Ctx) -> Result<(), Failure> {
    let topic = ctx.topic("t");
    let (node, closing, other) = (ctx.node().await?, ctx.node().await?, ctx.node().await?);
    let mut tail = other.subscribe(&topic, Start::Latest).await?;
    let closed = closing.subscribe(&topic, Start::Latest).await?;
    let payloads = numbered(20);
    let mut receipts = publish_each(&node, &topic, &payloads[..10]).await?;
    closing.close(CLOSE).await??;
    receipts.extend(publish_each(&node, &topic, &payloads[10..]).await?);
    check_same(&tail.take(20).await?, &receipts, &payloads)?;
    drop(closed);
    Ok(())
}
