//! O. Time: what a publisher writes into a frame decides nothing, nor does anybody's clock, and a
//! process may sleep.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use scaleout_core::{Frame, PublisherId, Start};

use super::{load::Load, proxied::quick};
#[cfg(all(unix, feature = "processes"))]
use crate::child::Child;
use crate::{
    Case, Claim, Clock, Ctx, Failure, Need, Setup,
    bare::frame_at,
    failure::{ensure, ensure_eq},
};

const HOUR: Duration = Duration::from_secs(3_600);

pub(super) const CASES: &[Case] = &[
    Case::new(
        "O01",
        "a client with its clock an hour off publishes and gets what all others do",
        &[1, 3, 4, 5],
        |ctx| Box::pin(clients_hours_apart(ctx)),
    )
    .proxied()
    .needs(&[
        Need::Proxy,
        Need::Child,
        Need::Clock,
        Need::Claim(Claim::History),
    ]),
    Case::new(
        "O02",
        "a broker that is restarted with its clock an hour behind goes on numbering upwards",
        &[1, 2, 4, 5, 6],
        |ctx| Box::pin(earlier_clock(ctx)),
    )
    .destructive()
    .needs(&[Need::Durable, Need::Clock, Need::Claim(Claim::History)]),
    Case::new(
        "O03",
        "nodes whose clocks are hours apart share one order, and lose nothing",
        &[1, 4, 5],
        |ctx| Box::pin(hours_apart(ctx)),
    )
    .needs(&[Need::Claim(Claim::History)]),
    Case::new(
        "O04",
        "a time that cannot be is carried like any other",
        &[1, 5],
        |ctx| Box::pin(impossible_times(ctx)),
    )
    .needs(&[Need::Claim(Claim::History)]),
    Case::new(
        "O05",
        "a process that is stopped for ten seconds misses nothing",
        &[1, 4, 5, 11],
        |ctx| Box::pin(stopped(ctx)),
    )
    .proxied()
    .needs(&[Need::Proxy, Need::Child, Need::Claim(Claim::History)]),
];

fn now() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(all(unix, feature = "processes"))]
async fn clients_hours_apart(ctx: Ctx) -> Result<(), Failure> {
    const PACE: Duration = Duration::from_millis(2);
    let node = ctx.node().await?;
    let mut load = Load::new(&ctx);
    load.subscribe(0, &node, Start::Latest).await?;
    for (number, clock) in [(1, Clock::Ahead(HOUR)), (2, Clock::Behind(HOUR))] {
        let url = ctx.open().url();
        let mut child = Child::start(ctx.limits(), &url, load.topic().as_str(), clock).await?;
        let voice = child.voice()?;
        load.follow(number, child);
        load.speak(number, voice, PACE);
    }
    load.publish(0, &node, PACE);
    load.progress(600).await?;
    let plan = load.plan().with_publishes(600).with_entries(1_800);
    load.finish(&node, plan).await.map(drop)
}

#[cfg(not(all(unix, feature = "processes")))]
fn clients_hours_apart(_: Ctx) -> std::future::Ready<Result<(), Failure>> {
    std::future::ready(Err(Failure::new("no process can be started here")))
}

async fn earlier_clock(ctx: Ctx) -> Result<(), Failure> {
    let broker = ctx.broker(Setup::durable()).await?;
    let node = || quick(ctx.open()).at(broker.target()).node();
    let mut load = Load::new(&ctx);
    let mut nodes = Vec::new();
    for number in 0..2 {
        let node = node().await?;
        load.subscribe(number, &node, Start::Latest).await?;
        load.publish(number, &node, Duration::from_millis(2));
        nodes.push(node);
    }
    load.progress(100).await?;
    let cursor = nodes[0].head(load.topic()).await?.cursor;
    load.progress(100).await?;
    Clock::Right.shows(broker.time().await?)?;

    load.recorder().fault("an earlier clock");
    broker.set_clock(Clock::Behind(HOUR)).await?;
    broker.term().await?;
    broker.start().await?;
    Clock::Behind(HOUR).shows(broker.time().await?)?;
    load.progress(200).await?;
    let fresh = node().await?;
    for (number, node) in [(0, &nodes[0]), (2, &fresh)] {
        let start = Start::After(cursor.clone());
        load.subscribe(number, node, start).await?;
    }
    load.publish(2, &fresh, Duration::from_millis(2));
    load.progress(200).await?;
    let plan = load.plan().with_publishes(600).with_entries(2_200);
    load.finish(&node().await?, plan.with_faults(1))
        .await
        .map(drop)
}

async fn hours_apart(ctx: Ctx) -> Result<(), Failure> {
    let times = [now() + HOUR, now() - HOUR, now()].map(millis);
    carried(&ctx, &times.repeat(10)).await
}

async fn impossible_times(ctx: Ctx) -> Result<(), Failure> {
    carried(&ctx, &[0, u64::MAX, 1, u64::MAX - 1]).await
}

#[cfg(all(unix, feature = "processes"))]
async fn stopped(ctx: Ctx) -> Result<(), Failure> {
    use rustix::process::Signal;

    const STOPPED: Duration = Duration::from_secs(10);
    let node = ctx.node().await?;
    let mut load = Load::new(&ctx);
    // It has lost its connection by then, for the broker as well as for itself.
    let url = quick(ctx.open()).url();
    let child = Child::start(ctx.limits(), &url, load.topic().as_str(), Clock::Right).await?;
    let process = child.process();
    load.follow(1, child);
    load.publish(0, &node, Duration::from_millis(2));
    load.progress(200).await?;
    load.recorder().fault("stop");
    process.signal(Signal::STOP)?;
    let stopped = tokio::time::sleep(STOPPED);
    let (progress, ()) = tokio::join!(load.progress(500), stopped);
    process.signal(Signal::CONT)?;
    progress?;
    load.progress(200).await?;
    let plan = load.plan();
    let plan = plan.with_publishes(900).with_entries(900).with_faults(1);
    load.finish(&node, plan).await.map(drop)
}

#[cfg(not(all(unix, feature = "processes")))]
fn stopped(_: Ctx) -> std::future::Ready<Result<(), Failure>> {
    std::future::ready(Err(Failure::new("no process can be started here")))
}

/// Frames stamped with these times, each by a publisher of its own, arrive and are read in the order
/// in which they were appended; a repetition is told as ever.
async fn carried(ctx: &Ctx, times: &[u64]) -> Result<(), Failure> {
    let topic = ctx.topic("t");
    let (bare, node) = (ctx.bare().await?, ctx.node().await?);
    let log = bare.log(&topic);
    let mut tail = node.subscribe(&topic, Start::Latest).await?;
    let mut payloads = Vec::new();
    for (number, time) in times.iter().enumerate() {
        let payload = number.to_string();
        let frame = frame_at(
            &log,
            &topic,
            PublisherId::random(),
            1,
            [payload.clone()],
            *time,
        );
        let first = bare.append(&log, &frame).await?;
        if ctx.capabilities().dedup {
            let again = bare.append(&log, &frame).await?;
            ensure_eq!(again, first, "receipt of the repetition");
        }
        payloads.push(payload);
    }
    let arrived = tail.take(times.len()).await?;
    for (entry, payload) in arrived.iter().zip(&payloads) {
        ensure!(
            entry.payload() == payload.as_bytes(),
            "{:?} arrived in place of {payload}",
            entry.payload()
        );
    }
    let mut stored = Vec::new();
    for frame in bare.read_all(&log, 1_000).await? {
        let frame = Frame::decode(frame.bytes).map_err(|e| Failure::new(e.to_string()))?;
        stored.push(frame.published_at_millis());
    }
    ensure_eq!(stored, times, "times in the log");
    Ok(())
}
