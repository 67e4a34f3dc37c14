//! The emulator in a process of its own, which is killed or stopped under load.

use std::{env, net::SocketAddr, path::Path, process::Command, sync::Arc, time::Duration};

use rustix::process::Signal;
use scaleout_conformance::{
    BoxFuture, Broker as _, Target,
    broker::{Program, Server},
    checker::Plan,
};
use scaleout_core::{Backplane, Connector, Health, Result, State};
use scaleout_servicebus::connector;
use scaleout_servicebus_emulator::{Config, Emulator};
use tokio::{
    net::TcpStream,
    time::{Instant, sleep},
};

use crate::{GUARD, load::Load, soon};

/// Set for a process that is to be the emulator: where it listens.
const SERVE: &str = "SCALEOUT_SERVICEBUS_SERVE";
/// Messages that are acknowledged before a fault, and after it.
const SOME: usize = 200;
/// Longer than the liveness time, which is the default here.
const STOPPED: Duration = Duration::from_secs(12);

over_both! {
    an_emulator_that_is_killed_and_started_again_under_load
    an_emulator_that_is_stopped_and_goes_on_under_load
}

async fn an_emulator_that_is_killed_and_started_again_under_load(transport: &str) {
    let server = start(transport).await;
    let [publisher, other] = nodes(&server).await;
    let mut load = Load::new(&["t"]);
    load.follow(1, &other).await;
    load.publish(0, &publisher);
    load.publish(2, &publisher);
    load.progress(SOME).await;
    load.fault("killed");
    server.kill().await.unwrap();
    for node in [&publisher, &other] {
        until(node, State::Interrupted).await;
    }
    server.start().await.unwrap();
    load.progress(SOME).await;
    // What was acknowledged by the first life and not yet delivered is gone with it, and the reset says so.
    let plan = plan(&other).with_wipes(1);
    finish(load, plan, [publisher, other]).await;
}

async fn an_emulator_that_is_stopped_and_goes_on_under_load(transport: &str) {
    let server = start(transport).await;
    let [publisher, other] = nodes(&server).await;
    let mut load = Load::new(&["t"]);
    load.follow(1, &other).await;
    load.publish(0, &publisher);
    load.publish(2, &publisher);
    load.progress(SOME).await;
    load.fault("stopped");
    let began = Instant::now();
    server.stop().await.unwrap();
    for node in [&publisher, &other] {
        until(node, State::Interrupted).await;
    }
    // Some more than the liveness time, as the machine may be busy.
    assert!(began.elapsed() < STOPPED, "{:?}", began.elapsed());
    sleep(STOPPED.saturating_sub(began.elapsed())).await;
    server.cont().await.unwrap();
    load.progress(SOME).await;
    let plan = plan(&other);
    finish(load, plan, [publisher, other]).await;
}

fn plan(node: &Backplane) -> Plan {
    let plan = Plan::for_backend(node.capabilities(), false);
    let plan = plan.with_publishes(2 * SOME).with_entries(2 * SOME);
    plan.with_faults(1)
}

async fn finish(load: Load, plan: Plan, nodes: [Backplane; 2]) {
    for node in &nodes {
        until(node, State::Connected).await;
    }
    load.finish(&nodes[0], plan).await;
    for node in nodes {
        assert_eq!(node.health().last_error, None);
        soon(node.close(GUARD)).await.unwrap();
    }
}

async fn until(node: &Backplane, state: State) {
    let mut health = node.watch_health();
    let is = |health: &Health| health.state == state;
    soon(health.wait_for(is)).await.unwrap();
}

async fn nodes(server: &Server<Process>) -> [Backplane; 2] {
    let node = || async {
        let target = server.target();
        let connector = target.connector(&target.url()).unwrap();
        soon(Backplane::connect(connector)).await.unwrap()
    };
    [node().await, node().await]
}

async fn start(transport: &str) -> Server<Process> {
    let transport = transport.to_owned();
    Server::start(Process { transport }).await.unwrap()
}

fn url(port: u16, transport: &str) -> String {
    let options = "backoff_min=10ms&backoff_max=200ms&partitioning=1&emulator=true";
    let at = format!("RootManageSharedAccessKey:SAS_KEY_VALUE@127.0.0.1:{port}");
    format!("servicebus://{at}/?transport={transport}&{options}")
}

/// How to run the emulator: this very program, asked for one test.
#[derive(Clone, Debug)]
struct Process {
    transport: String,
}

impl Program for Process {
    fn command(&self, _: &Path, port: u16) -> Command {
        let mut command = Command::new(env::current_exe().unwrap());
        command
            .args(["--exact", "--ignored", "process::emulator"])
            .env(SERVE, format!("127.0.0.1:{port}"));
        command
    }

    fn target(&self, port: u16) -> Arc<dyn Target> {
        Arc::new(At(url(port, &self.transport)))
    }

    fn ready(&self, port: u16) -> BoxFuture<'_, bool> {
        Box::pin(async move { TcpStream::connect(("127.0.0.1", port)).await.is_ok() })
    }

    fn term(&self) -> Signal {
        Signal::KILL
    }

    fn forgets(&self) -> bool {
        true
    }
}

#[derive(Debug)]
struct At(String);

impl Target for At {
    fn url(&self) -> String {
        self.0.clone()
    }

    fn connector(&self, url: &str) -> Result<Connector> {
        connector(url)
    }
}

#[tokio::test]
#[ignore = "the emulator of the other tests, which runs until it is killed"]
async fn emulator() {
    let listen: SocketAddr = env::var(SERVE).unwrap().parse().unwrap();
    let mut config = Config::default();
    config.listen = listen;
    let _emulator = Emulator::start(config).await.unwrap();
    std::future::pending::<()>().await;
}
