//! `kill -9` of Redis under load, and a start with and without its data.

use libtest_mimic::{Failed, Trial};
use scaleout_conformance::{
    Broker, Setup,
    broker::{Redis, Server},
    checker::Plan,
};
use scaleout_core::Backplane;

use crate::{load::Load, target::RedisTarget, trial};

/// How often Redis is killed in a test.
const KILLS: usize = 3;
/// How many messages must be acknowledged between two kills.
const BETWEEN: usize = 2_000;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("killed_with_its_data_and_trusted_to_keep_them", || {
            killed(Setup::durable(), false)
        }),
        trial("killed_with_its_data", || {
            killed(Setup::persistent(), false)
        }),
        trial("killed_without_its_data", || {
            killed(Setup::volatile(), false)
        }),
        trial("killed_and_its_disk_lost", || {
            killed(Setup::durable(), true)
        }),
    ]
}

/// Two nodes publish and subscribe while Redis is killed again and again.
async fn killed(setup: Setup, wipe: bool) -> Result<(), Failed> {
    let server = Server::start(RedisTarget::server(setup)).await?;
    let mut load = Load::new();
    let mut nodes = Vec::new();
    for number in 0..2 {
        let node = node(&server).await?;
        load.subscribe(number, &node).await?;
        load.publish(number, &node, 32);
        nodes.push(node);
    }
    for _ in 0..KILLS {
        load.progress(BETWEEN).await?;
        load.recorder.fault("kill");
        server.kill().await?;
        if wipe {
            server.wipe().await?;
        }
        server.start().await?;
    }
    load.progress(BETWEEN).await?;

    let fresh = node(&server).await?;
    let end = load.end(&fresh).await?;
    let history = load.finish(&fresh, end).await?;
    let trusted = setup.durable && !wipe;
    let plan = Plan::for_backend(fresh.capabilities(), true)
        .with_publishes((KILLS + 1) * BETWEEN)
        .with_entries((KILLS + 1) * BETWEEN)
        .with_faults(KILLS)
        .with_wipes(if trusted { 0 } else { KILLS });
    // What fell out of the log while it was behind may be missing, and is then named.
    let totals = history.check(&plan.with_gaps()).into_result()?;
    println!("{totals}");
    if !trusted && totals.resets == 0 {
        return Err("the logs lost their data, and nobody was told".into());
    }
    Ok(())
}

async fn node(server: &Server<Redis>) -> Result<Backplane, Failed> {
    let target = server.target();
    let url = target.url();
    let separator = if url.contains('?') { '&' } else { '?' };
    let url = format!("{url}{separator}liveness=2s&backoff_max=500ms");
    Ok(Backplane::connect(target.connector(&url)?).await?)
}
