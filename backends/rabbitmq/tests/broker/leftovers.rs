//! What is left at the broker of what was used.

use std::time::{Duration, Instant};

use libtest_mimic::{Failed, Trial};
use scaleout_conformance::broker::{RabbitMq, Server};
use scaleout_core::Start;

use crate::{GUARD, node, trial};

const TOPICS: usize = 1_000;

pub(crate) fn trials() -> Vec<Trial> {
    vec![trial(
        "a_thousand_topics_subscribed_and_dropped_leave_nothing",
        thousand_topics,
    )]
}

async fn thousand_topics(server: Server<RabbitMq>) -> Result<(), Failed> {
    let node = node(&server, "").await?;
    // So that all streams are there: they stay, as they hold the messages.
    for number in 0..100 {
        node.publish(format!("{number}"), "m").await?;
    }
    // The one consumer is that of the directory.
    let before = settled(&server, |now| now.consumers == 1).await?;
    let mut memory = vec![used_memory(&server).await?];
    for _ in 0..3 {
        let mut tails = Vec::with_capacity(TOPICS);
        for number in 0..TOPICS {
            tails.push(node.subscribe(format!("{number}"), Start::Latest).await?);
        }
        // One of each log.
        let used = settled(&server, |now| now.consumers == 1 + 4).await?;
        assert_eq!(used.queues, before.queues, "streams for topics");
        memory.push(used_memory(&server).await?);
    }
    let after = settled(&server, |now| *now == before).await?;
    memory.push(used_memory(&server).await?);
    println!(
        "before {before:?}, after {after:?}; bytes used before, subscribed, after: {memory:?}"
    );
    node.close(GUARD).await?;
    let closed = settled(&server, |now| now.connections == 0).await?;
    assert_eq!((closed.consumers, closed.channels), (0, 0), "{closed:?}");
    Ok(())
}

/// How much memory the broker's processes and tables hold once they have collected their garbage.
async fn used_memory(server: &Server<RabbitMq>) -> Result<u64, Failed> {
    let ask = "[erlang:garbage_collect(P) || P <- processes()], \
               erlang:memory(processes_used) + erlang:memory(ets).";
    let told = server.program().eval(server.port(), ask).await?;
    Ok(told.trim().parse()?)
}

/// What the broker holds for its clients.
#[derive(Debug, PartialEq)]
struct Objects {
    connections: usize,
    channels: usize,
    consumers: usize,
    queues: usize,
}

impl Objects {
    async fn count(server: &Server<RabbitMq>) -> Result<Self, Failed> {
        let count = "{length(rabbit_networking:connections()), length(rabbit_channel:list()), \
                     \
                     length([C || C <- ets:tab2list(consumer_created), \
                     is_process_alive(element(2, element(1, C)))]), length(rabbit_amqqueue:list())}.";
        let told = server.program().eval(server.port(), count).await?;
        let numbers: Vec<usize> = told
            .split(|c: char| !c.is_ascii_digit())
            .filter_map(|number| number.parse().ok())
            .collect();
        let [connections, channels, consumers, queues] = numbers[..] else {
            return Err(format!("rabbitmqctl says {told:?}").into());
        };
        Ok(Self {
            connections,
            channels,
            consumers,
            queues,
        })
    }
}

/// Counts until it is as wanted, twice: what reads is gone a moment later, and the node lets go of a
/// feed some seconds after it published.
async fn settled(
    server: &Server<RabbitMq>,
    wanted: impl Fn(&Objects) -> bool,
) -> Result<Objects, Failed> {
    let deadline = Instant::now() + GUARD;
    let mut last = None;
    loop {
        let now = Objects::count(server).await?;
        if wanted(&now) && last.as_ref() == Some(&now) {
            return Ok(now);
        }
        if Instant::now() > deadline {
            return Err(format!("the broker still holds {now:?}").into());
        }
        last = Some(now);
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}
