//! F. Gaps: one for each loss, with its bounds, and none without.

use scaleout_core::{Event, Start};

use super::common::{check_accounted, check_same, numbered, publish_each, publish_until_trimmed};
use crate::{
    Case, Claim, Ctx, Failure, Need,
    failure::{ensure, ensure_eq},
};

pub(super) const CASES: &[Case] = &[
    Case::new(
        "F01",
        "a loss gives one gap with its exact bounds",
        &[5, 10],
        |ctx| Box::pin(exact_bounds(ctx)),
    )
    .needs(&[
        Need::Claim(Claim::Dense),
        Need::Claim(Claim::History),
        Need::RetentionFrames,
    ]),
    Case::new(
        "F02",
        "ten thousand messages over ten nodes, each continuing where the last stopped: no gap",
        &[4, 5, 6],
        |ctx| Box::pin(no_gap_without_loss(ctx)),
    )
    .needs(&[Need::Claim(Claim::History)]),
];

async fn exact_bounds(ctx: Ctx) -> Result<(), Failure> {
    let topic = ctx.topic("t");
    let node = ctx.open().retention(10).node().await?;
    let slow = ctx
        .open()
        .retention(10)
        .set("window_frames", 4)
        .node()
        .await?;
    let mut tail = slow.subscribe(&topic, Start::Latest).await?;
    let start = tail.cursor().position().sequence;

    // It reads a little, and then nothing until what follows is gone from window and history.
    let receipts = publish_each(&node, &topic, &numbered(3)).await?;
    check_same(&tail.take(3).await?, &receipts, &numbered(3))?;
    let head = publish_until_trimmed(&node, &topic, receipts[2].sequence().plus(100)).await?;
    let fence = node.fence(&topic).await?;
    // The other's own window has moved on as well once it has passed the fence on.
    let mut guard = slow.subscribe(&topic, Start::Earliest).await?;
    guard.events_until(fence).await?;
    drop(guard);

    let events = tail.events_until(fence).await?;
    let gaps = check_accounted(
        &ctx,
        &events,
        receipts[2].sequence(),
        fence.position().sequence,
    )?;
    ensure_eq!(gaps.len(), 1, "gaps");
    ensure!(
        gaps[0].1 < head.floor.plus(1),
        "the gap {gaps:?} covers what is stored: {head:?}"
    );
    ensure!(
        start < gaps[0].0,
        "the gap {gaps:?} covers what was delivered"
    );
    let epochs = events.iter().all(|event| match event {
        Event::Gap(gap) => gap.epoch == receipts[0].epoch(),
        Event::Message(entry) => entry.epoch() == receipts[0].epoch(),
        _ => false,
    });
    ensure!(epochs, "another epoch in {events:?}");
    Ok(())
}

async fn no_gap_without_loss(ctx: Ctx) -> Result<(), Failure> {
    const NODES: usize = 10;
    const EACH: usize = 1_000;
    let topic = ctx.topic("t");
    let publisher = ctx.open().set("frame_messages", 10).node().await?;
    let mut start = Start::After(publisher.head(&topic).await?.cursor);
    let publishing = {
        let topic = topic.clone();
        tokio::spawn(async move {
            let mut receipts = Vec::new();
            for chunk in numbered(NODES * EACH).chunks(10) {
                receipts.extend(publisher.publish_batch(&topic, chunk.to_vec()).await?);
            }
            Ok::<_, Failure>(receipts)
        })
    };
    let mut entries = Vec::new();
    for _ in 0..NODES {
        let node = ctx.node().await?;
        let mut tail = node.subscribe(&topic, start).await?;
        entries.extend(tail.take(EACH).await?);
        start = Start::After(entries[entries.len() - 1].cursor());
        node.close(std::time::Duration::from_secs(5)).await??;
    }
    check_same(&entries, &publishing.await??, &numbered(NODES * EACH))
}
