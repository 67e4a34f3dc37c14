//! `scaleout tail`: what subscriptions see, as it comes.

mod format;

use std::{
    io::{self, BufWriter, Write},
    process::ExitCode,
    str::FromStr,
    time::Duration,
};

use anyhow::bail;
use futures_util::{FutureExt, StreamExt, stream};
use scaleout::{Cursor, Event, Start, Topic};
use tokio::sync::watch;

use self::format::Format;

/// Show messages, gaps and resets of topics as they come
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The broker, such as redis://127.0.0.1/
    url: String,
    /// What to subscribe to, such as room/42
    #[arg(required = true, value_name = "TOPIC")]
    topics: Vec<String>,
    /// Where to begin: latest, earliest, or a cursor to continue after
    #[arg(long, default_value = "latest", value_name = "latest|earliest|CURSOR")]
    from: From,
    /// Print one JSON object per line
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Debug)]
struct From(Start);

impl FromStr for From {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "latest" => Ok(Self(Start::Latest)),
            "earliest" => Ok(Self(Start::Earliest)),
            cursor => match cursor.parse() {
                Ok(cursor) => Ok(Self(Start::After(cursor))),
                Err(error) => Err(format!("neither latest nor earliest, and {error}")),
            },
        }
    }
}

const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let topics = args
        .topics
        .iter()
        .map(Topic::new)
        .collect::<scaleout::Result<Vec<_>>>()?;
    let From(start) = args.from;
    if let Start::After(cursor) = &start {
        check_owner(cursor, &topics)?;
    }
    let format = if args.json {
        Format::Json
    } else {
        Format::Text
    };
    let mut out = BufWriter::new(io::stdout());

    let backplane = scaleout::connect(&args.url).await?;
    let mut health = backplane.watch_health();
    let mut events = stream::SelectAll::new();
    for topic in topics {
        let subscription = backplane.subscribe(&topic, start.clone()).await?;
        format.subscribed(&mut out, &topic, &subscription.cursor())?;
        events.push(subscription.map(move |event| (topic.clone(), event)));
    }

    let mut interrupted = std::pin::pin!(tokio::signal::ctrl_c());
    loop {
        // What is there already is written in one go; the reader sees it before we wait for more.
        let next = match events.next().now_or_never() {
            Some(next) => next,
            None => {
                out.flush()?;
                tokio::select! {
                    next = events.next() => next,
                    () = changed(&mut health) => {
                        format.state(&mut out, &health.borrow_and_update())?;
                        continue;
                    }
                    signal = &mut interrupted => {
                        signal?;
                        break;
                    }
                }
            }
        };
        let Some((topic, event)) = next else { break };
        format.event(&mut out, &topic, &event)?;
        if let Event::Closed(Some(error)) = event {
            out.flush()?;
            return Err(error.context(topic).into());
        }
    }
    out.flush()?;
    backplane.close(CLOSE_TIMEOUT).await?;
    Ok(ExitCode::SUCCESS)
}

/// A cursor continues one topic only.
fn check_owner(cursor: &Cursor, topics: &[Topic]) -> anyhow::Result<()> {
    match topics {
        [topic] if topic == cursor.topic() => Ok(()),
        [topic] => bail!(
            "the cursor belongs to topic {:?}, not to {topic:?}",
            cursor.topic()
        ),
        _ => bail!(
            "the cursor belongs to topic {:?} alone; tail the other topics with a command of their own",
            cursor.topic()
        ),
    }
}

/// Resolves when the node's health has changed; never once the node is gone.
async fn changed(health: &mut watch::Receiver<scaleout::Health>) {
    if health.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}
