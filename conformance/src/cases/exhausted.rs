//! J and P. The broker runs out of memory, or throws data away.

use std::time::Duration;

use scaleout_core::{Event, Start};

use super::{
    common::{check_same, numbered, publish_each},
    load::Load,
    proxied::quick,
};
use crate::{
    Case, Claim, Ctx, Failure, Need, Setup,
    failure::{ensure, ensure_eq},
};

const HISTORY: Need = Need::Claim(Claim::History);

pub(super) const CASES: &[Case] = &[
    Case::new(
        "J10",
        "a broker without memory acknowledges nothing, and recovers",
        &[9],
        |ctx| Box::pin(out_of_memory(ctx)),
    )
    .destructive()
    .needs(&[Need::Fill, HISTORY]),
    Case::new(
        "P04",
        "a log trimmed to nothing keeps head and epoch over a restart",
        &[2, 6, 7],
        |ctx| Box::pin(trimmed_and_restarted(ctx)),
    )
    .claimed(Claim::Trim)
    .destructive()
    .needs(&[Need::Durable, Need::TrimToEmpty, HISTORY]),
    Case::new(
        "P10",
        "what the broker throws away is missed, and no sequence comes again",
        &[2, 5, 7],
        |ctx| Box::pin(evicted(ctx)),
    )
    .destructive()
    .needs(&[Need::Evict, HISTORY]),
];

async fn out_of_memory(ctx: Ctx) -> Result<(), Failure> {
    let broker = ctx.broker(Setup::volatile()).await?;
    let node = quick(ctx.open())
        .set("publish_timeout", "1s")
        .at(broker.target())
        .node()
        .await?;
    let mut load = Load::new(&ctx);
    load.subscribe(0, &node, Start::Latest).await?;
    let topic = load.topic().clone();
    let mut publisher = load.recorder().publisher(0, topic.clone());
    for full in [false, true, false] {
        if full {
            load.recorder().fault("fill");
            broker.fill().await?;
        } else {
            broker.relieve().await?;
        }
        for _ in 0..3 {
            let (ticket, payload) = publisher.invoke(100);
            let result = node.try_publish(&topic, payload).await?;
            ensure_eq!(
                result.is_err(),
                full,
                "publish with a full broker: {full}, {result:?}"
            );
            if let Err(error) = &result {
                // A broker that says nothing at all may have it, once it goes on.
                ensure!(
                    error.outcome() == scaleout_core::Outcome::NotStored
                        || error.kind() == scaleout_core::ErrorKind::Timeout,
                    "{error:?}"
                );
            }
            ticket.end(&result);
        }
    }
    // A node may show as interrupted while its broker takes nothing; it must not come and go.
    let reconnects = node.plane().health().reconnects;
    ensure!(reconnects <= 1, "{reconnects} reconnects");
    let plan = load.plan().with_publishes(7).with_entries(7).with_faults(1);
    load.finish(&node, plan).await?;
    Ok(())
}

async fn trimmed_and_restarted(ctx: Ctx) -> Result<(), Failure> {
    let broker = ctx.broker(Setup::durable()).await?;
    let topic = ctx.topic("t");
    let node = quick(ctx.open()).at(broker.target()).node().await?;
    let receipts = publish_each(&node, &topic, &numbered(10)).await?;
    let last = receipts[9].cursor();
    let target = broker.target();
    let admin = target
        .admin()
        .ok_or_else(|| Failure::new("no administration"))?;
    admin.trim_to_empty(&node.log(&topic)).await?;
    broker.term().await?;
    broker.start().await?;

    let fresh = quick(ctx.open()).at(broker.target()).node().await?;
    let head = fresh.head(&topic).await?;
    ensure_eq!(head.cursor, *last, "head of the emptied log");
    ensure_eq!(head.floor, last.position().sequence.next(), "its floor");
    let mut resumed = fresh.subscribe(&topic, Start::After(last.clone())).await?;
    let mut behind = fresh
        .subscribe(&topic, Start::After(receipts[4].cursor().clone()))
        .await?;
    let next = publish_each(&fresh, &topic, &numbered(3)).await?;
    ensure_eq!(
        next[0].epoch(),
        last.position().epoch,
        "epoch after the restart"
    );
    ensure!(
        next[0].sequence() > last.position().sequence,
        "a sequence comes again"
    );
    check_same(&resumed.take(3).await?, &next, &numbered(3))?;
    let event = behind.event().await?;
    let exact = matches!(&event, Event::Gap(gap)
        if gap.first == receipts[5].sequence() && gap.last == last.position().sequence);
    ensure!(exact, "{event:?} in place of the gap");
    check_same(&behind.take(3).await?, &next, &numbered(3))
}

async fn evicted(ctx: Ctx) -> Result<(), Failure> {
    for part in 0.. {
        let mut load = Load::on(&ctx, ctx.topic(format!("part {part}")));
        let node = quick(ctx.open()).set("recheck", "1s").node().await?;
        load.subscribe(0, &node, Start::Latest).await?;
        load.publish(0, &node, Duration::from_millis(1));
        load.progress(50).await?;
        let evicted = ctx.admin()?.evict(&node.log(load.topic()), part).await?;
        load.recorder().fault("evict");
        load.progress(50).await?;
        // Either the log is another one now, or messages of it are missed.
        let plan = load
            .plan()
            .with_publishes(100)
            .with_entries(100)
            .with_faults(1);
        let plan = plan.with_gaps().with_wipes(1);
        let checked = load.finish(&node, plan).await;
        checked.map_err(|failure| failure.context(format!("without part {part}")))?;
        if !evicted {
            ensure!(part > 0, "nothing could be thrown away");
            return Ok(());
        }
    }
    Ok(())
}
