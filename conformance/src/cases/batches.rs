//! B. Batches: whole or not at all, and together.

use bytes::Bytes;
use scaleout_core::{ErrorKind, Message, Outcome, Start, Topic};
use tokio::task::JoinSet;

use super::common::{check_follow, check_same, numbered};
use crate::{
    Case, Claim, Ctx, Failure, Need,
    failure::{ensure, ensure_eq},
};

pub(super) const CASES: &[Case] = &[
    Case::new(
        "B01",
        "a batch takes sequences in a row, in its order",
        &[2, 8],
        |ctx| Box::pin(in_a_row(ctx)),
    ),
    Case::new(
        "B02",
        "batches of eight publishers on two nodes never interleave",
        &[8],
        |ctx| Box::pin(never_interleave(ctx)),
    ),
    Case::new(
        "B03",
        "a batch with one message too large is refused, and nothing of it is stored",
        &[8, 9],
        |ctx| Box::pin(refused_as_a_whole(ctx)),
    ),
    Case::new(
        "B04",
        "an empty batch does nothing; batches around the frame limit are stored",
        &[8],
        |ctx| Box::pin(any_size(ctx)),
    ),
    Case::new(
        "B05",
        "a batch of identical messages is delivered in full",
        &[4, 8],
        |ctx| Box::pin(identical_messages(ctx)),
    ),
    Case::new(
        "B06",
        "a batch larger than the window and the page arrives whole",
        &[8, 10],
        |ctx| Box::pin(larger_than_the_window(ctx)),
    )
    .needs(&[Need::Claim(Claim::History)]),
    Case::new("B07", "a reader never sees part of a batch", &[8], |ctx| {
        Box::pin(seen_as_a_whole(ctx))
    })
    .needs(&[Need::Claim(Claim::History)]),
];

async fn in_a_row(ctx: Ctx) -> Result<(), Failure> {
    let topic = ctx.topic("t");
    let (node, other) = (ctx.node().await?, ctx.node().await?);
    let mut tail = other.subscribe(&topic, Start::Latest).await?;
    let before = node.publish(&topic, "before").await?;
    let payloads = numbered(50);
    let receipts = node.publish_batch(&topic, payloads.clone()).await?;
    let after = node.publish(&topic, "after").await?;

    let mut sequences = vec![before.sequence()];
    sequences.extend(receipts.iter().map(|receipt| receipt.sequence()));
    for pair in sequences[1..].windows(2) {
        // Even where sequences have holes, there are none within a frame.
        ensure_eq!(pair[1], pair[0].next(), "sequence within the batch");
    }
    sequences.push(after.sequence());
    check_follow(&ctx, sequences)?;

    ensure_eq!(
        tail.entry().await?.sequence(),
        before.sequence(),
        "first message"
    );
    check_same(&tail.take(50).await?, &receipts, &payloads)
}

async fn never_interleave(ctx: Ctx) -> Result<(), Failure> {
    const BATCH: usize = 50;
    const BATCHES: usize = 10;
    let topic = ctx.topic("t");
    let mut tail = ctx.node().await?.subscribe(&topic, Start::Latest).await?;
    // Four publishers share a node: there the core could mix their batches, too.
    let nodes = [ctx.node().await?, ctx.node().await?];
    let mut running = JoinSet::new();
    for publisher in 0..8 {
        let (node, topic) = (nodes[publisher % 2].clone(), topic.clone());
        running.spawn(async move {
            for batch in 0..BATCHES {
                let messages = (0..BATCH).map(|index| format!("{publisher}/{batch}/{index}"));
                node.publish_batch(&topic, messages).await?;
            }
            Ok::<_, Failure>(())
        });
    }
    while let Some(ended) = running.join_next().await {
        ended??;
    }
    let entries = tail.take(8 * BATCHES * BATCH).await?;
    for batch in entries.chunks(BATCH) {
        let name = |payload: &Bytes| {
            let text = String::from_utf8_lossy(payload).into_owned();
            text.rsplit_once('/')
                .map(|(name, _)| name.to_owned())
                .unwrap_or_default()
        };
        let first = name(batch[0].payload());
        for (index, entry) in batch.iter().enumerate() {
            let wanted = format!("{first}/{index}");
            ensure!(
                entry.payload() == &wanted,
                "{:?} stands where {wanted} should",
                entry.payload()
            );
        }
    }
    Ok(())
}

async fn refused_as_a_whole(ctx: Ctx) -> Result<(), Failure> {
    // What fits on any topic is just too much for no more than the one with the longest name.
    let topic = ctx.topic("t".repeat(Topic::MAX_BYTES));
    let (node, other) = (ctx.node().await?, ctx.node().await?);
    let mut tail = other.subscribe(&topic, Start::Latest).await?;
    let too_large = Bytes::from(vec![b'x'; node.plane().max_payload_bytes() + 1]);
    let batch = [
        Bytes::from("a"),
        Bytes::from("b"),
        too_large,
        Bytes::from("c"),
    ];
    let error = node.try_publish_batch(&topic, batch).await?.err();
    let kind = error.map(|error| (error.kind(), error.outcome()));
    ensure_eq!(
        kind,
        Some((ErrorKind::TooLarge, Outcome::NotStored)),
        "error of the batch"
    );
    let fence = node.fence(&topic).await?;
    let seen = tail.until(fence).await?;
    ensure!(
        seen.is_empty(),
        "part of a refused batch was delivered: {seen:?}"
    );

    let bare = ctx.bare().await?;
    let topic = ctx.topic("bare");
    let mut listener = bare.listen(&bare.log(&topic)).await?;
    let mut publisher = bare.publisher(&topic);
    let large = Message::new(vec![b'x'; ctx.capabilities().max_frame_bytes]);
    let frame = publisher.next_frame([Message::new("a"), Message::new("b"), large]);
    let error = bare.try_append(publisher.log(), &frame).await?.err();
    let kind = error.map(|error| (error.kind(), error.outcome()));
    ensure_eq!(
        kind,
        Some((ErrorKind::TooLarge, Outcome::NotStored)),
        "error of the append"
    );
    let fence = publisher.next_frame(["fence"]);
    bare.append(publisher.log(), &fence).await?;
    if let Some((_, frame)) = listener.frame().await? {
        ensure!(
            frame.bytes == *fence.bytes(),
            "part of a refused frame was delivered: {frame:?}"
        );
    }
    Ok(())
}

async fn any_size(ctx: Ctx) -> Result<(), Failure> {
    let topic = ctx.topic("t");
    let node = ctx.open().set("frame_messages", 16).node().await?;
    let mut tail = ctx.node().await?.subscribe(&topic, Start::Latest).await?;
    let mut sequences = Vec::new();
    for size in [0, 1, 15, 16, 17, 100, 0] {
        let payloads = numbered(size);
        let receipts = node.publish_batch(&topic, payloads.clone()).await?;
        ensure_eq!(receipts.len(), size, "receipts of a batch of {size}");
        sequences.extend(receipts.iter().map(|receipt| receipt.sequence()));
        check_same(&tail.take(size).await?, &receipts, &payloads)?;
    }
    let fence = node.fence(&topic).await?;
    ensure!(
        tail.until(fence).await?.is_empty(),
        "more than was published"
    );
    check_follow(&ctx, sequences)
}

async fn identical_messages(ctx: Ctx) -> Result<(), Failure> {
    let topic = ctx.topic("t");
    let (node, other) = (ctx.node().await?, ctx.node().await?);
    let mut tail = other.subscribe(&topic, Start::Latest).await?;
    let payloads = vec![Bytes::from("same"); 10];
    let mut receipts = node.publish_batch(&topic, payloads.clone()).await?;
    // And ten frames that differ in nothing but their number.
    for payload in &payloads {
        receipts.push(node.publish(&topic, payload.clone()).await?);
    }
    check_same(
        &tail.take(20).await?,
        &receipts,
        &[payloads.clone(), payloads].concat(),
    )
}

async fn larger_than_the_window(ctx: Ctx) -> Result<(), Failure> {
    let topic = ctx.topic("t");
    let open = ctx
        .open()
        .set("window_frames", 2)
        .set("window_bytes", 4_096)
        .set("page_messages", 10);
    let other = open.node().await?;
    let mut tail = other.subscribe(&topic, Start::Latest).await?;
    let node = ctx.node().await?;
    let payloads: Vec<Bytes> = (0..500).map(|n| format!("{n:0>200}").into()).collect();
    let receipts = node.publish_batch(&topic, payloads.clone()).await?;
    check_same(&tail.take(500).await?, &receipts, &payloads)?;
    check_same(&other.read_all(&topic, 10).await?, &receipts, &payloads)
}

async fn seen_as_a_whole(ctx: Ctx) -> Result<(), Failure> {
    const BATCH: u64 = 20;
    let topic = ctx.topic("t");
    let (node, bare) = (ctx.node().await?, ctx.bare().await?);
    let log = bare.log(&topic);
    let publishing = {
        let topic = topic.clone();
        tokio::spawn(async move {
            for _ in 0..100 {
                node.publish_batch(&topic, numbered(20)).await?;
            }
            Ok::<_, Failure>(())
        })
    };
    let mut looks = 0;
    loop {
        let last = publishing.is_finished();
        let page = bare.read(&log, None, 7).await?;
        for frame in &page.frames {
            ensure_eq!(
                u64::from(frame.len),
                BATCH,
                "messages of a batch that a reader sees"
            );
        }
        if ctx.dense() {
            ensure_eq!(
                page.head.get() % BATCH,
                0,
                "messages beyond whole batches at the head"
            );
        }
        looks += 1;
        if last {
            break;
        }
        // A broker in this process may answer without ever waiting.
        tokio::task::yield_now().await;
    }
    ensure!(
        looks > 1,
        "the reader never looked while batches were published"
    );
    publishing.await?
}
