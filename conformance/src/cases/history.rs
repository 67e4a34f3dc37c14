//! E. History and cursors: a place in the log works as one, on any node.

use std::{collections::HashMap, time::Duration};

use scaleout_core::{
    Cursor, Epoch, ErrorKind, Event, Frame, Position, ResetReason, Sequence, Start, StoredFrame,
};
use tokio::task::JoinSet;

use super::common::{
    check_accounted, check_same, moved, numbered, publish_each, publish_until_trimmed,
};
use crate::{
    Case, Claim, Ctx, Failure, Need, ResultExt,
    failure::{ensure, ensure_eq},
};

const HISTORY: &[Need] = &[Need::Claim(Claim::History)];

pub(super) const CASES: &[Case] = &[
    Case::new("E01", "pages of every size make up the log", &[6], |ctx| {
        Box::pin(every_page_size(ctx))
    })
    .needs(HISTORY),
    Case::new(
        "E02",
        "a read at the head is empty and does not wait",
        &[6],
        |ctx| Box::pin(read_at_the_head(ctx)),
    )
    .needs(HISTORY),
    Case::new(
        "E03",
        "a read of 0, 1 or very many messages does what it says",
        &[6, 10],
        |ctx| Box::pin(odd_limits(ctx)),
    )
    .needs(HISTORY),
    Case::new(
        "E04",
        "a reader beside writers sees only beginnings of the log",
        &[1, 5],
        |ctx| Box::pin(only_prefixes(ctx)),
    )
    .needs(HISTORY),
    Case::new(
        "E06",
        "from every place the log continues exactly after it",
        &[6],
        |ctx| Box::pin(every_place(ctx)),
    )
    .needs(HISTORY),
    Case::new(
        "E07",
        "from the head nothing comes until something new does",
        &[6],
        |ctx| Box::pin(from_the_head(ctx)),
    )
    .needs(HISTORY),
    Case::new(
        "E08",
        "from a place that was trimmed away comes a gap up to the oldest message",
        &[5, 6],
        |ctx| Box::pin(below_the_floor(ctx)),
    )
    .needs(&[Need::Claim(Claim::History), Need::RetentionFrames]),
    Case::new(
        "E09",
        "from a place beyond the head comes a reset, not silence",
        &[6, 7],
        |ctx| Box::pin(beyond_the_head(ctx)),
    )
    .needs(HISTORY),
    Case::new(
        "E10",
        "from a place of an unknown epoch comes a reset",
        &[6, 7],
        |ctx| Box::pin(unknown_epoch(ctx)),
    )
    .needs(HISTORY),
    Case::new(
        "E11",
        "a cursor survives as text; that of another topic is refused",
        &[6],
        |ctx| Box::pin(cursors_as_text(ctx)),
    )
    .needs(HISTORY),
];

async fn every_page_size(ctx: Ctx) -> Result<(), Failure> {
    let topic = ctx.topic("t");
    let (node, bare) = (ctx.node().await?, ctx.bare().await?);
    // Frames of one, two and three messages, so that pages end within frames.
    let (mut receipts, payloads) = (Vec::new(), numbered(24));
    for chunk in payloads.chunks(6) {
        receipts.push(node.publish(&topic, chunk[0].clone()).await?);
        receipts.extend(node.publish_batch(&topic, chunk[1..3].to_vec()).await?);
        receipts.extend(node.publish_batch(&topic, chunk[3..].to_vec()).await?);
    }
    for limit in 1..=payloads.len() + 1 {
        let read = node.read_all(&topic, limit).await?;
        check_same(&read, &receipts, &payloads).doing(format_args!("pages of {limit}"))?;
        let frames = bare.read_all(&bare.log(&topic), limit).await?;
        let lens: Vec<_> = frames.iter().map(|frame| frame.len).collect();
        ensure_eq!(lens, [1, 2, 3].repeat(4), "frames in pages of {limit}");
        if ctx.dense() {
            check_dense(&frames)?;
        }
    }
    // The place is excluded: reading after a message begins with the next.
    for (index, receipt) in receipts.iter().enumerate() {
        let events = node.read(&topic, Some(receipt.cursor()), 100).await?;
        let after = receipt.sequence();
        let end = receipts[receipts.len() - 1].sequence().next();
        if ctx.dense() {
            check_accounted(&ctx, &events, after, end)
                .doing(format_args!("after message {index}"))?;
        }
        ensure_eq!(
            events.len(),
            payloads.len() - index - 1,
            "messages after message {index}"
        );
    }
    Ok(())
}

/// Frames of a dense log touch each other.
fn check_dense(frames: &[StoredFrame]) -> Result<(), Failure> {
    for pair in frames.windows(2) {
        ensure_eq!(pair[1].first, pair[0].last().next(), "beginning of a frame");
    }
    Ok(())
}

async fn read_at_the_head(ctx: Ctx) -> Result<(), Failure> {
    let topic = ctx.topic("t");
    let (node, bare) = (ctx.node().await?, ctx.bare().await?);
    let receipts = node.publish_batch(&topic, numbered(3)).await?;
    let last = receipts[2].cursor();
    ensure!(
        node.read(&topic, Some(last), 10).await?.is_empty(),
        "events after the head"
    );
    let page = bare
        .read(&bare.log(&topic), Some(last.position()), 10)
        .await?;
    ensure!(
        page.frames.is_empty(),
        "frames after the head: {:?}",
        page.frames
    );
    ensure_eq!(page.head, last.position().sequence, "head");
    ensure_eq!(page.epoch, last.position().epoch, "epoch");
    Ok(())
}

async fn odd_limits(ctx: Ctx) -> Result<(), Failure> {
    let topic = ctx.topic("t");
    let (node, bare) = (ctx.node().await?, ctx.bare().await?);
    let log = bare.log(&topic);
    publish_each(&node, &topic, &numbered(10)).await?;
    let nothing = bare.read(&log, None, 0).await?;
    ensure!(
        nothing.frames.is_empty(),
        "a read of 0 gave {:?}",
        nothing.frames
    );
    ensure!(
        nothing.head >= Sequence::new(10),
        "a read of 0 shows head {}",
        nothing.head
    );
    let one = bare.read(&log, None, 1).await?;
    ensure_eq!(one.frames.len(), 1, "frames in a read of 1");
    let all = bare.read(&log, None, usize::MAX).await?;
    ensure!(!all.frames.is_empty(), "a read of very many gave nothing");
    ensure!(
        node.read(&topic, None, 0).await?.is_empty(),
        "a read of 0 gave events"
    );
    ensure!(
        !node.read(&topic, None, usize::MAX).await?.is_empty(),
        "a read of very many is empty"
    );
    Ok(())
}

async fn only_prefixes(ctx: Ctx) -> Result<(), Failure> {
    let topic = ctx.topic("t");
    let (one, two) = (ctx.bare().await?, ctx.bare().await?);
    let log = one.log(&topic);
    let mut writing = JoinSet::new();
    for writer in 0..6 {
        let mut publisher = if writer % 2 == 0 { &one } else { &two }.publisher(&topic);
        writing.spawn(async move {
            for counter in 1..=100_usize {
                publisher.append(numbered(1 + counter % 3)).await?;
            }
            Ok::<_, Failure>(())
        });
    }
    let reader = ctx.bare().await?;
    let (mut frames, mut after, mut looks) = (Vec::new(), None, 0);
    loop {
        let last = writing.is_empty();
        let page = reader.read(&log, after, 50).await?;
        ensure!(
            page.head >= after.map_or(Sequence::ZERO, |at: Position| at.sequence),
            "head"
        );
        if let Some(frame) = page.frames.last() {
            ensure!(
                frame.last() <= page.head,
                "{frame:?} beyond the head {}",
                page.head
            );
            after = Some(Position::new(page.epoch, frame.last()));
        } else if last {
            break;
        }
        frames.extend(page.frames);
        looks += 1;
        // A broker in this process may answer without ever waiting.
        tokio::task::yield_now().await;
        while let Some(ended) = writing.try_join_next() {
            ended??;
        }
    }
    ensure_eq!(frames.len(), 600, "frames read");
    ensure!(looks > 5, "the reader looked only {looks} times");
    if ctx.dense() {
        check_dense(&frames)?;
    }
    let mut counters = HashMap::new();
    for frame in frames {
        let decoded =
            Frame::decode(frame.bytes).map_err(|error| Failure::new(error.to_string()))?;
        let counter = counters.entry(decoded.publisher()).or_insert(0);
        *counter += 1;
        ensure_eq!(
            decoded.counter(),
            *counter,
            "counter of {:?}",
            decoded.publisher()
        );
    }
    Ok(())
}

async fn every_place(ctx: Ctx) -> Result<(), Failure> {
    const N: usize = 30;
    let topic = ctx.topic("t");
    let (node, other) = (ctx.node().await?, ctx.node().await?);
    let mut places = vec![node.head(&topic).await?.cursor];
    let payloads = numbered(N);
    let receipts = {
        let mut receipts = publish_each(&node, &topic, &payloads[..N / 2]).await?;
        receipts.extend(
            node.publish_batch(&topic, payloads[N / 2..].to_vec())
                .await?,
        );
        receipts
    };
    places.extend(receipts.iter().map(|receipt| receipt.cursor().clone()));
    let mut tails = Vec::new();
    for place in places {
        // Half on the node that published, half on one that never heard of the log.
        let on = if tails.len() % 2 == 0 { &other } else { &node };
        tails.push(on.subscribe(&topic, Start::After(place)).await?);
    }
    let fence = node.fence(&topic).await?;
    for (k, tail) in tails.iter_mut().enumerate() {
        let entries = tail.until(fence).await?;
        check_same(&entries, &receipts[k..], &payloads[k..]).doing(format_args!("after {k}"))?;
    }
    Ok(())
}

async fn from_the_head(ctx: Ctx) -> Result<(), Failure> {
    let topic = ctx.topic("t");
    let (node, other) = (ctx.node().await?, ctx.node().await?);
    let receipts = publish_each(&node, &topic, &numbered(5)).await?;
    let last = receipts[4].cursor().clone();
    let mut tail = other.subscribe(&topic, Start::After(last)).await?;
    let fence = node.fence(&topic).await?;
    ensure!(
        tail.until(fence).await?.is_empty(),
        "something came before anything new did"
    );
    Ok(())
}

async fn below_the_floor(ctx: Ctx) -> Result<(), Failure> {
    let topic = ctx.topic("t");
    let node = ctx.open().retention(10).node().await?;
    let receipts = publish_each(&node, &topic, &numbered(5)).await?;
    let place = receipts[2].cursor().clone();
    let head = publish_until_trimmed(&node, &topic, place.position().sequence).await?;

    let bare = ctx.open().retention(10).bare().await?;
    let page = bare
        .read(&bare.log(&topic), Some(place.position()), 10)
        .await?;
    ensure_eq!(page.floor, head.floor, "floor that a read shows");
    ensure_eq!(
        page.frames.first().map(|frame| frame.first),
        Some(head.floor),
        "first frame"
    );

    let other = ctx.open().retention(10).node().await?;
    let fence = node.fence(&topic).await?;
    let mut tail = other.subscribe(&topic, Start::After(place.clone())).await?;
    let events = tail.events_until(fence).await?;
    let end = fence.position().sequence;
    let gaps = check_accounted(&ctx, &events, place.position().sequence, end)?;
    let floor = node.head(&topic).await?.floor;
    ensure_eq!(
        gaps,
        [(place.position().sequence.next(), floor.previous())],
        "gaps"
    );
    let read = other.read(&topic, Some(&place), 1).await?;
    let gap = matches!(read.first(), Some(Event::Gap(gap)) if gap.last == floor.previous());
    ensure!(gap, "a read begins with {:?}", read.first());
    Ok(())
}

async fn beyond_the_head(ctx: Ctx) -> Result<(), Failure> {
    let topic = ctx.topic("t");
    let (node, other) = (ctx.node().await?, ctx.node().await?);
    let receipt = node.publish(&topic, "x").await?;
    for (on, by) in [(&other, 1), (&node, 1), (&other, 1_000_000)] {
        let place = moved(&node.head(&topic).await?.cursor, by);
        let mut tail = on.subscribe(&topic, Start::After(place.clone())).await?;
        match tail.event().await? {
            Event::Reset(reset) => {
                ensure_eq!(reset.reason, ResetReason::AheadOfHead, "reason");
                ensure_eq!(reset.epoch, receipt.epoch(), "epoch of the reset");
            }
            other => return Err(Failure::new(format!("not a reset: {other:?}"))),
        }
        let fence = node.fence(&topic).await?;
        ensure!(
            tail.until(fence).await?.is_empty(),
            "something old came after the reset"
        );
        let place = moved(&node.head(&topic).await?.cursor, by);
        let read = on.read(&topic, Some(&place), 10).await?;
        let reset = matches!(read.first(), Some(Event::Reset(_)));
        ensure!(reset, "a read begins with {:?}", read.first());
    }
    Ok(())
}

async fn unknown_epoch(ctx: Ctx) -> Result<(), Failure> {
    let topic = ctx.topic("t");
    let (node, other) = (ctx.node().await?, ctx.node().await?);
    let payloads = numbered(5);
    let receipts = publish_each(&node, &topic, &payloads).await?;
    let stranger = Position::new(Epoch::random(), receipts[2].sequence());
    let place = Cursor::new(topic.clone(), stranger);
    for on in [&other, &node] {
        let mut tail = on.subscribe(&topic, Start::After(place.clone())).await?;
        match tail.event().await? {
            Event::Reset(reset) => {
                ensure_eq!(reset.reason, ResetReason::EpochChanged, "reason");
                ensure_eq!(reset.epoch, receipts[0].epoch(), "epoch of the reset");
            }
            other => return Err(Failure::new(format!("not a reset: {other:?}"))),
        }
        check_same(&tail.take(5).await?, &receipts, &payloads)?;
        let read = on.read(&topic, Some(&place), 10).await?;
        ensure!(
            matches!(read.first(), Some(Event::Reset(_))),
            "a read begins with {read:?}"
        );
    }
    Ok(())
}

async fn cursors_as_text(ctx: Ctx) -> Result<(), Failure> {
    let topic = ctx.topic("t/ü");
    let node = ctx.node().await?;
    let payloads = numbered(5);
    let receipts = publish_each(&node, &topic, &payloads).await?;
    let text = receipts[1].cursor().to_string();
    let cursor: Cursor = text.parse()?;
    ensure!(
        &cursor == receipts[1].cursor(),
        "{text} is read as {cursor:?}"
    );
    // Nothing of the first node is left when the second continues.
    node.close(Duration::from_secs(5)).await??;
    let other = ctx.node().await?;
    let mut tail = other
        .subscribe(&topic, Start::After(cursor.clone()))
        .await?;
    check_same(&tail.take(3).await?, &receipts[2..], &payloads[2..])?;

    let elsewhere = ctx.topic("elsewhere");
    let refused = other
        .try_subscribe(&elsewhere, Start::After(cursor.clone()))
        .await?;
    let kind = refused.err().map(|error| error.kind());
    ensure_eq!(
        kind,
        Some(ErrorKind::InvalidInput),
        "error for a cursor of another topic"
    );
    let read = other.plane().read(&elsewhere, Some(&cursor), 1);
    let kind = ctx
        .limits()
        .within("read", read)
        .await?
        .err()
        .map(|error| error.kind());
    ensure_eq!(kind, Some(ErrorKind::InvalidInput), "error of a read");
    Ok(())
}
