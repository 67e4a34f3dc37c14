//! F and J. A log's data are lost: a new epoch begins, and everybody is told.

use std::{collections::HashSet, time::Duration};

use scaleout_core::{Cursor, Epoch, Event, ResetReason, Start, Topic};

use super::{
    common::{check_same, numbered, publish_each},
    load::Load,
    proxied::{self, quick, until_reconnected},
};
use crate::{
    Broker, Case, Claim, Ctx, Failure, Need, Node, Setup, Tail,
    failure::{ensure, ensure_eq},
};

const HISTORY: Need = Need::Claim(Claim::History);

pub(super) const CASES: &[Case] = &[
    Case::new(
        "F03",
        "reconnecting, another node and a restart leave the epoch alone",
        &[7],
        |ctx| Box::pin(epoch_stays(ctx)),
    )
    .destructive()
    .needs(&[HISTORY]),
    Case::new(
        "F04",
        "each loss of a log's data begins another epoch",
        &[2, 7],
        |ctx| Box::pin(epoch_changes(ctx)),
    )
    .destructive()
    .needs(&[Need::Wipe, HISTORY]),
    Case::new(
        "F05",
        "after a wipe streams, resumed streams, heads and receipts show the new epoch",
        &[6, 7],
        |ctx| Box::pin(everybody_is_told(ctx)),
    )
    .destructive()
    .needs(&[Need::Wipe, HISTORY]),
    Case::new(
        "F06",
        "over three wipes a position never has two messages",
        &[1, 2, 4, 7],
        |ctx| Box::pin(wiped_under_load(ctx)),
    )
    .destructive()
    .needs(&[Need::Wipe, HISTORY]),
    Case::new(
        "F07",
        "eight nodes that come upon an empty log agree on its epoch",
        &[1, 7],
        |ctx| Box::pin(one_epoch_for_all(ctx)),
    )
    .destructive()
    .needs(&[Need::Wipe, HISTORY]),
    Case::new(
        "F08",
        "an old cursor is told from a new one however long the new log is",
        &[6, 7],
        |ctx| Box::pin(old_cursor_in_a_long_log(ctx)),
    )
    .destructive()
    .needs(&[Need::Wipe, HISTORY]),
    Case::new(
        "F09",
        "a broker set back to older data is noticed by an old cursor",
        &[6, 7],
        |ctx| Box::pin(set_back_and_published_past(ctx)),
    )
    .should()
    .destructive()
    .needs(&[Need::Snapshot, HISTORY]),
    Case::new(
        "J05",
        "a wipe under live subscriptions is told, without any traffic",
        &[5, 7, 11],
        |ctx| Box::pin(wiped_while_idle(ctx)),
    )
    .destructive()
    .needs(&[Need::Wipe, HISTORY]),
    Case::new(
        "J06",
        "a wipe while nobody is connected is told to who returns",
        &[6, 7],
        |ctx| Box::pin(wiped_while_away(ctx)),
    )
    .destructive()
    .needs(&[Need::Wipe, HISTORY]),
    Case::new(
        "J07",
        "a broker set back to older data is told to live subscriptions",
        &[6, 7],
        |ctx| Box::pin(set_back(ctx)),
    )
    .should()
    .destructive()
    .needs(&[Need::Snapshot, HISTORY]),
    Case::new(
        "J08",
        "a log deleted under load goes on in another life",
        &[4, 5, 7],
        |ctx| Box::pin(deleted_under_load(ctx)),
    )
    .destructive()
    .needs(&[Need::DeleteLog, HISTORY]),
];

/// A node with quick options, which looks at idle logs every second, on the broker.
async fn node(ctx: &Ctx, broker: &dyn Broker) -> Result<Node, Failure> {
    quick(ctx.open())
        .set("recheck", "1s")
        .at(broker.target())
        .node()
        .await
}

/// The next event, which must be the reset to another epoch.
async fn reset(tail: &mut Tail) -> Result<Epoch, Failure> {
    match tail.event().await? {
        Event::Reset(reset) if reset.reason == ResetReason::EpochChanged => Ok(reset.epoch),
        event => Err(Failure::new(format!("{event:?} in place of a reset"))),
    }
}

async fn epoch(node: &Node, topic: &Topic) -> Result<Epoch, Failure> {
    Ok(node.head(topic).await?.cursor.position().epoch)
}

/// How all data are removed.
#[derive(Clone, Copy, Debug)]
enum Wipe {
    /// While the broker runs, as by an administrator.
    Running,
    /// While it is down: its disk is lost.
    Down,
}

impl Wipe {
    /// The ways that the target's brokers have.
    fn all(ctx: &Ctx) -> &'static [Self] {
        if ctx.target().offers_broker(Need::Broker) {
            &[Self::Running, Self::Down]
        } else {
            &[Self::Running]
        }
    }

    async fn run(self, broker: &dyn Broker) -> Result<(), Failure> {
        match self {
            Self::Running => broker.wipe().await?,
            Self::Down => {
                broker.kill().await?;
                broker.wipe().await?;
                broker.start().await?;
            }
        }
        Ok(())
    }
}

async fn epoch_stays(ctx: Ctx) -> Result<(), Failure> {
    let topic = ctx.topic("t");
    let node = ctx.node().await?;
    let first = node.publish(&topic, "m").await?.epoch();
    ensure_eq!(epoch(&node, &topic).await?, first, "epoch of the head");
    let other = ctx.node().await?;
    ensure_eq!(epoch(&other, &topic).await?, first, "epoch on another node");
    ensure_eq!(
        other.publish(&topic, "m").await?.epoch(),
        first,
        "epoch of its receipt"
    );

    if ctx.target().addr().is_some() {
        let (proxy, node) = proxied::node(&ctx).await?;
        let mut tail = node.subscribe(&topic, Start::Earliest).await?;
        tail.take(2).await?;
        proxy.reset();
        until_reconnected(&ctx, &node, 1).await?;
        ensure_eq!(
            epoch(&node, &topic).await?,
            first,
            "epoch after reconnecting"
        );
        let receipt = node.publish(&topic, "m").await?;
        ensure_eq!(
            receipt.epoch(),
            first,
            "epoch of a receipt after reconnecting"
        );
        ensure_eq!(tail.entry().await?.epoch(), first, "epoch of what follows");
    }

    if ctx.target().offers_broker(Need::Durable) {
        let broker = ctx.broker(Setup::durable()).await?;
        let node = quick(ctx.open()).at(broker.target()).node().await?;
        let mut tail = node.subscribe(&topic, Start::Latest).await?;
        let first = node.publish(&topic, "m").await?.epoch();
        tail.entry().await?;
        broker.term().await?;
        broker.start().await?;
        let receipt = node.publish(&topic, "m").await?;
        ensure_eq!(receipt.epoch(), first, "epoch of a receipt after a restart");
        ensure_eq!(
            tail.entry().await?.position(),
            receipt.cursor().position(),
            "what follows"
        );
    }
    Ok(())
}

async fn epoch_changes(ctx: Ctx) -> Result<(), Failure> {
    let broker = ctx.broker(Setup::volatile()).await?;
    let topic = ctx.topic("t");
    let node = node(&ctx, &*broker).await?;
    let mut epochs = HashSet::from([node.publish(&topic, "m").await?.epoch()]);
    for wipe in Wipe::all(&ctx) {
        wipe.run(&*broker).await?;
        check_new_life(&ctx, &*broker, &node, &topic, &mut epochs)
            .await
            .map_err(|failure| failure.context(format!("{wipe:?}")))?;
    }
    let target = broker.target();
    if let Some(admin) = target.admin().filter(|admin| admin.offers(Need::DeleteLog)) {
        admin.delete_log(&node.log(&topic)).await?;
        check_new_life(&ctx, &*broker, &node, &topic, &mut epochs)
            .await
            .map_err(|failure| failure.context("deleted"))?;
    }
    Ok(())
}

async fn check_new_life(
    ctx: &Ctx,
    broker: &dyn Broker,
    node: &Node,
    topic: &Topic,
    epochs: &mut HashSet<Epoch>,
) -> Result<(), Failure> {
    // Through a fresh node, which knows nothing of the past, and the old one.
    let fresh = quick(ctx.open()).at(broker.target()).node().await?;
    let now = epoch(&fresh, topic).await?;
    ensure!(
        epochs.insert(now),
        "the epoch is one that the log had before"
    );
    let receipt = node.publish(topic, "m").await?;
    ensure_eq!(receipt.epoch(), now, "epoch of the receipt");
    if ctx.dense() {
        ensure_eq!(receipt.sequence().get(), 1, "sequence of the receipt");
    }
    Ok(())
}

async fn everybody_is_told(ctx: Ctx) -> Result<(), Failure> {
    let broker = ctx.broker(Setup::volatile()).await?;
    let topic = ctx.topic("t");
    let nodes = [node(&ctx, &*broker).await?, node(&ctx, &*broker).await?];
    let mut tails = Vec::new();
    for node in &nodes {
        tails.push(node.subscribe(&topic, Start::Latest).await?);
    }
    let mut before = publish_each(&nodes[0], &topic, &numbered(5)).await?;
    for tail in &mut tails {
        tail.take(5).await?;
    }
    for wipe in Wipe::all(&ctx) {
        wipe.run(&*broker).await?;
        // The first node publishes, the second is told by what arrives.
        let receipts = publish_each(&nodes[0], &topic, &numbered(3)).await?;
        let now = receipts[0].epoch();
        ensure!(
            now != before[0].epoch(),
            "{wipe:?}: the receipt has the old epoch"
        );
        for node in &nodes {
            ensure_eq!(
                epoch(node, &topic).await?,
                now,
                "epoch of the head, {wipe:?}"
            );
        }
        for tail in &mut tails {
            ensure_eq!(reset(tail).await?, now, "epoch of the reset, {wipe:?}");
            check_same(&tail.take(3).await?, &receipts, &numbered(3))?;
        }
        for cursor in [before[0].cursor(), before[before.len() - 1].cursor()] {
            let mut resumed = nodes[1]
                .subscribe(&topic, Start::After(cursor.clone()))
                .await?;
            ensure_eq!(
                reset(&mut resumed).await?,
                now,
                "epoch of a resumed stream, {wipe:?}"
            );
            check_same(&resumed.take(3).await?, &receipts, &numbered(3))?;
            let read = nodes[1].read(&topic, Some(cursor), 10).await?;
            ensure!(
                matches!(read.first(), Some(Event::Reset(reset)) if reset.epoch == now),
                "{wipe:?}: a read after an old cursor begins with {:?}",
                read.first()
            );
        }
        before = receipts;
    }
    Ok(())
}

async fn wiped_under_load(ctx: Ctx) -> Result<(), Failure> {
    let broker = ctx.broker(Setup::volatile()).await?;
    let mut load = Load::new(&ctx);
    let mut nodes = Vec::new();
    for number in 0..3 {
        let node = node(&ctx, &*broker).await?;
        load.subscribe(number, &node, Start::Latest).await?;
        load.publish(number, &node, Duration::from_millis(1));
        nodes.push(node);
    }
    for _ in 0..3 {
        load.progress(100).await?;
        load.recorder().fault("wipe");
        broker.wipe().await?;
    }
    load.progress(100).await?;
    let plan = load
        .plan()
        .with_publishes(400)
        .with_entries(400)
        .with_faults(3)
        .with_wipes(3);
    let totals = load.finish(&nodes[0], plan).await?;
    // Nobody lived through a wipe without being told.
    ensure!(
        totals.resets >= 3,
        "{} resets on three nodes over three wipes",
        totals.resets
    );
    Ok(())
}

async fn one_epoch_for_all(ctx: Ctx) -> Result<(), Failure> {
    let broker = ctx.broker(Setup::volatile()).await?;
    let mut nodes = Vec::new();
    while nodes.len() < 8 {
        // Whether they agree is the question, not how fast eight of them set up a broker anew.
        let open = quick(ctx.open()).set("request_timeout", "5s");
        nodes.push(open.at(broker.target()).node().await?);
    }
    for round in 0..20 {
        let topic = ctx.topic(format!("t{}", round % 2));
        broker.wipe().await?;
        let arrivals = nodes
            .iter()
            .enumerate()
            .map(async |(number, node)| match number % 3 {
                0 => Ok(node.publish(&topic, "m").await?.epoch()),
                1 => epoch(node, &topic).await,
                _ => Ok(node
                    .subscribe(&topic, Start::Latest)
                    .await?
                    .cursor()
                    .position()
                    .epoch),
            });
        let epochs = futures_util::future::try_join_all(arrivals).await?;
        let now = epoch(&nodes[0], &topic).await?;
        ensure!(
            epochs.iter().all(|epoch| *epoch == now),
            "{epochs:?} in a log of {now:?}"
        );
    }
    Ok(())
}

async fn old_cursor_in_a_long_log(ctx: Ctx) -> Result<(), Failure> {
    let broker = ctx.broker(Setup::volatile()).await?;
    let topic = ctx.topic("t");
    let node = node(&ctx, &*broker).await?;
    let old = publish_each(&node, &topic, &numbered(10)).await?;
    broker.wipe().await?;
    // Twice as long as it was: every old sequence has a message again.
    let receipts = publish_each(&node, &topic, &numbered(20)).await?;
    for cursor in old.iter().map(|receipt| receipt.cursor()) {
        let mut tail = node.subscribe(&topic, Start::After(cursor.clone())).await?;
        ensure_eq!(
            reset(&mut tail).await?,
            receipts[0].epoch(),
            "epoch of the reset"
        );
        check_same(&tail.take(20).await?, &receipts, &numbered(20))?;
    }
    Ok(())
}

async fn wiped_while_idle(ctx: Ctx) -> Result<(), Failure> {
    let broker = ctx.broker(Setup::volatile()).await?;
    let topic = ctx.topic("t");
    let nodes = [node(&ctx, &*broker).await?, node(&ctx, &*broker).await?];
    let mut tails = Vec::new();
    for node in &nodes {
        tails.push(node.subscribe(&topic, Start::Latest).await?);
    }
    let silent = ctx.topic("silent");
    // One log that had messages, and one that never had any.
    let _never_used = nodes[0].subscribe(&silent, Start::Latest).await?;
    let mut old = nodes[0].publish(&topic, "m").await?.epoch();
    for tail in &mut tails {
        tail.take(1).await?;
    }
    for wipe in Wipe::all(&ctx) {
        wipe.run(&*broker).await?;
        let mut told = Vec::new();
        for tail in &mut tails {
            told.push(reset(tail).await?);
        }
        ensure!(told[0] != old, "{wipe:?}: reset to the old epoch");
        ensure_eq!(told[1], told[0], "epoch on the other node, {wipe:?}");
        let receipt = nodes[1].publish(&topic, "m").await?;
        ensure_eq!(receipt.epoch(), told[0], "epoch of the receipt, {wipe:?}");
        for tail in &mut tails {
            let entry = tail.entry().await?;
            ensure_eq!(
                entry.position(),
                receipt.cursor().position(),
                "what follows, {wipe:?}"
            );
        }
        old = told[0];
    }
    Ok(())
}

async fn wiped_while_away(ctx: Ctx) -> Result<(), Failure> {
    let broker = ctx.broker(Setup::volatile()).await?;
    let topic = ctx.topic("t");
    let mut cursors: Vec<Cursor> = Vec::new();
    {
        let node = node(&ctx, &*broker).await?;
        let receipts = publish_each(&node, &topic, &numbered(5)).await?;
        cursors.extend([receipts[0].cursor().clone(), receipts[4].cursor().clone()]);
        node.close(Duration::from_secs(5)).await??;
    }
    let [.., wipe] = Wipe::all(&ctx) else {
        return Err(Failure::new("there is no way to wipe"));
    };
    wipe.run(&*broker).await?;
    let node = node(&ctx, &*broker).await?;
    for cursor in cursors {
        let mut tail = node.subscribe(&topic, Start::After(cursor.clone())).await?;
        let now = reset(&mut tail).await?;
        ensure!(now != cursor.position().epoch, "reset to the old epoch");
        let fence = node.fence(&topic).await?;
        ensure_eq!(fence.position().epoch, now, "epoch");
        tail.events_until(fence).await?;
    }
    Ok(())
}

async fn deleted_under_load(ctx: Ctx) -> Result<(), Failure> {
    let mut load = Load::new(&ctx);
    let mut nodes = Vec::new();
    for number in 0..2 {
        let node = quick(ctx.open()).set("recheck", "1s").node().await?;
        load.subscribe(number, &node, Start::Latest).await?;
        load.publish(number, &node, Duration::from_millis(1));
        nodes.push(node);
    }
    let log = nodes[0].log(load.topic());
    for _ in 0..2 {
        load.progress(100).await?;
        load.recorder().fault("delete");
        ctx.admin()?.delete_log(&log).await?;
    }
    load.progress(100).await?;
    let plan = load
        .plan()
        .with_publishes(300)
        .with_entries(300)
        .with_faults(2)
        .with_wipes(2);
    let totals = load.finish(&nodes[0], plan).await?;
    ensure!(
        totals.resets >= 2,
        "{} resets on two nodes over two deletions",
        totals.resets
    );
    Ok(())
}

/// A persistent broker with ten messages in its copy and ten more in its log, and a live subscription
/// that has all of them.
async fn before_set_back(
    ctx: &Ctx,
    broker: &dyn Broker,
    node: &Node,
    topic: &Topic,
) -> Result<Tail, Failure> {
    let mut tail = node.subscribe(topic, Start::Latest).await?;
    publish_each(node, topic, &numbered(10)).await?;
    broker.snapshot().await?;
    publish_each(node, topic, &numbered(10)).await?;
    tail.take(20).await?;
    broker.kill().await?;
    broker.restore().await?;
    broker.start().await?;
    until_reconnected(ctx, node, 1).await?;
    Ok(tail)
}

async fn set_back(ctx: Ctx) -> Result<(), Failure> {
    let broker = ctx.broker(Setup::persistent()).await?;
    let topic = ctx.topic("t");
    let node = node(&ctx, &*broker).await?;
    let mut tail = before_set_back(&ctx, &*broker, &node, &topic).await?;
    let event = tail.event().await?;
    ensure!(
        matches!(event, Event::Reset(_)),
        "{event:?} in place of a reset"
    );
    let fence = node.fence(&topic).await?;
    tail.until(fence).await?;
    Ok(())
}

async fn set_back_and_published_past(ctx: Ctx) -> Result<(), Failure> {
    let broker = ctx.broker(Setup::persistent()).await?;
    let topic = ctx.topic("t");
    let node = node(&ctx, &*broker).await?;
    let cursor = before_set_back(&ctx, &*broker, &node, &topic)
        .await?
        .cursor();
    publish_each(&node, &topic, &numbered(20)).await?;
    let mut resumed = node.subscribe(&topic, Start::After(cursor)).await?;
    let event = resumed.event().await?;
    ensure!(
        matches!(event, Event::Reset(_)),
        "{event:?} in place of a reset"
    );
    Ok(())
}
