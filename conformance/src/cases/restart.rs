//! J. The broker's process ends, or stands still: what it promises to keep is kept, and what is lost
//! with it is said.

use std::time::Duration;

use scaleout_core::{Epoch, Event, Start, Topic};

use super::{
    common::{check_same, numbered, publish_each},
    load::Load,
    proxied::{quick, until_interrupted, until_reconnected},
};
use crate::{
    Broker, Case, Claim, Ctx, Failure, Need, Node, Setup, Tail,
    failure::{ensure, ensure_eq},
};

const HISTORY: Need = Need::Claim(Claim::History);

pub(super) const CASES: &[Case] = &[
    Case::new(
        "I16",
        "a broker that stands still for a while loses nothing",
        &[4, 5, 9, 11],
        |ctx| Box::pin(stands_still(ctx)),
    )
    .destructive()
    .needs(&[Need::Broker, HISTORY]),
    Case::new(
        "J01",
        "a durable broker that is restarted keeps its log and epoch",
        &[5, 6],
        |ctx| Box::pin(durable_restart(ctx, false)),
    )
    .destructive()
    .needs(&[Need::Durable, HISTORY]),
    Case::new(
        "J02",
        "a durable broker that is killed keeps them too; another says so",
        &[5, 7],
        |ctx| Box::pin(killed(ctx)),
    )
    .destructive()
    .needs(&[Need::Broker, HISTORY]),
    Case::new(
        "J03",
        "killed twice under eight publishers: every message is accounted for",
        &[1, 3, 4, 5, 7, 9],
        |ctx| Box::pin(killed_under_load(ctx)),
    )
    .destructive()
    .needs(&[Need::Broker, HISTORY]),
    Case::new(
        "J04",
        "a restart while nothing happens is not noticed in the stream",
        &[5, 7],
        |ctx| Box::pin(restart_while_idle(ctx)),
    )
    .destructive()
    .needs(&[Need::Durable, HISTORY]),
    Case::new(
        "J12",
        "ten restarts leave nothing behind",
        &[11, 12],
        |ctx| Box::pin(ten_restarts(ctx)),
    )
    .destructive()
    .needs(&[Need::Broker, HISTORY]),
];

/// A node with quick options on the broker.
async fn node(ctx: &Ctx, broker: &dyn Broker) -> Result<Node, Failure> {
    quick(ctx.open()).at(broker.target()).node().await
}

async fn stands_still(ctx: Ctx) -> Result<(), Failure> {
    let broker = ctx.broker(Setup::volatile()).await?;
    let mut load = Load::new(&ctx);
    let mut nodes = Vec::new();
    for number in 0..2 {
        let node = node(&ctx, &*broker).await?;
        load.subscribe(number, &node, Start::Latest).await?;
        load.publish(number, &node, Duration::from_millis(2));
        nodes.push(node);
    }
    load.progress(50).await?;
    load.recorder().fault("stop");
    broker.stop().await?;
    let noticed = async {
        for node in &nodes {
            until_interrupted(&ctx, node).await?;
        }
        Ok::<_, Failure>(())
    };
    let stopped = tokio::time::sleep(Duration::from_secs(5));
    let (noticed, ()) = tokio::join!(noticed, stopped);
    broker.cont().await?;
    noticed?;
    load.progress(50).await?;
    let plan = load
        .plan()
        .with_publishes(101)
        .with_entries(202)
        .with_faults(1);
    load.finish(&nodes[0], plan).await?;
    Ok(())
}

/// A log with a hundred messages, a subscription that has them, and the log's epoch.
struct Before {
    topic: Topic,
    tail: Tail,
    epoch: Epoch,
}

impl Before {
    async fn new(ctx: &Ctx, node: &Node) -> Result<Self, Failure> {
        let topic = ctx.topic("t");
        let mut tail = node.subscribe(&topic, Start::Latest).await?;
        let receipts = publish_each(node, &topic, &numbered(100)).await?;
        check_same(&tail.take(100).await?, &receipts, &numbered(100))?;
        let epoch = receipts[0].epoch();
        Ok(Self { topic, tail, epoch })
    }

    /// The log and its subscription go on as if nothing had happened.
    async fn goes_on(mut self, ctx: &Ctx, broker: &dyn Broker, node: &Node) -> Result<(), Failure> {
        let fence = node.fence(&self.topic).await?;
        ensure_eq!(fence.position().epoch, self.epoch, "epoch");
        ensure_eq!(self.tail.until(fence).await?.len(), 0, "messages of nobody");
        let fresh = quick(ctx.open()).at(broker.target()).node().await?;
        let entries = fresh.read_all(&self.topic, 1_000).await?;
        let payloads = entries
            .iter()
            .take(100)
            .map(|entry| entry.payload().clone());
        ensure!(payloads.eq(numbered(100)), "the log holds {entries:?}");
        ensure_eq!(entries.len(), 101, "messages in the log");
        Ok(())
    }
}

async fn durable_restart(ctx: Ctx, kill: bool) -> Result<(), Failure> {
    let broker = ctx.broker(Setup::durable()).await?;
    let node = node(&ctx, &*broker).await?;
    let before = Before::new(&ctx, &node).await?;
    if kill {
        broker.kill().await?;
    } else {
        broker.term().await?;
    }
    until_interrupted(&ctx, &node).await?;
    broker.start().await?;
    before.goes_on(&ctx, &*broker, &node).await
}

async fn killed(ctx: Ctx) -> Result<(), Failure> {
    if ctx.target().offers_broker(Need::Durable) {
        durable_restart(ctx.clone(), true).await?;
    }
    let broker = ctx.broker(Setup::volatile()).await?;
    let node = node(&ctx, &*broker).await?;
    let before = Before::new(&ctx, &node).await?;
    let cursor = before.tail.cursor();
    broker.kill().await?;
    broker.start().await?;

    // The subscription that went through it, one that resumes, and the head all say so.
    let payloads = numbered(3);
    let receipts = publish_each(&node, &before.topic, &payloads).await?;
    let epoch = receipts[0].epoch();
    ensure!(
        epoch != before.epoch,
        "a broker that lost its data has the same epoch"
    );
    let resumed = node.subscribe(&before.topic, Start::After(cursor)).await?;
    for mut tail in [before.tail, resumed] {
        let event = tail.event().await?;
        let Event::Reset(reset) = &event else {
            return Err(Failure::new(format!("{event:?} in place of a reset")));
        };
        ensure_eq!(reset.epoch, epoch, "epoch of the reset");
        check_same(&tail.take(3).await?, &receipts, &payloads)?;
    }
    ensure_eq!(
        node.head(&before.topic).await?.cursor.position().epoch,
        epoch,
        "epoch of the head"
    );
    Ok(())
}

async fn killed_under_load(ctx: Ctx) -> Result<(), Failure> {
    for setup in [Setup::durable(), Setup::persistent(), Setup::volatile()] {
        if setup.persistent && !ctx.target().offers_broker(Need::Durable) {
            continue;
        }
        let broker = ctx.broker(setup).await?;
        let topic = ctx.topic(format!("{setup:?}"));
        let mut load = Load::on(&ctx, topic);
        let mut nodes = Vec::new();
        for number in 0..2 {
            let node = node(&ctx, &*broker).await?;
            load.subscribe(number, &node, Start::Latest).await?;
            for _ in 0..4 {
                load.publish(number, &node, Duration::from_millis(2));
            }
            nodes.push(node);
        }
        for _ in 0..2 {
            load.progress(200).await?;
            load.recorder().fault("kill");
            broker.kill().await?;
            broker.start().await?;
        }
        load.progress(200).await?;
        let fresh = node(&ctx, &*broker).await?;
        let plan = load
            .plan()
            .with_publishes(600)
            .with_entries(400)
            .with_faults(2);
        let plan = plan.with_wipes(if setup.durable { 0 } else { 2 });
        load.finish(&fresh, plan)
            .await
            .map_err(|failure| failure.context(format!("{setup:?}")))?;
    }
    Ok(())
}

async fn restart_while_idle(ctx: Ctx) -> Result<(), Failure> {
    let broker = ctx.broker(Setup::durable()).await?;
    let node = node(&ctx, &*broker).await?;
    let before = Before::new(&ctx, &node).await?;
    broker.term().await?;
    broker.start().await?;
    until_reconnected(&ctx, &node, 1).await?;
    before.goes_on(&ctx, &*broker, &node).await
}

async fn ten_restarts(ctx: Ctx) -> Result<(), Failure> {
    let durable = ctx.target().offers_broker(Need::Durable);
    let broker = ctx
        .broker(if durable {
            Setup::durable()
        } else {
            Setup::volatile()
        })
        .await?;
    let node = node(&ctx, &*broker).await?;
    let topic = ctx.topic("t");
    let mut tail = node.subscribe(&topic, Start::Latest).await?;
    let mut tasks = None;
    for round in 1..=10 {
        broker.kill().await?;
        broker.start().await?;
        until_reconnected(&ctx, &node, round).await?;
        let fence = node.fence(&topic).await?;
        tail.events_until(fence).await?;
        // What there is after the first time is there for good; it must not grow.
        let alive = tokio::runtime::Handle::current()
            .metrics()
            .num_alive_tasks();
        let most = *tasks.get_or_insert(alive + 2);
        ensure!(
            alive <= most,
            "{alive} tasks after {round} restarts, {most} allowed"
        );
    }
    Ok(())
}
