//! A. Sequences and receipts: the numbers that a log gives, and what a receipt is worth.

use scaleout_core::{ErrorKind, Message, Outcome, Sequence, Start, Topic};

use super::common::{check_follow, check_same, numbered, publish_each};
use crate::{
    Case, Claim, Ctx, Failure, Need,
    failure::{ensure, ensure_eq},
};

pub(super) const CASES: &[Case] = &[
    Case::new(
        "A01",
        "the first publish on a fresh log gets the first sequence and an epoch",
        &[2],
        |ctx| Box::pin(first_publish(ctx)),
    ),
    Case::new(
        "A02",
        "a thousand publishes get a thousand sequences, without hole or repeat",
        &[2],
        |ctx| Box::pin(thousand_receipts(ctx)),
    ),
    Case::new("A03", "two logs are numbered independently", &[2], |ctx| {
        Box::pin(two_logs(ctx))
    }),
    Case::new(
        "A05",
        "a receipt names the place where reads and subscriptions find the message",
        &[2],
        |ctx| Box::pin(receipt_is_the_place(ctx)),
    )
    .needs(&[Need::Claim(Claim::History)]),
    Case::new(
        "A06",
        "a log that was never used has a head, a stable epoch, and looking takes no sequence",
        &[2, 7],
        |ctx| Box::pin(never_used(ctx)),
    )
    .needs(&[Need::Claim(Claim::History)]),
    Case::new(
        "A07",
        "the head never goes back while others publish",
        &[2],
        |ctx| Box::pin(head_never_goes_back(ctx)),
    )
    .needs(&[Need::Claim(Claim::History)]),
    Case::new(
        "A08",
        "a publish that is refused takes no sequence",
        &[2, 9],
        |ctx| Box::pin(refused_takes_nothing(ctx)),
    ),
    Case::new(
        "A09",
        "under load every receipt is a real position, and no two are the same",
        &[2],
        |ctx| Box::pin(receipts_under_load(ctx)),
    ),
];

async fn first_publish(ctx: Ctx) -> Result<(), Failure> {
    let bare = ctx.bare().await?;
    let appended = bare.publisher(&ctx.topic("bare")).append(["hello"]).await?;
    ensure_eq!(
        appended.first.is_some(),
        ctx.capabilities().receipts,
        "append tells the position"
    );
    let first = ctx.node().await?.publish(&ctx.topic("t"), "hello").await?;
    for (epoch, sequence) in appended
        .first
        .map(|position| (position.epoch, position.sequence))
        .into_iter()
        .chain([(first.epoch(), first.sequence())])
    {
        ensure!(epoch.get() != 0, "the epoch is a placeholder");
        ensure!(
            sequence >= Sequence::FIRST,
            "sequence {sequence} stands before every message"
        );
        if ctx.dense() {
            ensure_eq!(sequence, Sequence::FIRST, "first sequence");
        }
    }
    Ok(())
}

async fn thousand_receipts(ctx: Ctx) -> Result<(), Failure> {
    let node = ctx.node().await?;
    let receipts = publish_each(&node, &ctx.topic("t"), &numbered(1_000)).await?;
    if ctx.dense() {
        ensure_eq!(receipts[0].sequence(), Sequence::FIRST, "first sequence");
    }
    check_follow(&ctx, receipts.iter().map(|receipt| receipt.sequence()))?;
    for receipt in &receipts {
        ensure_eq!(receipt.epoch(), receipts[0].epoch(), "epoch");
    }
    Ok(())
}

async fn two_logs(ctx: Ctx) -> Result<(), Failure> {
    let node = ctx.node().await?;
    let (one, two) = (ctx.topic("one"), ctx.topic("two"));
    let (mut ones, mut twos) = (Vec::new(), Vec::new());
    for round in 0..100_usize {
        ones.push(node.publish(&one, "x").await?.sequence());
        for _ in 0..round % 3 {
            twos.push(node.publish(&two, "y").await?.sequence());
        }
    }
    check_follow(&ctx, ones)?;
    check_follow(&ctx, twos)
}

async fn receipt_is_the_place(ctx: Ctx) -> Result<(), Failure> {
    let topic = ctx.topic("t");
    let (publisher, reader) = (ctx.node().await?, ctx.node().await?);
    let mut live = reader.subscribe(&topic, Start::Latest).await?;
    let mut rng = ctx.rng();
    let payloads: Vec<_> = (0..50)
        .map(|_| {
            let len = 1 + rng.below(300);
            rng.bytes(len).into()
        })
        .collect();
    let receipts = publish_each(&publisher, &topic, &payloads).await?;
    check_same(&live.take(payloads.len()).await?, &receipts, &payloads)?;
    check_same(&reader.read_all(&topic, 7).await?, &receipts, &payloads)?;
    let mut earliest = reader.subscribe(&topic, Start::Earliest).await?;
    check_same(&earliest.take(payloads.len()).await?, &receipts, &payloads)
}

async fn never_used(ctx: Ctx) -> Result<(), Failure> {
    let topic = ctx.topic("t");
    let (node, other, bare) = (ctx.node().await?, ctx.node().await?, ctx.bare().await?);
    let head = node.head(&topic).await?;
    ensure_eq!(head.cursor.position().sequence, Sequence::ZERO, "head");
    ensure_eq!(head.floor, Sequence::FIRST, "floor");
    let epoch = head.cursor.position().epoch;
    ensure!(epoch.get() != 0, "the epoch is a placeholder");
    for _ in 0..3 {
        ensure_eq!(other.head(&topic).await?, head, "head on another node");
        let page = bare.read(&bare.log(&topic), None, 10).await?;
        ensure_eq!(page.epoch, epoch, "epoch that a read shows");
        ensure!(
            page.frames.is_empty(),
            "frames in an unused log: {:?}",
            page.frames
        );
        ensure!(
            node.read(&topic, None, 10).await?.is_empty(),
            "events in an unused log"
        );
    }
    let receipt = node.publish(&topic, "first").await?;
    ensure_eq!(receipt.epoch(), epoch, "epoch of the first message");
    if ctx.dense() {
        ensure_eq!(
            receipt.sequence(),
            Sequence::FIRST,
            "first sequence after looking"
        );
    }
    Ok(())
}

async fn head_never_goes_back(ctx: Ctx) -> Result<(), Failure> {
    let topic = ctx.topic("t");
    let (publisher, reader) = (ctx.node().await?, ctx.node().await?);
    let publishing = {
        let topic = topic.clone();
        tokio::spawn(async move { publish_each(&publisher, &topic, &numbered(500)).await })
    };
    let mut before = reader.head(&topic).await?;
    let mut looks = 0;
    while !publishing.is_finished() || looks < 50 {
        let head = reader.head(&topic).await?;
        let (old, new) = (before.cursor.position(), head.cursor.position());
        ensure_eq!(new.epoch, old.epoch, "epoch");
        ensure!(
            new.sequence >= old.sequence,
            "head {} after {}",
            new.sequence,
            old.sequence
        );
        before = head;
        looks += 1;
        // A broker in this process may answer without ever waiting.
        tokio::task::yield_now().await;
    }
    let last = publishing.await??.pop().map(|receipt| receipt.sequence());
    let head = reader.head(&topic).await?;
    ensure_eq!(
        Some(head.cursor.position().sequence),
        last,
        "head in the end"
    );
    Ok(())
}

async fn refused_takes_nothing(ctx: Ctx) -> Result<(), Failure> {
    // What fits on any topic is just too much for no more than the one with the longest name.
    let topic = ctx.topic("t".repeat(Topic::MAX_BYTES));
    let node = ctx.node().await?;
    let too_large = vec![b'x'; node.plane().max_payload_bytes() + 1];
    let before = node.publish(&topic, "before").await?;
    let error = node.try_publish(&topic, too_large.clone()).await?.err();
    let kind = error.map(|error| (error.kind(), error.outcome()));
    ensure_eq!(
        kind,
        Some((ErrorKind::TooLarge, Outcome::NotStored)),
        "error of a publish"
    );
    let after = node.publish(&topic, "after").await?;
    check_follow(&ctx, [before.sequence(), after.sequence()])?;

    // The core refuses it before the backend sees it; the backend must hold by itself as well.
    let bare = ctx.bare().await?;
    let mut publisher = bare.publisher(&ctx.topic("bare"));
    let before = publisher.append(["before"]).await?;
    let frame =
        publisher.next_frame([Message::new(vec![b'x'; ctx.capabilities().max_frame_bytes])]);
    let error = bare.try_append(publisher.log(), &frame).await?.err();
    let kind = error.map(|error| (error.kind(), error.outcome()));
    ensure_eq!(
        kind,
        Some((ErrorKind::TooLarge, Outcome::NotStored)),
        "error of an append"
    );
    let after = publisher.append(["after"]).await?;
    if let (Some(before), Some(after)) = (before.first, after.first) {
        check_follow(&ctx, [before.sequence, after.sequence])?;
    }
    Ok(())
}

async fn receipts_under_load(ctx: Ctx) -> Result<(), Failure> {
    let topic = ctx.topic("t");
    let mut running = tokio::task::JoinSet::new();
    for _ in 0..2 {
        let node = ctx.node().await?;
        for _ in 0..50 {
            let (node, topic) = (node.clone(), topic.clone());
            running.spawn(async move { publish_each(&node, &topic, &numbered(10)).await });
        }
    }
    let mut sequences = Vec::new();
    while let Some(receipts) = running.join_next().await {
        sequences.extend(receipts??.iter().map(|receipt| receipt.sequence()));
    }
    sequences.sort_unstable();
    ensure_eq!(sequences.len(), 1_000, "number of receipts");
    ensure!(
        sequences[0] >= Sequence::FIRST,
        "a receipt of sequence {}",
        sequences[0]
    );
    check_follow(&ctx, sequences)
}
