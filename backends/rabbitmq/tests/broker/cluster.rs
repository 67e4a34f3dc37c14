//! A cluster of three nodes, of which one after the other dies under load.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use libtest_mimic::{Failed, Trial};
use scaleout_conformance::{
    Broker, Setup,
    broker::{RabbitMq, Server},
};
use scaleout_core::{Backplane, Event, Position, Start, Subscription};
use tokio::{
    task::JoinHandle,
    time::{sleep, timeout},
};

use crate::{GUARD, next, on_runtime, target::RabbitMqTarget};

/// What the nodes of one cluster know each other by.
const COOKIE: &str = "C0NF0RMANCE";
const TOPIC: &str = "t";
/// The last message.
const END: &str = "end";

pub(crate) fn trials() -> Vec<Trial> {
    vec![Trial::test(
        "in_a_cluster_whose_nodes_die_in_turn_nothing_is_lost_or_doubled",
        || on_runtime(nodes_die_in_turn()),
    )]
}

async fn nodes_die_in_turn() -> Result<(), Failed> {
    let servers = cluster().await?;
    let addresses: Vec<_> = servers
        .iter()
        .map(|server| format!("127.0.0.1:{}", server.port()))
        .collect();
    let target = servers[0].target();
    let url = target.url().replace(&addresses[0], &addresses.join(","));
    let url = format!("{url}?partitioning=1&backoff_max=500ms&publish_timeout=60s");
    let node = async || Backplane::connect(target.connector(&url)?).await;

    let (publisher, subscriber) = (node().await?, node().await?);
    let tail = subscriber.subscribe(TOPIC, Start::Latest).await?;
    let seen = tokio::spawn(until_end(tail));
    let load = Load::start(publisher.clone());
    load.progress(200).await?;
    servers[0].kill().await?;
    load.progress(300).await?;
    servers[0].start().await?;
    load.progress(300).await?;
    // Of the three copies, the one that was dead for a while is needed now.
    servers[1].kill().await?;
    load.progress(300).await?;
    let published = load.stop().await?;
    publisher.publish(TOPIC, END).await?;

    let seen = timeout(GUARD, seen).await???;
    assert_eq!(
        seen, published,
        "what was delivered, and what was published"
    );
    let fresh = node().await?;
    let stored = until_end(fresh.subscribe(TOPIC, Start::Earliest).await?).await?;
    assert_eq!(stored, published, "what is stored, and what was published");
    Ok(())
}

/// Three nodes that have joined each other.
async fn cluster() -> Result<Vec<Server<RabbitMq>>, Failed> {
    let mut servers: Vec<Server<RabbitMq>> = Vec::new();
    for _ in 0..3 {
        let program = RabbitMqTarget::server(Setup::persistent()).with_cookie(COOKIE);
        let server = Server::start(program).await?;
        if let Some(first) = servers.first() {
            let first = RabbitMq::node_name(first.port());
            for command in [
                &["stop_app"][..],
                &["reset"],
                &["join_cluster", &first],
                &["start_app"],
            ] {
                server.program().control(server.port(), command).await?;
            }
        }
        servers.push(server);
    }
    Ok(servers)
}

type Messages = Vec<(Position, String)>;

/// All messages before the last, among which nothing else may be.
async fn until_end(mut tail: Subscription) -> Result<Messages, Failed> {
    let mut messages = Vec::new();
    loop {
        match next(&mut tail).await? {
            Event::Message(entry) if entry.payload() == END => return Ok(messages),
            Event::Message(entry) => {
                let payload = String::from_utf8_lossy(entry.payload()).into_owned();
                messages.push((entry.position(), payload));
            }
            other => return Err(format!("{other:?} after {:?}", messages.last()).into()),
        }
    }
}

/// A publisher that publishes one number after the other. None may fail: it has the time to wait for the
/// cluster.
struct Load {
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicUsize>,
    publishing: JoinHandle<scaleout_core::Result<Messages>>,
}

impl Load {
    fn start(node: Backplane) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let acknowledged = Arc::new(AtomicUsize::new(0));
        let publishing = tokio::spawn({
            let (stop, acknowledged) = (stop.clone(), acknowledged.clone());
            async move {
                let mut published = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    let payload = published.len().to_string();
                    let receipt = node.publish(TOPIC, payload.clone()).await?;
                    published.push((receipt.cursor().position(), payload));
                    acknowledged.fetch_add(1, Ordering::Relaxed);
                    sleep(Duration::from_millis(2)).await;
                }
                Ok(published)
            }
        });
        Self {
            stop,
            acknowledged,
            publishing,
        }
    }

    /// Waits until this many more messages have been acknowledged.
    async fn progress(&self, messages: usize) -> Result<(), Failed> {
        let goal = self.acknowledged.load(Ordering::Relaxed) + messages;
        let reached = async {
            while self.acknowledged.load(Ordering::Relaxed) < goal {
                if self.publishing.is_finished() {
                    return Err(Failed::from("a publish failed"));
                }
                sleep(Duration::from_millis(5)).await;
            }
            Ok(())
        };
        timeout(GUARD, reached).await?
    }

    async fn stop(self) -> Result<Messages, Failed> {
        self.stop.store(true, Ordering::Relaxed);
        Ok(self.publishing.await??)
    }
}
