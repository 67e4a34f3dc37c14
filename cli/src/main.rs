//! The `scaleout` command: chat servers to try the library with, and tools to watch, check and
//! measure a backplane.

#[cfg(any(feature = "memory", feature = "redis"))]
mod bench;
mod check;
mod output;
mod publish;
#[cfg(feature = "hub")]
mod serve;
mod tail;

use std::{
    io::{self, IsTerminal, Write},
    process::ExitCode,
};

use clap::{ArgAction, Parser, Subcommand};
use tracing_subscriber::{
    filter::{LevelFilter, Targets},
    layer::SubscriberExt,
    util::SubscriberInitExt,
};

/// Many realtime servers act as one: chat servers to try it, and tools to watch, check and measure a
/// backplane.
#[derive(Parser)]
#[command(name = "scaleout", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,

    /// Log more to standard error: -v what happens, -vv every step
    #[arg(short, long, global = true, action = ArgAction::Count)]
    verbose: u8,
}

#[derive(Subcommand)]
enum Command {
    #[cfg(feature = "hub")]
    Serve(serve::Args),
    Publish(publish::Args),
    Tail(tail::Args),
    Check(check::Args),
    #[cfg(any(feature = "memory", feature = "redis"))]
    Bench(bench::Args),
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    log_to_stderr(cli.verbose, &cli.command);
    match run(cli.command) {
        Ok(code) => code,
        // Who reads our output has seen enough, as in `scaleout tail ... | head`.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Runtime::new()?;
    let code = runtime.block_on(async {
        match command {
            #[cfg(feature = "hub")]
            Command::Serve(args) => serve::run(args).await,
            Command::Publish(args) => publish::run(args).await,
            Command::Tail(args) => tail::run(args).await,
            Command::Check(args) => check::run(args).await,
            #[cfg(any(feature = "memory", feature = "redis"))]
            Command::Bench(args) => bench::run(args).await,
        }
    });
    // A read of standard input that nobody waits for any more must not hold up the end.
    runtime.shutdown_background();
    code
}

/// Prints help, or what is wrong with the arguments. Any of them may be a URL in the wrong place, so
/// passwords are taken out of what clap repeats.
fn usage(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    let _ = write!(
        io::stderr(),
        "{}",
        output::without_userinfo(&error.to_string())
    );
    ExitCode::from(2)
}

/// One line, whatever a broker's own words contain.
fn complain(message: &str) {
    let _ = writeln!(io::stderr(), "error: {}", output::printable(message));
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<io::Error>()
        .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

fn log_to_stderr(verbose: u8, command: &Command) {
    let level = match verbose {
        // The suite loses messages and connections on purpose, which is a warning each time.
        0 if matches!(command, Command::Check(_)) => LevelFilter::ERROR,
        0 => LevelFilter::WARN,
        1 => LevelFilter::INFO,
        2 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    };
    // RabbitMQ's client calls every refusal and every lost connection an error, which the library
    // then tells in its own words, or knows what to do about.
    let client = if verbose > 1 { level } else { LevelFilter::OFF };
    let filter = Targets::new()
        .with_default(level)
        .with_target("lapin", client);
    tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .finish()
        .with(filter)
        .init();
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_arguments_do_not_contradict_each_other() {
        Cli::command().debug_assert();
    }
}
