//! `scaleout bench`: the library beside the bare client of the same broker, in the same run.
//!
//! Absolute figures say more about the machine than about the library, so every measure is a ratio:
//! rounds of the bare client and rounds of the library take turns, and the medians are compared. The
//! bare client does plain sends of the same messages in the way that suits it best.

mod bare;
mod latency;
mod memory;
mod ours;
mod report;
mod round;

use std::{
    io::{self, IsTerminal, Write},
    process::ExitCode,
    time::Duration,
};

use anyhow::bail;
use bytes::Bytes;
use clap::value_parser;
use scaleout::{Backend, Epoch};

use self::{
    bare::Bare,
    report::{Memory, Report},
    round::{Compared, Round},
};

/// Measure the library beside the bare client library, on your own broker
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The broker, such as redis://127.0.0.1/
    url: String,
    /// How long each round lasts; a run has about 15 of them
    #[arg(long, default_value_t = 2, value_parser = value_parser!(u64).range(1..=3_600))]
    seconds: u64,
    /// Payload of a message, in bytes
    #[arg(long, default_value_t = 200)]
    size: usize,
    /// Tasks that publish to the one topic, each awaiting its receipt
    #[arg(long, default_value_t = 4_096, value_parser = value_parser!(u32).range(1..=1_000_000))]
    publishers: u32,
    /// Nodes that subscribe, each on connections of its own
    #[arg(long, default_value_t = 1, value_parser = value_parser!(u32).range(1..=1_000))]
    subscribers: u32,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Rounds of each side in each measure.
const ROUNDS: usize = 3;
/// Topics in flight where every frame holds one message.
const TOPICS: usize = 256;
const WARM_UP: Duration = Duration::from_millis(300);

/// What a round is to do.
#[derive(Clone)]
struct Load {
    payload: Bytes,
    lasts: Duration,
    publishers: usize,
    subscribers: usize,
}

pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    // Says what is wrong with the URL in the library's own words, without its password.
    let backend = scaleout::connector(&args.url)?.backend;
    match backend.capabilities().name {
        #[cfg(feature = "memory")]
        "memory" => compare(&bare::memory::Channel, &args).await,
        #[cfg(feature = "redis")]
        "redis" => compare(&bare::redis::Client::open(&args.url)?, &args).await,
        #[cfg(feature = "postgres")]
        "postgres" => {
            let url = bare::own_namespace(&args.url);
            let (bare, args) = (bare::postgres::Client::open(&url)?, Args { url, ..args });
            let compared = compare(&bare, &args).await;
            scaleout::postgres::remove(&args.url).await?;
            compared
        }
        #[cfg(feature = "rabbitmq")]
        "rabbitmq" => {
            // What is published stays at the broker, so it gets a namespace that can be removed.
            let url = bare::own_namespace(&args.url);
            let (bare, args) = (bare::rabbitmq::Client::open(&url)?, Args { url, ..args });
            let compared = compare(&bare, &args).await;
            scaleout_rabbitmq::remove(&args.url).await?;
            compared
        }
        #[cfg(feature = "servicebus")]
        "servicebus" => {
            // Topics stay until somebody deletes them.
            let url = bare::own_namespace(&args.url);
            let (bare, args) = (bare::servicebus::Client::open(&url)?, Args { url, ..args });
            let compared = compare(&bare, &args).await;
            scaleout::servicebus::remove(&args.url).await?;
            compared
        }
        name => bail!("there is no bare client to hold {name} against"),
    }
}

async fn compare<B: Bare>(bare: &B, args: &Args) -> anyhow::Result<ExitCode> {
    let name = format!("bench/{}", Epoch::random());
    let load = Load {
        payload: vec![b'x'; args.size].into(),
        lasts: Duration::from_secs(args.seconds),
        publishers: args.publishers as usize,
        subscribers: args.subscribers as usize,
    };

    // First, while nothing that was freed can hide what a topic needs.
    say("memory of idle topics");
    let bytes_per_idle_topic = memory::bytes_per_idle_topic(&args.url, &name).await?;

    let mut throughput = Compared::default();
    warm_up(&load, async |load| {
        bare.throughput(&format!("{name}/warm/bare"), load).await?;
        ours::throughput(&args.url, &format!("{name}/warm"), load).await
    })
    .await?;
    for number in 1..=ROUNDS {
        say(&format!("one topic, round {number} of {ROUNDS}"));
        let topic = format!("{name}/{number}");
        let round = bare.throughput(&format!("{topic}/bare"), &load).await?;
        throughput.bare.push(round);
        let round = ours::throughput(&args.url, &topic, &load).await?;
        throughput.ours.push(round);
    }

    let mut single = Compared::default();
    for number in 1..=ROUNDS {
        say(&format!(
            "one message per frame, round {number} of {ROUNDS}"
        ));
        let prefix = format!("{name}/single/{number}");
        let round = bare
            .single(&format!("{prefix}/bare"), TOPICS, &load)
            .await?;
        single.bare.push(round);
        single
            .ours
            .push(ours::single(&args.url, &prefix, TOPICS, &load).await?);
    }

    say("latency");
    let latency = latency::measure(&args.url, bare, &format!("{name}/latency"), &load).await?;
    say("");

    if cfg!(debug_assertions) {
        warn("this is a debug build; for figures that mean something, build with --release");
    }
    let report = Report::new::<B>(
        args,
        &throughput,
        &single,
        &latency,
        Memory {
            bytes_per_idle_topic,
        },
    );
    let mut out = io::stdout();
    if args.json {
        serde_json::to_writer(&mut out, &report)?;
        writeln!(out)?;
    } else {
        report.print(&mut out)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Opens what is opened once, and brings the processor to its speed.
async fn warm_up(
    load: &Load,
    round: impl AsyncFnOnce(&Load) -> anyhow::Result<Round>,
) -> anyhow::Result<()> {
    say("warming up");
    let short = Load {
        lasts: WARM_UP,
        ..load.clone()
    };
    round(&short).await.map(drop)
}

fn warn(what: &str) {
    let _ = writeln!(io::stderr(), "warning: {what}");
}

/// Progress, for people only.
fn say(what: &str) {
    if io::stderr().is_terminal() {
        // To the beginning of the line, and away with what stood there.
        let _ = write!(io::stderr(), "\r\x1b[K{what}");
    }
}
