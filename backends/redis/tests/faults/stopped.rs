//! A subscriber that stands still, as a whole process or because its connection is dead.

use std::time::{Duration, Instant};

use libtest_mimic::{Failed, Trial};
use rustix::process::Signal;
use scaleout_conformance::{
    Broker, Clock, Limits, Setup,
    broker::{Redis, Server},
    checker::{self, Observation, Plan, SubscriberStart},
    child::Child,
    proxy::Proxy,
};
use scaleout_core::{Backplane, Position, State};
use tokio::time::timeout;

use crate::{
    load::{Load, reached},
    target::RedisTarget,
    trial,
};

/// How long the subscriber's process is stopped.
const STOPPED: Duration = Duration::from_secs(3);
/// A guard against hanging.
const GUARD: Duration = Duration::from_secs(60);
/// So little that Redis throws a subscriber out long before that.
const LIMIT: &str = "pubsub 256kb 128kb 1";

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("a_stopped_process_is_thrown_out_and_misses_nothing", || {
            stopped(false)
        }),
        trial("a_stopped_process_behind_a_short_log_gets_the_gap", || {
            stopped(true)
        }),
        trial(
            "a_black_hole_is_noticed_in_time_and_nothing_is_missed",
            black_hole,
        ),
    ]
}

/// Options of the nodes here: they look for a dead connection often, and keep all of the load or
/// little of it.
fn options(short: bool) -> String {
    let frames = if short { 50 } else { 1_000_000 };
    format!("?liveness=2s&backoff_max=500ms&retention_frames={frames}&retention_bytes=1000000000")
}

async fn stopped(short: bool) -> Result<(), Failed> {
    let redis = RedisTarget::server(Setup::volatile());
    let server = Server::start(redis.with_config("client-output-buffer-limit", LIMIT)).await?;
    let url = format!("{}{}", server.target().url(), options(short));
    let mut load = Load::new();
    let node = Backplane::connect(scaleout_redis::connector(&url)?).await?;
    let mut child =
        Child::start(Limits::from_env(), &url, load.topic.as_str(), Clock::Right).await?;
    load.publish(0, &node, 64);
    load.progress(2_000).await?;

    let clients = subscribers(&server).await?;
    assert_eq!(clients.len(), 1, "one process subscribes: {clients:?}");
    load.recorder.fault("stop");
    child.process().signal(Signal::STOP)?;
    tokio::time::sleep(STOPPED).await;
    let thrown_out = subscribers(&server).await?.is_empty();
    child.process().signal(Signal::CONT)?;
    if !thrown_out {
        return Err("Redis did not throw the stopped subscriber out".into());
    }
    load.progress(2_000).await?;

    let end = load.end(&node).await?;
    let began = child.began();
    let observations = timeout(GUARD, collect(&mut child, end)).await??;
    let topic = load.topic.clone();
    let mut history = load.finish(&node, end).await?;
    history.subscribers.push(checker::Subscriber {
        topic,
        node: 1,
        start: SubscriberStart::After(began),
        observations,
        drained: true,
    });
    let plan = Plan::for_backend(node.capabilities(), true)
        .with_publishes(4_000)
        .with_entries(4_000)
        .with_faults(1);
    let plan = if short {
        plan.with_entries(1_000).with_gaps()
    } else {
        plan
    };
    let totals = history.check(&plan).into_result()?;
    println!("{totals}");
    if short && totals.gaps == 0 {
        return Err("three seconds of load fit into 50 frames".into());
    }
    Ok(())
}

/// The ids of the clients that subscribe to something.
async fn subscribers(server: &Server<Redis>) -> Result<Vec<String>, Failed> {
    let mut admin = server.program().admin(server.port()).await?;
    let list = admin.call(&["CLIENT", "LIST", "TYPE", "pubsub"]).await?;
    let ids = list.text().unwrap_or_default().lines();
    Ok(ids
        .filter_map(|line| line.split(' ').next())
        .map(str::to_owned)
        .collect())
}

async fn collect(child: &mut Child, end: Position) -> Result<Vec<Observation>, Failed> {
    let mut observations = Vec::new();
    let mut at = child.began();
    while !reached(at, Some(end)) {
        let observation = child.next().await?;
        at = observation.end().unwrap_or(at);
        observations.push(observation);
    }
    Ok(observations)
}

async fn black_hole() -> Result<(), Failed> {
    const LIVENESS: Duration = Duration::from_secs(2);
    let server = Server::start(RedisTarget::server(Setup::volatile())).await?;
    let target = server.target();
    let url = format!("{}{}", target.url(), options(false));
    let node = Backplane::connect(target.connector(&url)?).await?;
    let proxy = Proxy::start(format!("127.0.0.1:{}", server.port())).await?;
    let url = format!("{}{}", target.url_via(proxy.addr()), options(false));
    let weak = Backplane::connect(target.connector(&url)?).await?;
    let mut load = Load::new();
    load.subscribe(0, &node).await?;
    load.subscribe(1, &weak).await?;
    load.publish(0, &node, 64);
    load.progress(2_000).await?;

    load.recorder.fault("black hole");
    proxy.blackhole_both();
    let began = Instant::now();
    let mut health = weak.watch_health();
    timeout(
        2 * LIVENESS,
        health.wait_for(|health| health.state == State::Interrupted),
    )
    .await??;
    println!("noticed after {:?}", began.elapsed());
    load.progress(2_000).await?;
    proxy.heal();
    load.progress(2_000).await?;
    let end = load.end(&node).await?;
    let history = load.finish(&node, end).await?;
    let plan = Plan::for_backend(node.capabilities(), true)
        .with_publishes(6_000)
        .with_entries(12_000)
        .with_faults(1);
    println!("{}", history.check(&plan).into_result()?);
    Ok(())
}
