//! P. Retention: what is trimmed moves the floor and nothing else.

use std::time::Duration;

use scaleout_core::{Event, Start};
use tokio::time::{Instant, sleep};

use super::common::{
    check_accounted, check_follow, check_same, numbered, publish_each, publish_until_trimmed,
};
use crate::{
    Case, Claim, Ctx, Failure, Need,
    failure::{ensure, ensure_eq},
};

const TRIM: &[Need] = &[Need::Claim(Claim::History), Need::RetentionFrames];

pub(super) const CASES: &[Case] = &[
    Case::new(
        "P01",
        "trimming moves the floor, not the head; no sequence comes again",
        &[2],
        |ctx| Box::pin(moves_the_floor(ctx)),
    )
    .claimed(Claim::Trim)
    .needs(TRIM),
    Case::new(
        "P02",
        "what is too old goes, and the gap is exact; the head stays",
        &[2, 5, 6],
        |ctx| Box::pin(too_old(ctx)),
    )
    .claimed(Claim::TrimAge)
    .needs(&[Need::Claim(Claim::History), Need::RetentionAge]),
    Case::new(
        "P03",
        "a log trimmed to nothing keeps its head and epoch",
        &[2, 6, 7],
        |ctx| Box::pin(trimmed_to_nothing(ctx)),
    )
    .claimed(Claim::Trim)
    .needs(&[Need::Claim(Claim::History), Need::TrimToEmpty]),
    Case::new(
        "P05",
        "trimming never takes what the retention promises to keep",
        &[6],
        |ctx| Box::pin(keeps_what_is_promised(ctx)),
    )
    .claimed(Claim::Trim)
    .needs(TRIM),
    Case::new(
        "P06",
        "a read across the floor begins with the exact gap",
        &[5, 6],
        |ctx| Box::pin(read_across_the_floor(ctx)),
    )
    .claimed(Claim::Trim)
    .needs(TRIM),
    Case::new(
        "P07",
        "trimming, reading and subscribing at once account for everything",
        &[5],
        |ctx| Box::pin(all_at_once(ctx)),
    )
    .claimed(Claim::Trim)
    .needs(TRIM),
    Case::new(
        "P08",
        "a log deleted and used again has a new epoch, and says so",
        &[6, 7],
        |ctx| Box::pin(deleted_and_recreated(ctx)),
    )
    .needs(&[Need::Claim(Claim::History), Need::DeleteLog]),
    Case::new(
        "P09",
        "with the default options a thousand frames can be replayed",
        &[6],
        |ctx| Box::pin(default_window(ctx)),
    )
    .needs(&[Need::Claim(Claim::History)]),
];

async fn moves_the_floor(ctx: Ctx) -> Result<(), Failure> {
    let topic = ctx.topic("t");
    let node = ctx.open().retention(10).node().await?;
    let first = node.publish(&topic, "first").await?;
    let mut before = node.head(&topic).await?;
    for _ in 0..3 {
        let head = publish_until_trimmed(&node, &topic, before.floor.plus(20)).await?;
        let (old, new) = (before.cursor.position(), head.cursor.position());
        ensure_eq!(new.epoch, old.epoch, "epoch");
        ensure!(
            head.floor > before.floor,
            "floor {} after {}",
            head.floor,
            before.floor
        );
        ensure!(
            new.sequence > old.sequence,
            "head {} after {}",
            new.sequence,
            old.sequence
        );
        let next = node.publish(&topic, "next").await?;
        check_follow(&ctx, [new.sequence, next.sequence()])?;
        before = node.head(&topic).await?;
    }
    ensure!(
        before.floor > first.sequence(),
        "the first message is still there"
    );
    Ok(())
}

async fn too_old(ctx: Ctx) -> Result<(), Failure> {
    const AGE: Duration = Duration::from_secs(2);
    /// Beside the age: a broker may trim as rarely as it likes, but not never.
    const TRIM: Duration = Duration::from_secs(40);
    /// So that a broker that drops frames by the heap has heaps to drop.
    const PAUSE: Duration = Duration::from_millis(50);
    let topic = ctx.topic("t");
    let node = ctx.open().retention_age(AGE).node().await?;
    let old = publish_each(&node, &topic, &numbered(5)).await?;
    let (first, last) = (old[0].cursor().clone(), old[4].sequence());

    let deadline = Instant::now() + ctx.limits().scaled(TRIM);
    let mut newest = old[4].clone();
    loop {
        let asked = Instant::now();
        let head = node.head(&topic).await?;
        ensure_eq!(head.cursor.position(), newest.cursor().position(), "head");
        if head.floor > last {
            break;
        }
        ensure!(asked < deadline, "not trimmed within {AGE:?} and {TRIM:?}");
        sleep(PAUSE).await;
        let next = node.publish(&topic, "young").await?;
        check_follow(&ctx, [newest.sequence(), next.sequence()])?;
        ensure_eq!(next.epoch(), newest.epoch(), "epoch");
        newest = next;
    }

    // Who comes back with an old place is told what is gone, and gets the rest.
    let fresh = ctx.open().retention_age(AGE).node().await?;
    let mut tail = fresh.subscribe(&topic, Start::After(first.clone())).await?;
    let fence = node.fence(&topic).await?;
    let events = tail.events_until(fence).await?;
    let first = first.position().sequence;
    let gaps = check_accounted(&ctx, &events, first, fence.position().sequence)?;
    let gone = matches!(gaps[..], [(from, to)] if from == first.next() && to >= last);
    ensure!(
        gone,
        "of the messages up to {last}, these are gone: {gaps:?}"
    );
    Ok(())
}

async fn trimmed_to_nothing(ctx: Ctx) -> Result<(), Failure> {
    let topic = ctx.topic("t");
    let (node, other) = (ctx.node().await?, ctx.node().await?);
    let mut live = other.subscribe(&topic, Start::Latest).await?;
    let receipts = publish_each(&node, &topic, &numbered(5)).await?;
    let head = receipts[4].cursor().clone();
    ctx.admin()?.trim_to_empty(&node.log(&topic)).await?;

    for on in [&node, &other] {
        let empty = on.head(&topic).await?;
        ensure_eq!(empty.cursor, head, "head of the empty log");
        ensure_eq!(
            empty.floor,
            head.position().sequence.next(),
            "floor of the empty log"
        );
        ensure!(
            on.read(&topic, None, 10).await?.is_empty(),
            "messages in the empty log"
        );
    }
    let at_head = Start::After(head);
    let mut from_head = other.subscribe(&topic, at_head).await?;
    let fresh = ctx.node().await?;
    let before = Start::After(receipts[1].cursor().clone());
    let mut from_before = fresh.subscribe(&topic, before).await?;

    let next = node.publish(&topic, "next").await?;
    ensure_eq!(next.epoch(), receipts[4].epoch(), "epoch after trimming");
    check_follow(&ctx, [receipts[4].sequence(), next.sequence()])?;
    check_same(
        &from_head.take(1).await?,
        std::slice::from_ref(&next),
        &["next".into()],
    )?;
    check_same(
        &live.take(6).await?[5..],
        std::slice::from_ref(&next),
        &["next".into()],
    )?;
    let gap = from_before.event().await?;
    let bounds = match &gap {
        Event::Gap(gap) => Some((gap.first, gap.last)),
        _ => None,
    };
    let wanted = (receipts[1].sequence().next(), receipts[4].sequence());
    ensure_eq!(
        bounds,
        Some(wanted),
        "what comes for the trimmed messages ({gap:?})"
    );
    check_same(&from_before.take(1).await?, &[next], &["next".into()])
}

async fn keeps_what_is_promised(ctx: Ctx) -> Result<(), Failure> {
    const KEPT: usize = 10;
    let topic = ctx.topic("t");
    let node = ctx.open().retention(KEPT).node().await?;
    let bare = ctx.open().retention(KEPT).bare().await?;
    for round in 0..300 {
        node.publish(&topic, "x").await?;
        if round % 7 == 0 || round > 280 {
            let stored = bare.read_all(&bare.log(&topic), 1_000).await?.len();
            ensure!(
                stored >= KEPT.min(round + 1),
                "{stored} frames are left of {}",
                round + 1
            );
        }
    }
    Ok(())
}

async fn read_across_the_floor(ctx: Ctx) -> Result<(), Failure> {
    let topic = ctx.topic("t");
    let node = ctx.open().retention(10).node().await?;
    let first = node.publish(&topic, "first").await?;
    let head = publish_until_trimmed(&node, &topic, first.sequence()).await?;
    let events = node.read(&topic, Some(first.cursor()), 100_000).await?;
    let end = head.cursor.position().sequence.next();
    let gaps = check_accounted(&ctx, &events, first.sequence(), end)?;
    ensure_eq!(
        gaps,
        [(first.sequence().next(), head.floor.previous())],
        "gaps"
    );
    Ok(())
}

async fn all_at_once(ctx: Ctx) -> Result<(), Failure> {
    let topic = ctx.topic("t");
    let open = ctx
        .open()
        .retention(10)
        .set("window_frames", 4)
        .set("page_messages", 5);
    let (node, other) = (open.clone().node().await?, open.node().await?);
    let mut live = other.subscribe(&topic, Start::Latest).await?;
    let start = live.cursor().position().sequence;
    let publishing = {
        let (node, topic) = (node.clone(), topic.clone());
        tokio::spawn(async move {
            publish_each(&node, &topic, &numbered(1_000)).await?;
            node.fence(&topic).await
        })
    };
    // Readers that begin at the oldest message see it trimmed away under their hands.
    while !publishing.is_finished() {
        let head = other.head(&topic).await?.cursor.position().sequence;
        let mut tail = other.subscribe(&topic, Start::Earliest).await?;
        let from = tail.cursor().position().sequence;
        let mut events = Vec::new();
        while tail.cursor().position().sequence < head {
            events.push(tail.event().await?);
        }
        let end = tail.cursor().position().sequence.next();
        check_accounted(&ctx, &events, from, end)?;
        // A broker in this process may answer without ever waiting.
        tokio::task::yield_now().await;
    }
    let fence = publishing.await??;
    let events = live.events_until(fence).await?;
    check_accounted(&ctx, &events, start, fence.position().sequence).map(drop)
}

async fn deleted_and_recreated(ctx: Ctx) -> Result<(), Failure> {
    let topic = ctx.topic("t");
    let (node, other) = (ctx.node().await?, ctx.node().await?);
    let mut live = other.subscribe(&topic, Start::Latest).await?;
    let receipts = publish_each(&node, &topic, &numbered(5)).await?;
    live.take(5).await?;
    ctx.admin()?.delete_log(&node.log(&topic)).await?;

    let next = node.publish(&topic, "next").await?;
    ensure!(
        next.epoch() != receipts[0].epoch(),
        "the epoch is that of the deleted log"
    );
    let head = other.head(&topic).await?.cursor;
    ensure_eq!(
        head.position(),
        next.cursor().position(),
        "head of the new log"
    );
    let fresh = ctx.node().await?;
    let place = Start::After(receipts[2].cursor().clone());
    for mut tail in [live, fresh.subscribe(&topic, place).await?] {
        let event = tail.event().await?;
        let epoch = match &event {
            Event::Reset(reset) => Some(reset.epoch),
            _ => None,
        };
        ensure_eq!(epoch, Some(next.epoch()), "epoch of the reset ({event:?})");
        let entry = tail.entry().await?;
        ensure_eq!(
            entry.position(),
            next.cursor().position(),
            "first message of the new log"
        );
    }
    Ok(())
}

async fn default_window(ctx: Ctx) -> Result<(), Failure> {
    let topic = ctx.topic("t");
    let (node, other) = (ctx.node().await?, ctx.node().await?);
    let payloads = numbered(1_000);
    let receipts = publish_each(&node, &topic, &payloads).await?;
    let mut tail = other.subscribe(&topic, Start::Earliest).await?;
    check_same(&tail.take(1_000).await?, &receipts, &payloads)
}
