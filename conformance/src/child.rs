//! [`Child`]: a client in a process of its own, which can be stopped as a whole, or have another clock.
//!
//! A test program runs itself as the child: its `main` begins with [`main`]. The child prints what its
//! subscription yields, a line each, and publishes what it is told to, until its parent ends it.

use std::{
    io::{self, Write},
    process::{ExitCode, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rustix::process::{Pid, Signal, kill_process};
use scaleout_core::{Backplane, Connector, Epoch, Position, Result, Sequence, Start, Topic};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines, stdin},
    process::{ChildStdin, ChildStdout, Command},
    sync::mpsc,
};

use crate::{
    Clock, Failure, Limits,
    checker::{Observation, Value},
    clock,
};

/// The argument that makes a program the child.
const MODE: &str = "--scaleout-conformance-child";
/// The line that says that the subscription is confirmed; its place follows, and the time.
const READY: &str = "ready";
/// The line that says that what it was told to publish is stored; the place follows.
const STORED: &str = "stored";
/// How long the child may take to say something.
const GUARD: Duration = Duration::from_secs(45);

/// Whether this program begins with [`main`].
static OFFERED: AtomicBool = AtomicBool::new(false);

/// If this program was started as the child, is the child, and returns how it ended.
pub fn main(connector: impl Fn(&str) -> Result<Connector>) -> Option<ExitCode> {
    if std::env::args().nth(1).as_deref() != Some(MODE) {
        OFFERED.store(true, Ordering::Relaxed);
        return None;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let followed = match runtime {
        Ok(runtime) => runtime.block_on(follow(connector)),
        Err(error) => Err(error.into()),
    };
    Some(match followed {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    })
}

pub(crate) fn is_offered() -> bool {
    OFFERED.load(Ordering::Relaxed)
}

async fn follow(
    connector: impl Fn(&str) -> Result<Connector>,
) -> Result<(), Box<dyn std::error::Error>> {
    // Not as arguments, which everybody on the machine can see.
    let mut asked = BufReader::new(stdin()).lines();
    let mut ask = async || {
        let line = asked.next_line().await?;
        line.ok_or(io::Error::from(io::ErrorKind::UnexpectedEof))
    };
    let url = ask().await?;
    let topic = Topic::new(ask().await?)?;
    let node = Backplane::connect(connector(&url)?).await?;
    let mut tail = node.subscribe(&topic, Start::Latest).await?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    say(&format!(
        "{READY} {} {now}",
        place(tail.cursor().position())
    ))?;
    let publishing = async {
        while let Ok(payload) = ask().await {
            let receipt = node.publish(&topic, payload).await?;
            say(&format!("{STORED} {}", place(receipt.cursor().position())))?;
        }
        // There is nothing more to publish.
        std::future::pending::<()>().await;
        Ok(())
    };
    let following = async {
        while let Some(event) = tail.next().await {
            say(&line(&Observation::of(&event)))?;
        }
        Ok(())
    };
    tokio::select! {
        ended = publishing => ended,
        ended = following => ended,
    }
}

/// A whole line at once, whoever else says something.
fn say(line: &str) -> io::Result<()> {
    writeln!(io::stdout().lock(), "{line}")
}

/// The child, as its parent sees it. Dropping it kills it, stopped or not.
#[derive(Debug)]
pub struct Child {
    process: tokio::process::Child,
    began: Position,
    lines: Lines<BufReader<ChildStdout>>,
    stored: mpsc::UnboundedSender<Position>,
    voice: Option<Voice>,
}

/// Has the child publish. Its answers come through whoever follows the child.
#[derive(Debug)]
pub struct Voice {
    tell: ChildStdin,
    stored: mpsc::UnboundedReceiver<Position>,
}

impl Voice {
    /// Has it publish a line, and returns where that stands.
    ///
    /// # Errors
    ///
    /// If the child has ended, as it does when it cannot publish.
    pub async fn publish(&mut self, payload: &str) -> Result<Position, Failure> {
        let failed = |error: io::Error| Failure::new(format!("the child: {error}"));
        let line = format!("{payload}\n");
        self.tell.write_all(line.as_bytes()).await.map_err(failed)?;
        let stored = self.stored.recv().await;
        stored.ok_or_else(|| Failure::new("the child process has ended"))
    }
}

impl Child {
    /// Starts it on a topic, with this clock. Resolves once its subscription, from the newest message
    /// on, is confirmed.
    ///
    /// # Errors
    ///
    /// If it cannot be started, does not get ready in time, has another clock, or says something else.
    pub async fn start(
        limits: Limits,
        url: &str,
        topic: &str,
        clock: Clock,
    ) -> Result<Self, Failure> {
        let failed = |error: io::Error| Failure::new(format!("no child process: {error}"));
        let program = std::env::current_exe().map_err(failed)?;
        let mut command = Command::new(program);
        clock::give(command.as_std_mut(), clock);
        let mut process = command
            .arg(MODE)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(failed)?;
        let (Some(mut tell), Some(told)) = (process.stdin.take(), process.stdout.take()) else {
            return Err(Failure::new("the child process has no pipes"));
        };
        let asked = format!("{url}\n{topic}\n");
        tell.write_all(asked.as_bytes()).await.map_err(failed)?;
        let (stored, publishes) = mpsc::unbounded_channel();
        let mut child = Self {
            process,
            began: Position::new(Epoch::new(0), Sequence::ZERO),
            lines: BufReader::new(told).lines(),
            stored,
            voice: Some(Voice {
                tell,
                stored: publishes,
            }),
        };
        let ready = limits
            .within_time(GUARD, "the child to subscribe", child.line())
            .await??;
        let mut said = ready.strip_prefix(READY).map(str::split_whitespace);
        let mut understood = || {
            let said = said.as_mut()?;
            let time = (parse_place(said)?, said.next()?.parse().ok()?);
            Some(time)
        };
        let (began, seconds) =
            understood().ok_or_else(|| Failure::new(format!("the child is not ready: {ready}")))?;
        clock.shows(UNIX_EPOCH + Duration::from_secs(seconds))?;
        child.began = began;
        Ok(child)
    }

    /// What has it publish, while somebody else follows it. There is one.
    ///
    /// # Errors
    ///
    /// If it was taken before.
    pub fn voice(&mut self) -> Result<Voice, Failure> {
        let voice = self.voice.take();
        voice.ok_or_else(|| Failure::new("the child has one voice"))
    }

    /// Where its subscription began.
    pub fn began(&self) -> Position {
        self.began
    }

    /// Its process, to send it signals while somebody else follows it.
    pub fn process(&self) -> ChildProcess {
        let id = self.process.id().and_then(|id| i32::try_from(id).ok());
        ChildProcess(id.and_then(Pid::from_raw))
    }

    /// The next thing that its subscription yielded.
    ///
    /// # Errors
    ///
    /// If it has ended, or says what cannot be understood.
    ///
    /// # Cancellation
    ///
    /// Safe.
    pub async fn next(&mut self) -> Result<Observation, Failure> {
        let line = self.line().await?;
        parse(&line).ok_or_else(|| Failure::new(format!("the child says: {line}")))
    }

    /// The next line that is for whoever follows it.
    async fn line(&mut self) -> Result<String, Failure> {
        loop {
            let line = self.lines.next_line().await;
            let line = line.map_err(|error| Failure::new(format!("the child: {error}")))?;
            let line = line.ok_or_else(|| Failure::new("the child process has ended"))?;
            let stored = line.strip_prefix(STORED).map(str::split_whitespace);
            match stored.and_then(|mut words| parse_place(&mut words)) {
                // Nobody waits for it if the case is over.
                Some(place) => drop(self.stored.send(place)),
                None => return Ok(line),
            }
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // Killed by its id as long as it is not known to have ended.
        if let Some(id) = self.process.id() {
            let _ = self.process.start_kill();
            clock::tidy(id);
        }
    }
}

/// A child's process. It must not be used when the [`Child`] is gone.
#[derive(Clone, Copy, Debug)]
pub struct ChildProcess(Option<Pid>);

impl ChildProcess {
    /// Sends it a signal.
    ///
    /// # Errors
    ///
    /// If it has ended.
    pub fn signal(self, signal: Signal) -> Result<(), Failure> {
        let pid = self.0.ok_or_else(|| Failure::new("the child has ended"))?;
        kill_process(pid, signal).map_err(|error| Failure::new(format!("no signal: {error}")))
    }
}

fn line(observation: &Observation) -> String {
    match observation {
        Observation::Entry(position, Some(value)) => {
            format!("message {} {value}", place(*position))
        }
        Observation::Gap(epoch, first, last) => format!("gap {epoch} {first} {last}"),
        Observation::EpochChanged(epoch) => format!("reset {epoch}"),
        other => format!("{other:?}"),
    }
}

fn place(position: Position) -> String {
    format!("{} {}", position.epoch, position.sequence)
}

fn parse(line: &str) -> Option<Observation> {
    let mut words = line.split(' ');
    Some(match words.next()? {
        "message" => {
            let position = parse_place(&mut words)?;
            Observation::Entry(position, Value::from_payload(words.next()?.as_bytes()))
        }
        "gap" => {
            let first = parse_place(&mut words)?;
            Observation::Gap(first.epoch, first.sequence, parse_sequence(words.next()?)?)
        }
        "reset" => Observation::EpochChanged(parse_epoch(words.next()?)?),
        _ => return None,
    })
}

fn parse_place<'a>(words: &mut impl Iterator<Item = &'a str>) -> Option<Position> {
    let epoch = parse_epoch(words.next()?)?;
    Some(Position::new(epoch, parse_sequence(words.next()?)?))
}

fn parse_epoch(word: &str) -> Option<Epoch> {
    u128::from_str_radix(word, 16).ok().map(Epoch::new)
}

fn parse_sequence(word: &str) -> Option<Sequence> {
    word.parse().ok().map(Sequence::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_child_says_is_understood() {
        let at = Position::new(Epoch::new(0xabc), Sequence::new(7));
        let value = Value::from_payload(&Value::to_payload(
            Value {
                run: 1,
                publisher: 2,
                counter: 3,
            },
            0,
        ));
        for said in [
            Observation::Entry(at, value),
            Observation::Gap(at.epoch, at.sequence, Sequence::new(9)),
            Observation::EpochChanged(at.epoch),
        ] {
            assert_eq!(parse(&line(&said)), Some(said));
        }
        assert_eq!(parse(&line(&Observation::Closed)), None);
    }
}
