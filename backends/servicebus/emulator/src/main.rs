//! The emulator as a program.

use std::{net::SocketAddr, path::PathBuf, process::ExitCode, time::Duration};

use clap::Parser;
use scaleout_servicebus_emulator::{
    Config, Emulator,
    config::PolicyConfig,
    duration,
    entity::Tier,
    faults::{Faults, Strike},
};

/// An emulator of Azure Service Bus: AMQP and HTTP on one port, in memory.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// Where to listen; port 0 takes a free one [default: 127.0.0.1:0]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// A file with entities and policies, in TOML or JSON
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// An entity: 'queue', 'topic/' or 'topic/subscriptions/name'; may be given again
    #[arg(long, value_name = "PATH")]
    entity: Vec<String>,
    /// The key of the policy RootManageSharedAccessKey [default: SAS_KEY_VALUE]
    #[arg(
        long,
        value_name = "KEY",
        env = "SERVICEBUS_EMULATOR_KEY",
        hide_env_values = true
    )]
    key: Option<String>,
    /// A further policy, with rights such as send+listen; may be given again
    #[arg(long, value_name = "NAME:KEY:RIGHTS", value_parser = PolicyConfig::parse)]
    policy: Vec<PolicyConfig>,
    /// The tier, which says how large messages may be [default: standard]
    #[arg(long)]
    tier: Option<Tier>,
    /// Look at everything that comes that much later
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    delay: Option<Duration>,
    /// Take that many operations a second at most, and refuse the others
    #[arg(long, value_name = "OPERATIONS")]
    credits: Option<u32>,
    /// Refuse everything for that long from the start
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    busy: Option<Duration>,
    /// Detach all links that often
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    detach_every: Option<Duration>,
    /// Drop all connections that often
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    drop_every: Option<Duration>,
    /// Stand still from the start, until told to go on over HTTP
    #[arg(long)]
    stopped: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("error: {why}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> Result<(), String> {
    let mut config = match &arguments.config {
        Some(path) => Config::read(path)?,
        None => Config::default(),
    };
    if let Some(listen) = arguments.listen {
        config.listen = listen;
    }
    if let Some(tier) = arguments.tier {
        config.tier = tier;
    }
    if let Some(key) = &arguments.key {
        config.key.clone_from(key);
    }
    config.policies.extend(arguments.policy.iter().cloned());
    for path in &arguments.entity {
        config.add(path)?;
    }
    let emulator = Emulator::start(config)
        .await
        .map_err(|error| error.to_string())?;
    println!("listening on {}", emulator.address());
    println!("{}", emulator.connection_string());
    let faults = emulator.faults();
    faults.set_delay(arguments.delay.unwrap_or_default());
    faults.set_credits(arguments.credits);
    faults.busy_for(arguments.busy.unwrap_or_default());
    faults.stop(arguments.stopped);
    let detach = Strike::Detach {
        entity: None,
        closed: true,
    };
    tokio::select! {
        ended = tokio::signal::ctrl_c() => ended.map_err(|error| error.to_string())?,
        () = again_and_again(faults, arguments.detach_every, &detach) => {}
        () = again_and_again(faults, arguments.drop_every, &Strike::Drop) => {}
    }
    emulator.stop().await;
    Ok(())
}

/// Strikes as often as wanted, or never.
async fn again_and_again(faults: &Faults, every: Option<Duration>, strike: &Strike) {
    let Some(every) = every.filter(|every| !every.is_zero()) else {
        return std::future::pending().await;
    };
    loop {
        tokio::time::sleep(every).await;
        faults.strike(strike.clone());
    }
}
