//! How many frames of one message each the backend appends, beside bare `PUBLISH`.
//!
//! ```text
//! cargo run --release -p scaleout-redis --example appends -- redis://127.0.0.1/ 256
//! ```
//!
//! Every log has one frame in flight, and a listener on another node; every channel of the bare
//! client has one message in flight on a multiplexed connection, and a subscriber.

use std::{
    env,
    error::Error,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::StreamExt;
use scaleout_core::{
    Backend, Epoch, FrameBuilder, LogName, Message, Namespace, Partitioning, PublisherId, Topic,
};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};

const PAYLOAD: [u8; 200] = [b'x'; 200];
const ROUNDS: usize = 3;
const ROUND: Duration = Duration::from_secs(2);

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let url = arguments
        .next()
        .unwrap_or_else(|| "redis://127.0.0.1/".to_owned());
    let logs: usize = arguments.next().map_or(Ok(256), |logs| logs.parse())?;
    println!("{logs} in flight, 200 bytes each");
    for _ in 0..ROUNDS {
        round("PUBLISH", &url, bare(&url, logs).await?).await?;
        round("append", &url, ours(&url, logs).await?).await?;
    }
    Ok(())
}

/// What is counted, and the tasks that do it.
struct Load {
    sent: Arc<AtomicU64>,
    received: Arc<AtomicU64>,
    _tasks: JoinSet<()>,
}

async fn round(name: &str, url: &str, load: Load) -> Result<(), Box<dyn Error>> {
    sleep(ROUND / 4).await;
    let counts = || [&load.sent, &load.received].map(|count| count.load(Ordering::Relaxed));
    let (begin, before, cpu) = (Instant::now(), counts(), server_cpu(url).await?);
    sleep(ROUND).await;
    let (seconds, after) = (begin.elapsed().as_secs_f64(), counts());
    let cpu = server_cpu(url).await? - cpu;
    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
    let [sent, received] = [0, 1].map(|index| (after[index] - before[index]) as f64);
    println!(
        "{name:>8}: {:>7.0}/s sent, {:>7.0}/s received, server {:.2} us each",
        sent / seconds,
        received / seconds,
        cpu * 1e6 / sent
    );
    Ok(())
}

async fn bare(url: &str, logs: usize) -> Result<Load, Box<dyn Error>> {
    let client = redis::Client::open(url)?;
    let connection = client.get_multiplexed_async_connection().await?;
    let mut subscriber = client.get_async_pubsub().await?;
    let mut load = Load {
        sent: Arc::default(),
        received: Arc::default(),
        _tasks: JoinSet::new(),
    };
    let name = Epoch::random();
    for log in 0..logs {
        let channel = format!("{name}/{log}");
        subscriber.subscribe(&channel).await?;
        let (mut connection, sent) = (connection.clone(), load.sent.clone());
        load._tasks.spawn(async move {
            let mut publish = redis::cmd("PUBLISH");
            publish.arg(channel).arg(&PAYLOAD);
            while publish.query_async::<i64>(&mut connection).await.is_ok() {
                sent.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    let received = load.received.clone();
    load._tasks.spawn(async move {
        let mut messages = subscriber.into_on_message();
        while messages.next().await.is_some() {
            received.fetch_add(1, Ordering::Relaxed);
        }
    });
    Ok(load)
}

async fn ours(url: &str, logs: usize) -> Result<Load, Box<dyn Error>> {
    let [publisher, subscriber] = [
        scaleout_redis::connector(url)?.backend,
        scaleout_redis::connector(url)?.backend,
    ];
    let namespace = Namespace::new(format!("bench-{}", Epoch::random()))?;
    let mut load = Load {
        sent: Arc::default(),
        received: Arc::default(),
        _tasks: JoinSet::new(),
    };
    for log in 0..logs {
        let log = LogName::of_topic(
            &namespace,
            &Topic::new(log.to_string())?,
            Partitioning::PerTopic,
        );
        let mut listener = subscriber.listen(&log, None).await?;
        let (subscriber, received) = (subscriber.clone(), load.received.clone());
        load._tasks.spawn(async move {
            let _connected = subscriber;
            while listener.next().await.is_ok() {
                received.fetch_add(1, Ordering::Relaxed);
            }
        });
        let (publisher, sent) = (publisher.clone(), load.sent.clone());
        load._tasks.spawn(async move {
            let id = PublisherId::random();
            for counter in 1.. {
                let mut frame = FrameBuilder::new();
                frame.push(None, &Message::new(&PAYLOAD[..]));
                if publisher
                    .append(&log, &frame.finish(id, counter))
                    .await
                    .is_err()
                {
                    return;
                }
                sent.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    Ok(load)
}

/// Seconds of processor time that the server has used.
async fn server_cpu(url: &str) -> Result<f64, Box<dyn Error>> {
    let client = redis::Client::open(url)?;
    let mut connection = client.get_multiplexed_async_connection().await?;
    let info: String = redis::cmd("INFO")
        .arg("cpu")
        .query_async(&mut connection)
        .await?;
    let used = |name: &str| -> f64 {
        info.lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
            .and_then(|seconds| seconds.trim().parse().ok())
            .unwrap_or_default()
    };
    Ok(used("used_cpu_user") + used("used_cpu_sys"))
}
