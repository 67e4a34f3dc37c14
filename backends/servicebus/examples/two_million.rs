//! Two million messages through one topic, as fast as they go: none may be lost, and memory must stay.
//!
//! ```sh
//! cargo run --release -p scaleout-servicebus --example two_million [CONNECTION_STRING]
//! ```
//!
//! Without a connection string it starts an emulator, as a process of its own.

use std::{
    env,
    error::Error,
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use scaleout_core::{Backplane, Event, Start};
use scaleout_servicebus::connector;
use scaleout_servicebus_emulator::{Config, Emulator};
use tokio::task::JoinSet;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

const MESSAGES: u64 = 2_000_000;
const PUBLISHERS: u64 = 8;
/// Publishes of each that are under way at once.
const WINDOW: u64 = 250;
const BYTES: usize = 200;
/// Longer than this without a message is a stall.
const STALL: Duration = Duration::from_secs(20);
/// Set for a process that is to be the emulator.
const SERVE: &str = "TWO_MILLION_SERVE";

#[tokio::main]
async fn main() -> Outcome<()> {
    if env::var_os(SERVE).is_some() {
        let emulator = Emulator::start(Config::default()).await?;
        println!("{}", emulator.connection_string());
        std::future::pending::<()>().await;
    }
    let (url, emulator) = match env::args().nth(1) {
        Some(url) => (url, None),
        None => start_emulator().map(|(url, child)| (url, Some(child)))?,
    };
    let done = run(&url).await;
    if let Some(mut child) = emulator {
        child.kill()?;
        child.wait()?;
    }
    done
}

/// Starts this program as the emulator.
fn start_emulator() -> Outcome<(String, Child)> {
    let mut child = Command::new(env::current_exe()?)
        .env(SERVE, "")
        .stdout(Stdio::piped())
        .spawn()?;
    let out = child.stdout.take().ok_or("no output")?;
    let mut url = String::new();
    BufReader::new(out).read_line(&mut url)?;
    Ok((url.trim().to_owned(), child))
}

async fn run(url: &str) -> Outcome<()> {
    // What the subscriber is behind for a moment has room, as there is no history to catch up from.
    let url = format!("{url}?window_frames=65536&window_bytes=67108864&namespace=two-million");
    let publisher = Backplane::connect(connector(&url)?).await?;
    let subscriber = Backplane::connect(connector(&url)?).await?;
    let mut tail = subscriber.subscribe("t", Start::Latest).await?;
    let started = Instant::now();
    let publishing = tokio::spawn(publish(publisher.clone()));
    let (mut got, mut next) = (0, vec![0; usize::try_from(PUBLISHERS)?]);
    while got < MESSAGES {
        let event = tokio::time::timeout(STALL, tail.next()).await;
        let entry = match event.map_err(|_| format!("stalled after {got} messages"))? {
            Some(Event::Message(entry)) => entry,
            other => return Err(format!("{other:?} after {got} messages").into()),
        };
        let (publisher, number) = numbered(entry.payload())?;
        if std::mem::replace(&mut next[publisher], number + 1) != number {
            return Err(format!("publisher {publisher}: {number} is out of its order").into());
        }
        got += 1;
        if got % 250_000 == 0 {
            let rate = got as f64 / started.elapsed().as_secs_f64();
            println!("{got:>8} messages, {rate:>7.0}/s, {} MiB", resident());
        }
    }
    publishing.await??;
    for node in [publisher, subscriber] {
        node.close(Duration::from_secs(10)).await?;
    }
    Ok(())
}

/// Publishes all of it, in the order of each publisher.
async fn publish(node: Backplane) -> Outcome<()> {
    let mut publishers = JoinSet::new();
    for publisher in 0..PUBLISHERS {
        let node = node.clone();
        publishers.spawn(async move {
            for first in (0..MESSAGES / PUBLISHERS).step_by(usize::try_from(WINDOW)?) {
                let window = first..first + WINDOW;
                let publishes = window.map(|number| {
                    let mut payload = vec![0; BYTES];
                    payload[..8].copy_from_slice(&publisher.to_le_bytes());
                    payload[8..16].copy_from_slice(&number.to_le_bytes());
                    node.publish("t", payload)
                });
                futures_util::future::try_join_all(publishes).await?;
            }
            Outcome::Ok(())
        });
    }
    while let Some(ended) = publishers.join_next().await {
        ended??;
    }
    Ok(())
}

fn numbered(payload: &[u8]) -> Outcome<(usize, u64)> {
    let number = |at: usize| payload[at..at + 8].try_into().map(u64::from_le_bytes);
    Ok((usize::try_from(number(0)?)?, number(8)?))
}

/// What this process has in memory, where the system tells.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kilobytes.unwrap_or_default() / 1_024
}
