//! Everything at once: random faults, crashing consumers, stalled publishers.

use std::time::{Duration, Instant};

use scaleout_core::{Cursor, Start, Topic};

use super::{
    load::Load,
    proxied::{self, quick},
};
use crate::{
    Case, Claim, Ctx, Failure, Need, Node, Rng, Setup,
    checker::{Plan, Recorder},
    failure::ensure,
    proxy::{Direction, Proxy},
};

const HISTORY: Need = Need::Claim(Claim::History);

pub(super) const CASES: &[Case] = &[
    Case::new(
        "E05",
        "a reader beside stalled publishers sees only beginnings of the log",
        &[1, 5],
        |ctx| Box::pin(stalled_publishers(ctx)),
    )
    .proxied()
    .needs(&[HISTORY]),
    Case::new(
        "E12",
        "a consumer that crashes and continues misses nothing",
        &[4, 5, 6],
        |ctx| Box::pin(crashing_consumer(ctx)),
    )
    .proxied()
    .needs(&[HISTORY]),
    Case::new(
        "G14",
        "thirty seconds of random faults break no rule",
        &[1, 2, 3, 4, 5, 9, 11],
        |ctx| Box::pin(random_faults(ctx)),
    )
    .proxied()
    .needs(&[HISTORY]),
    Case::new(
        "H06",
        "a client thrown out by the broker comes back and misses nothing",
        &[5, 10, 11],
        |ctx| Box::pin(thrown_out(ctx)),
    )
    .destructive()
    .needs(&[HISTORY, Need::Kick]),
];

async fn stalled_publishers(ctx: Ctx) -> Result<(), Failure> {
    const EACH: usize = 60;
    let topic = ctx.topic("t");
    let direct = ctx.node().await?;
    let mut nodes = Vec::new();
    let mut proxies = Vec::new();
    for number in 0..4_u64 {
        if ctx.target().addr().is_none() {
            nodes.push(ctx.node().await?);
            continue;
        }
        let (proxy, node) = proxied::node(&ctx).await?;
        // Every publisher stands still in other places than the others.
        proxy.delay(Duration::from_millis(3 * number), Duration::from_millis(20));
        proxies.push(proxy);
        nodes.push(node);
    }
    let publishing = nodes.iter().enumerate().map(async |(number, node)| {
        for index in 0..EACH {
            node.publish(&topic, format!("{number}/{index}")).await?;
        }
        Ok::<_, Failure>(())
    });
    let publishing = futures_util::future::try_join_all(publishing);

    let reading = async {
        let mut after: Option<Cursor> = None;
        let mut seen = Vec::new();
        while seen.len() < nodes.len() * EACH {
            let head = direct.head(&topic).await?.cursor.position();
            let page = direct.read(&topic, after.as_ref(), 7).await?;
            for event in page {
                let entry = crate::node::expect_entry(event)?;
                if let Some(before) = &after {
                    let before = before.position().sequence;
                    ensure!(
                        crate::bare::follows(ctx.dense(), before, entry.sequence()),
                        "{} became visible before what stands between {before} and it",
                        entry.sequence()
                    );
                }
                after = Some(entry.cursor());
                seen.push(entry);
            }
            let read = after.as_ref().map(|cursor| cursor.position().sequence);
            if seen.len() < 7 && read.is_some_and(|read| read > head.sequence) {
                // The page was read after the head, so it may hold more; never less.
                continue;
            }
            tokio::task::yield_now().await;
        }
        Ok::<_, Failure>(seen)
    };
    let both = async { tokio::try_join!(publishing, reading) };
    let limit = Duration::from_secs(45);
    let (_, seen) = ctx
        .limits()
        .within_time(limit, "publishing and reading", both)
        .await??;
    let all = direct.read_all(&topic, 1_000).await?;
    ensure!(
        all.iter()
            .map(|entry| entry.position())
            .eq(seen.iter().map(|entry| entry.position())),
        "the log holds {} messages, of which the reader saw {}",
        all.len(),
        seen.len()
    );
    Ok(())
}

async fn crashing_consumer(ctx: Ctx) -> Result<(), Failure> {
    const CRASHES: usize = 20;
    let mut rng = ctx.rng();
    let node = ctx.node().await?;
    let mut load = Load::new(&ctx);
    load.publish(0, &node, Duration::from_millis(1));
    let topic = load.topic().clone();
    let recorder = load.recorder().clone();
    // What the consumer keeps over its crashes: its place, and what it has done with the messages.
    let mut saved = node.head(&topic).await?.cursor;
    let mut processed: Vec<Cursor> = Vec::new();
    for _ in 0..CRASHES {
        load.recorder().fault("crash");
        let unsaved = consume(
            &ctx,
            &recorder,
            &topic,
            &mut saved,
            &mut processed,
            &mut rng,
        )
        .await?;
        // What it did after it had saved its place for the last time, it does again.
        processed.truncate(processed.len() - unsaved);
    }
    let follow_up = load.subscribe(1, &node, Start::After(saved));
    follow_up.await?;
    let plan = load
        .plan()
        .with_publishes(CRASHES * 5)
        .with_entries(CRASHES)
        .with_faults(CRASHES);
    load.finish(&node, plan).await?;
    let order = processed.windows(2).all(|pair| {
        let [one, two] = [pair[0].position().sequence, pair[1].position().sequence];
        crate::bare::follows(ctx.dense(), one, two)
    });
    ensure!(
        order,
        "the consumer's work has holes, repetitions or disorder"
    );
    ensure!(
        processed.len() > CRASHES,
        "the consumer did {} messages",
        processed.len()
    );
    Ok(())
}

/// One life of the consumer: it continues where it saved its place, processes some messages, saves
/// its place now and then, and crashes. Returns how many it processed after it saved last.
async fn consume(
    ctx: &Ctx,
    recorder: &Recorder,
    topic: &Topic,
    saved: &mut Cursor,
    processed: &mut Vec<Cursor>,
    rng: &mut Rng,
) -> Result<usize, Failure> {
    // Dropped without being closed, as in a crash.
    let node = quick(ctx.open()).untracked().node().await?;
    let start = Start::After(saved.clone());
    let mut tail = node.subscribe(topic, start.clone()).await?;
    let observer = recorder.observer(1, topic.clone(), &start, None);
    let mut unsaved = 0;
    for _ in 0..=rng.below(30) {
        let event = tail.event().await?;
        observer.saw(&event);
        let entry = crate::node::expect_entry(event)?;
        processed.push(entry.cursor());
        unsaved += 1;
        if rng.below(4) == 0 {
            *saved = entry.cursor();
            unsaved = 0;
        }
    }
    Ok(unsaved)
}

async fn random_faults(ctx: Ctx) -> Result<(), Failure> {
    const LASTING: Duration = Duration::from_secs(30);
    let mut rng = ctx.rng();
    // Connections that are no TCP connections break only where the broker breaks them.
    let tcp = ctx.target().addr().is_some();
    let broker = if !tcp && ctx.target().offers_broker(Need::Kick) {
        Some(ctx.broker(Setup::volatile()).await?)
    } else {
        None
    };
    let open = match &broker {
        Some(broker) => ctx.open().at(broker.target()),
        None => ctx.open(),
    };
    let direct = open.clone().node().await?;
    let mut load = Load::new(&ctx);
    load.subscribe(0, &direct, Start::Latest).await?;
    load.publish(0, &direct, Duration::from_millis(25));
    let mut weak: Vec<(Option<Proxy>, Node)> = Vec::new();
    for number in 1..=3 {
        let (proxy, node) = if tcp {
            let (proxy, node) = proxied::node(&ctx).await?;
            (Some(proxy), node)
        } else {
            (None, quick(open.clone()).node().await?)
        };
        load.subscribe(number, &node, Start::Latest).await?;
        // Slow enough that the log keeps all of it: then nothing may be missing.
        load.publish(number, &node, Duration::from_millis(25));
        load.publish(number, &node, Duration::from_millis(35));
        weak.push((proxy, node));
    }
    let began = Instant::now();
    let mut faults = 0;
    while began.elapsed() < LASTING {
        let (proxy, node) = &weak[rng.below(weak.len())];
        match (proxy, &broker) {
            (Some(proxy), _) => {
                let fault = break_somehow(proxy, &mut rng);
                load.recorder().fault(fault);
                tokio::time::sleep(Duration::from_millis(50 + rng.next_u64() % 400)).await;
                proxy.heal();
            }
            (None, Some(broker)) => {
                load.recorder().fault("kick");
                broker.kick().await?;
            }
            (None, None) => {}
        }
        faults += 1;
        read_head(&load, &direct).await?;
        if rng.below(5) == 0 {
            // One more subscription, from the beginning, in the middle of all this.
            let start = Start::Earliest;
            let subscribing = load.subscribe(10 + faults, node, start);
            // It may find no broker; then there is nothing to follow.
            subscribing.await.ok();
        }
        tokio::time::sleep(Duration::from_millis(rng.next_u64() % 150)).await;
    }
    let plan = plan(&load, faults);
    load.finish(&direct, plan).await?;
    Ok(())
}

fn plan(load: &Load, faults: usize) -> Plan {
    let plan = load.plan().with_publishes(1_500).with_entries(4_500);
    plan.with_faults(faults).with_reads(faults)
}

async fn read_head(load: &Load, node: &Node) -> Result<(), Failure> {
    let ticket = load.recorder().read(0, load.topic().clone());
    let head = node.head(load.topic()).await?;
    ticket.showed(head.cursor.position());
    Ok(())
}

fn break_somehow(proxy: &Proxy, rng: &mut Rng) -> &'static str {
    let way = Direction::BOTH[rng.below(2)];
    match rng.below(7) {
        0 => {
            proxy.reset();
            "reset"
        }
        1 => {
            proxy.refuse_new();
            proxy.reset();
            "refuse"
        }
        2 => {
            proxy.blackhole(way);
            "black hole"
        }
        3 => {
            proxy.blackhole_both();
            "black hole both ways"
        }
        4 => {
            proxy.cut_after(rng.next_u64() % 2_000, way);
            "cut"
        }
        5 => {
            proxy.delay(Duration::from_millis(20), Duration::from_millis(30));
            "delay"
        }
        _ => {
            proxy.garble();
            "garble"
        }
    }
}

async fn thrown_out(ctx: Ctx) -> Result<(), Failure> {
    let broker = ctx.broker(Setup::volatile()).await?;
    let open = quick(ctx.open()).at(broker.target());
    let direct = open.clone().node().await?;
    let node = open.node().await?;
    let mut load = Load::new(&ctx);
    load.subscribe(1, &node, Start::Latest).await?;
    load.publish(0, &direct, Duration::from_millis(1));
    for _ in 0..10 {
        load.progress(20).await?;
        load.recorder().fault("kick");
        broker.kick().await?;
    }
    load.progress(20).await?;
    let plan = load
        .plan()
        .with_publishes(220)
        .with_entries(220)
        .with_faults(10);
    load.finish(&direct, plan).await?;
    let reconnects = node.plane().health().reconnects;
    ensure!(reconnects > 0, "nobody was thrown out");
    Ok(())
}
