//! `scaleout publish`: one message, and where it was stored.

use std::{
    io::{self, Write},
    process::ExitCode,
    time::Duration,
};

use scaleout::{Backplane, Message, Outcome};
use tokio::io::AsyncReadExt;

/// Publish one message and print its cursor
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The broker, such as redis://127.0.0.1/
    url: String,
    /// What to publish to, such as room/42
    topic: String,
    /// The message; without it, or with -, standard input is read to its end
    #[arg(allow_hyphen_values = true)]
    text: Option<String>,
}

const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let backplane = scaleout::connect(&args.url).await?;
    let message = match args.text {
        Some(text) if text != "-" => Message::new(text),
        _ => from_stdin(&backplane).await?,
    };
    let receipt = backplane.publish(args.topic, message).await;
    let receipt = receipt.map_err(|error| match error.outcome() {
        Outcome::NotStored => error,
        Outcome::Unknown => error.context("the message may or may not have been stored"),
    })?;
    writeln!(io::stdout(), "{}", receipt.cursor())?;
    backplane.close(CLOSE_TIMEOUT).await?;
    Ok(ExitCode::SUCCESS)
}

/// Reads no more than it takes to see that a message is too large.
async fn from_stdin(backplane: &Backplane) -> io::Result<Message> {
    let limit = backplane.max_payload_bytes() as u64 + 1;
    let mut payload = Vec::new();
    tokio::io::stdin()
        .take(limit)
        .read_to_end(&mut payload)
        .await?;
    Ok(Message::new(payload))
}
