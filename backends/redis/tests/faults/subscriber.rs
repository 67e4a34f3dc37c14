//! The subscriber that runs in a process of its own, so that it can be stopped as a whole: it prints
//! what it gets, a line each.

use std::{
    io::{self, BufRead, BufReader, Write},
    process::{Child, Command, ExitCode, Stdio},
    sync::mpsc,
    time::Duration,
};

use libtest_mimic::Failed;
use scaleout_conformance::checker::{Observation, Value};
use scaleout_core::{Backplane, Epoch, Position, Sequence, Start};

/// The argument that makes this program the subscriber.
pub(crate) const MODE: &str = "--subscribe";
/// The line that says that the subscription is confirmed; its place follows.
const READY: &str = "ready";

/// The subscriber's own `main`.
pub(crate) fn run(url: &str, topic: &str) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let followed = runtime
        .map_err(|error| error.to_string())
        .and_then(|runtime| {
            runtime
                .block_on(follow(url, topic))
                .map_err(|error| format!("{error:?}"))
        });
    match followed {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn follow(url: &str, topic: &str) -> Result<(), Failed> {
    let node = Backplane::connect(scaleout_redis::connector(url)?).await?;
    let mut tail = node.subscribe(topic, Start::Latest).await?;
    let mut out = io::BufWriter::new(io::stdout().lock());
    writeln!(out, "{READY} {}", place(tail.cursor().position()))?;
    out.flush()?;
    // Until its parent kills it.
    while let Some(event) = tail.next().await {
        writeln!(out, "{}", line(&Observation::of(&event)))?;
        out.flush()?;
    }
    Ok(())
}

fn line(observation: &Observation) -> String {
    match observation {
        Observation::Entry(position, Some(value)) => {
            format!("message {} {value}", place(*position))
        }
        Observation::Gap(epoch, first, last) => format!("gap {epoch} {first} {last}"),
        Observation::EpochChanged(epoch) => format!("reset {epoch}"),
        other => format!("unexpected {other:?}"),
    }
}

fn place(position: Position) -> String {
    format!("{} {}", position.epoch, position.sequence)
}

/// The subscriber as its parent sees it. Dropping it kills it.
pub(crate) struct Subscriber {
    child: Child,
    pub(crate) began: Position,
    lines: mpsc::Receiver<String>,
}

impl Subscriber {
    /// Starts it; returns once its subscription is confirmed.
    pub(crate) fn start(url: &str, topic: &str) -> Result<Self, Failed> {
        let mut child = Command::new(std::env::current_exe()?)
            .args([MODE, url, topic])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let out = child.stdout.take().ok_or("no output")?;
        // Its output is taken all the time, so that nothing but the stop holds it up.
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let mut subscriber = Self {
            child,
            began: Position::new(Epoch::new(0), Sequence::ZERO),
            lines,
        };
        let ready = subscriber.lines.recv_timeout(Duration::from_secs(30))?;
        let place = ready.strip_prefix(READY).ok_or("not ready")?;
        subscriber.began = parse_place(&mut place.split_whitespace()).ok_or("no place")?;
        Ok(subscriber)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The next thing that it got.
    pub(crate) fn next(&self) -> Result<Observation, Failed> {
        let line = self.lines.recv_timeout(Duration::from_secs(60))?;
        parse(&line).ok_or_else(|| format!("the subscriber says: {line}").into())
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        // Stopped or not. It fails only if it has ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn parse(line: &str) -> Option<Observation> {
    let mut words = line.split(' ');
    match words.next()? {
        "message" => {
            let position = parse_place(&mut words)?;
            Some(Observation::Entry(
                position,
                Value::from_payload(words.next()?.as_bytes()),
            ))
        }
        "gap" => {
            let epoch = parse_epoch(words.next()?)?;
            Some(Observation::Gap(
                epoch,
                parse_sequence(words.next()?)?,
                parse_sequence(words.next()?)?,
            ))
        }
        "reset" => Some(Observation::EpochChanged(parse_epoch(words.next()?)?)),
        _ => None,
    }
}

fn parse_place<'a>(words: &mut impl Iterator<Item = &'a str>) -> Option<Position> {
    Some(Position::new(
        parse_epoch(words.next()?)?,
        parse_sequence(words.next()?)?,
    ))
}

fn parse_epoch(word: &str) -> Option<Epoch> {
    u128::from_str_radix(word, 16).ok().map(Epoch::new)
}

fn parse_sequence(word: &str) -> Option<Sequence> {
    word.parse().ok().map(Sequence::new)
}
