//! H. Slow subscriptions: they delay nobody, cost bounded memory, and lose nothing silently.

use std::time::Duration;

use bytes::Bytes;
use scaleout_core::{ErrorKind, Outcome, Start};
use tokio::task::JoinSet;

use super::{
    common::{check_accounted, check_same, numbered, publish_each},
    metered::Metered,
};
use crate::{
    Case, Claim, Ctx, Failure, Need, Node, ResultExt,
    failure::{ensure, ensure_eq},
    node::expect_entry,
};

pub(super) const CASES: &[Case] = &[
    Case::new(
        "H01",
        "a stalled subscription does not delay the others",
        &[10],
        |ctx| Box::pin(others_go_on(ctx)),
    ),
    Case::new("H02", "nor does it delay publishers", &[10], |ctx| {
        Box::pin(publishers_go_on(ctx))
    }),
    Case::new(
        "H03",
        "what a node holds is bounded, with a stalled subscription and a hundred windows of traffic",
        &[10],
        |ctx| Box::pin(bounded_memory(ctx)),
    ),
    Case::new(
        "H04",
        "what a stalled subscription missed comes from history, or a gap names it",
        &[5, 10],
        |ctx| Box::pin(nothing_lost_silently(ctx)),
    ),
    Case::new(
        "H05",
        "a slow subscription that goes on ends complete",
        &[5, 10],
        |ctx| Box::pin(ends_complete(ctx)),
    )
    .needs(&[Need::Claim(Claim::History)]),
    Case::new(
        "H07",
        "a full publish queue waits, or is busy, as configured",
        &[9, 10],
        |ctx| Box::pin(full_queue(ctx)),
    ),
    Case::new("H08", "buffers of one message work", &[10], |ctx| {
        Box::pin(smallest_buffers(ctx))
    })
    .needs(&[Need::Claim(Claim::History)]),
    Case::new(
        "H09",
        "a subscription that was never polled can be dropped",
        &[10, 12],
        |ctx| Box::pin(never_polled(ctx)),
    ),
];

/// A node whose window holds next to nothing.
async fn small_window(ctx: &Ctx) -> Result<Node, Failure> {
    ctx.open()
        .set("window_frames", 4)
        .set("window_bytes", 8_192)
        .node()
        .await
}

async fn others_go_on(ctx: Ctx) -> Result<(), Failure> {
    const N: usize = 2_000;
    let topic = ctx.topic("t");
    let (node, other) = (ctx.node().await?, small_window(&ctx).await?);
    let _stalled = other.subscribe(&topic, Start::Latest).await?;
    let mut active = other.subscribe(&topic, Start::Latest).await?;
    if ctx.capabilities().history {
        let publishing = {
            let topic = topic.clone();
            tokio::spawn(async move { publish_each(&node, &topic, &kilobytes(N)).await })
        };
        let entries = active.take(N).await?;
        return check_same(&entries, &publishing.await??, &kilobytes(N));
    }
    // What leaves the window is lost, also to one that reads as fast as it can. So no more is on its
    // way than the window holds.
    for burst in kilobytes(N).chunks(4) {
        let receipts = publish_each(&node, &topic, burst).await?;
        check_same(&active.take(burst.len()).await?, &receipts, burst)?;
    }
    Ok(())
}

fn kilobytes(count: usize) -> Vec<Bytes> {
    (0..count)
        .map(|number| format!("{number:0>1024}").into())
        .collect()
}

async fn publishers_go_on(ctx: Ctx) -> Result<(), Failure> {
    let topic = ctx.topic("t");
    // The subscription that stalls lives on the publisher's own node, where it is closest.
    let node = small_window(&ctx).await?;
    let _stalled = node.subscribe(&topic, Start::Latest).await?;
    publish_each(&node, &topic, &kilobytes(2_000))
        .await
        .map(drop)
}

async fn bounded_memory(ctx: Ctx) -> Result<(), Failure> {
    const WINDOW: usize = 64 << 10;
    let topic = ctx.topic("t");
    let node = ctx.node().await?;
    let held = Metered::default();
    let other = ctx
        .open()
        .set("window_bytes", WINDOW)
        .wrap({
            let held = held.clone();
            move |backend| held.around(backend)
        })
        .node()
        .await?;
    let _stalled = other.subscribe(&topic, Start::Latest).await?;
    let mut active = other.subscribe(&topic, Start::Latest).await?;
    let (mut sent, mut most) = (0, 0);
    let batch = kilobytes(8);
    while sent < 100 * WINDOW {
        node.publish_batch(&topic, batch.clone()).await?;
        sent += batch.iter().map(Bytes::len).sum::<usize>();
        // In step with one that reads, so that nothing is merely on its way.
        let entries = active.take(batch.len()).await?;
        ensure_eq!(entries.len(), batch.len(), "messages delivered");
        drop(entries);
        most = most.max(held.bytes());
    }
    ensure!(most > 0, "nothing was measured");
    ensure!(
        most <= 2 * WINDOW,
        "the node held {most} bytes, with a window of {WINDOW}"
    );
    Ok(())
}

async fn nothing_lost_silently(ctx: Ctx) -> Result<(), Failure> {
    const N: usize = 1_000;
    let topic = ctx.topic("t");
    let (node, other) = (ctx.node().await?, small_window(&ctx).await?);
    let mut stalled = other.subscribe(&topic, Start::Latest).await?;
    let mut active = other.subscribe(&topic, Start::Latest).await?;
    let receipts = publish_each(&node, &topic, &numbered(N)).await?;
    let fence = node.fence(&topic).await?;
    // When the other has it all, the window has long moved on.
    if ctx.capabilities().history {
        active.until(fence).await?;
    } else {
        // However fast it is, it may have fallen behind as well.
        active.events_until(fence).await?;
    }
    let events = stalled.events_until(fence).await?;
    if ctx.dense() {
        let before = receipts[0].sequence().previous();
        let gaps = check_accounted(&ctx, &events, before, fence.position().sequence)?;
        let kept = ctx.capabilities().history;
        ensure!(
            !kept || gaps.is_empty(),
            "lost although it is stored: {gaps:?}"
        );
    }
    ensure!(!events.is_empty(), "neither messages nor a gap");
    if !ctx.capabilities().history {
        return Ok(());
    }
    let entries = events
        .into_iter()
        .map(expect_entry)
        .collect::<Result<Vec<_>, _>>()?;
    check_same(&entries, &receipts, &numbered(N))
}

async fn ends_complete(ctx: Ctx) -> Result<(), Failure> {
    const ROUNDS: usize = 20;
    const EACH: usize = 50;
    let topic = ctx.topic("t");
    let (node, other) = (ctx.node().await?, small_window(&ctx).await?);
    let mut slow = other.subscribe(&topic, Start::Latest).await?;
    let (mut receipts, mut entries) = (Vec::new(), Vec::new());
    let payloads = numbered(ROUNDS * EACH);
    for chunk in payloads.chunks(EACH) {
        // Between fast and stalled: it falls behind and joins again, over and over.
        receipts.extend(publish_each(&node, &topic, chunk).await?);
        let behind = receipts.len() - entries.len();
        entries.extend(slow.take(behind * 2 / 3).await?);
    }
    let fence = node.fence(&topic).await?;
    entries.extend(slow.until(fence).await?);
    check_same(&entries, &receipts, &payloads)
}

async fn full_queue(ctx: Ctx) -> Result<(), Failure> {
    let topic = ctx.topic("t");
    let reject = ctx
        .open()
        .set("queue_messages", 2)
        .set("when_full", "reject")
        .node()
        .await?;
    let mut tail = ctx.node().await?.subscribe(&topic, Start::Latest).await?;
    let publishes = numbered(100)
        .into_iter()
        .map(|payload| reject.try_publish(&topic, payload));
    let mut stored = 0;
    let mut busy = 0;
    for result in futures_util::future::join_all(publishes).await {
        match result? {
            Ok(_) => stored += 1,
            Err(error) => {
                ensure_eq!(error.kind(), ErrorKind::Busy, "error of a publish");
                ensure_eq!(error.outcome(), Outcome::NotStored, "outcome of a publish");
                busy += 1;
            }
        }
    }
    ensure!(stored > 0 && busy > 0, "{stored} stored, {busy} busy");
    let fence = reject.fence(&topic).await?;
    ensure_eq!(tail.until(fence).await?.len(), stored, "messages delivered");

    let wait = ctx.open().set("queue_messages", 2).node().await?;
    let publishes = numbered(100)
        .into_iter()
        .map(|payload| wait.publish(&topic, payload));
    for result in futures_util::future::join_all(publishes).await {
        result.doing("a publish that waits for room")?;
    }
    ensure_eq!(tail.take(100).await?.len(), 100, "messages delivered");
    Ok(())
}

async fn smallest_buffers(ctx: Ctx) -> Result<(), Failure> {
    let topic = ctx.topic("t");
    let open = ctx
        .open()
        .set("window_frames", 1)
        .set("window_bytes", 1)
        .set("queue_messages", 1)
        .set("queue_bytes", 1)
        .set("frame_messages", 1)
        .set("frame_bytes", 1)
        .set("page_messages", 1);
    let (node, other) = (open.clone().node().await?, open.node().await?);
    let mut tail = other.subscribe(&topic, Start::Latest).await?;
    let mut running = JoinSet::new();
    for publisher in 0..4 {
        let (node, topic) = (node.clone(), topic.clone());
        running.spawn(async move {
            for number in 0..25 {
                node.publish(&topic, format!("{publisher}/{number}"))
                    .await?;
            }
            Ok::<_, Failure>(())
        });
    }
    let mut next = [0; 4];
    for _ in 0..100 {
        let entry = tail.entry().await?;
        let found = (0..4).find(|p| entry.payload() == &format!("{p}/{}", next[*p]));
        let publisher = found.ok_or_else(|| Failure::new(format!("{entry:?} after {next:?}")))?;
        next[publisher] += 1;
    }
    while let Some(ended) = running.join_next().await {
        ended??;
    }
    Ok(())
}

async fn never_polled(ctx: Ctx) -> Result<(), Failure> {
    let topic = ctx.topic("t");
    let other = small_window(&ctx).await?;
    let node = ctx.node().await?;
    for round in 0..20 {
        let unpolled = other.subscribe(&topic, Start::Latest).await?;
        publish_each(&node, &topic, &numbered(20)).await?;
        if round % 2 == 0 {
            // Dropped while its node is busy with the log, or after.
            let mut other_tail = other.subscribe(&topic, Start::Latest).await?;
            let fence = node.fence(&topic).await?;
            other_tail.until(fence).await?;
        }
        drop(unpolled);
    }
    let mut tail = other.subscribe(&topic, Start::Latest).await?;
    let fence = node.fence(&topic).await?;
    ensure!(
        tail.until(fence).await?.is_empty(),
        "something else came first"
    );
    other.close(Duration::from_secs(5)).await??;
    Ok(())
}
