//! Append: frames of all logs leave over one connection, many of them in one call of the script.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::SystemTime,
};

use futures_util::{StreamExt, stream::FuturesUnordered};
use redis::{RedisResult, Value, aio::MultiplexedConnection};
use scaleout_core::{Appended, EncodedFrame, Error, ErrorKind, Position, Result};
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};

use crate::{
    call::{Settings, write_batch, write_one},
    config::Config,
    connection::Run,
    dice::Dice,
    error::{lost, nonsense, of_client, of_server, timed_out},
    expiry::{expiry, mark},
    hints::Hints,
    keys::Key,
    link::{Link, Pulse},
    script::{APPEND, QUICK},
    wire::{self, Mark, State},
};

/// Calls of the script in flight. Two keep the server busy while the answers of the last one are
/// handed out; more make the batches smaller.
const IN_FLIGHT: usize = 2;
/// Frames in one call. Redis serves nobody else meanwhile: at some 7 µs a frame this is a millisecond.
const BATCH_FRAMES: usize = 128;
/// Bytes in one call, for the same reason; a larger frame goes alone.
const BATCH_BYTES: usize = 512 << 10;
/// From this retention on Redis trims whole nodes of the stream, which is cheaper: up to 100 frames
/// stay longer.
const TRIM_ROUGHLY: usize = 1_000;
/// One in so many calls trims, where it need not be exact.
const TRIM_EVERY: u64 = 8;
/// A log's bytes are looked at about this often while it takes in what it may keep.
const WEIGHINGS: f64 = 64.0;

/// A frame that waits to be sent.
pub(crate) struct Append {
    pub(crate) key: Key,
    pub(crate) frame: EncodedFrame,
    pub(crate) reply: oneshot::Sender<Result<Appended>>,
}

/// Calls the script.
pub(crate) struct Writer {
    config: Arc<Config>,
    connection: MultiplexedConnection,
    run: Run,
    pulse: Arc<Pulse>,
    hints: Arc<Hints>,
    dice: Dice,
    in_flight: AtomicUsize,
}

impl Writer {
    pub(crate) fn new(config: Arc<Config>, link: &Link, hints: Arc<Hints>) -> Self {
        Self {
            config,
            connection: link.connection.clone(),
            run: link.run,
            pulse: link.pulse.clone(),
            hints,
            dice: Dice::new(),
            in_flight: AtomicUsize::new(0),
        }
    }

    /// Whether nothing is in flight, so that a frame need not wait to be sent with others.
    pub(crate) fn is_idle(&self) -> bool {
        self.in_flight.load(Ordering::Relaxed) == 0
    }

    /// Sends what is queued, until the queue's other end is dropped.
    pub(crate) async fn work(&self, mut queue: mpsc::UnboundedReceiver<Append>) {
        let mut in_flight = FuturesUnordered::new();
        let mut waiting = Vec::with_capacity(BATCH_FRAMES);
        loop {
            tokio::select! {
                // In flight first: that also sends what was pushed last.
                biased;
                Some(()) = in_flight.next(), if !in_flight.is_empty() => {}
                taken = queue.recv_many(&mut waiting, BATCH_FRAMES), if in_flight.len() < IN_FLIGHT => {
                    if taken == 0 {
                        return;
                    }
                    for batch in batches(&mut waiting) {
                        in_flight.push(self.send(batch));
                    }
                }
            }
        }
    }

    /// Sends frames, and answers those who wait for them. When it is dropped, the frames may have
    /// been stored or not.
    pub(crate) async fn send(&self, mut batch: Vec<Append>) {
        let _in_flight = InFlight::new(&self.in_flight);
        // Nobody waits for these any more, and they were never sent.
        batch.retain(|append| !append.reply.is_closed());
        if batch.is_empty() {
            return;
        }
        let Err((batch, error)) = self.call(batch).await else {
            return;
        };
        if error.kind() == ErrorKind::Auth && batch.len() > 1 {
            // A log that is not permitted has kept the whole call from running.
            for append in batch {
                if let Err((one, error)) = self.call(vec![append]).await {
                    refuse(one, &error);
                }
            }
        } else {
            refuse(batch, &error);
        }
    }

    /// Calls the script, and answers those who wait; or gives them back with the error of the call.
    async fn call(&self, batch: Vec<Append>) -> Result<(), (Vec<Append>, Error)> {
        if !self.pulse.is_alive() {
            return Err((batch, lost()));
        }
        let settings = self.settings(&batch);
        let mut guesses = self.hints.of(batch.iter().map(|append| &append.key));
        for (guess, append) in guesses.iter_mut().zip(&batch) {
            *guess = guess.filter(|state| state.admits(settings.mark, &append.frame));
        }
        let answer = self.run(&settings, &batch, &mut guesses);
        let error = match timeout(self.config.request_timeout, answer).await {
            Ok(Ok(Value::Array(answers))) if answers.len() == batch.len() => {
                self.pulse.beat();
                self.hand_out(settings.mark, batch, answers, &guesses);
                return Ok(());
            }
            // It did not begin to run.
            Ok(Ok(Value::ServerError(error))) => self.of_server(&error),
            Ok(Ok(_)) => nonsense("EVALSHA").with_unknown_outcome(),
            Ok(Err(error)) => {
                of_client(&error, self.config.password.as_ref()).with_unknown_outcome()
            }
            Err(_) => timed_out("EVALSHA", self.config.request_timeout).with_unknown_outcome(),
        };
        Err((batch, error))
    }

    /// Runs the script that suits. Two at most: the quick one does nothing if it is not the one.
    async fn run(
        &self,
        settings: &Settings,
        batch: &[Append],
        guesses: &mut [Option<State>],
    ) -> RedisResult<Value> {
        let mut connection = self.connection.clone();
        if let ([append], [Some(guess)]) = (batch, &*guesses)
            && settings.trim.is_empty()
            && settings.weigh == 0
        {
            let quick = QUICK.run(&mut connection, |command| {
                write_one(command, settings.mark, append, guess);
            });
            let answer = quick.await?;
            if answer != Value::Int(0) {
                return Ok(Value::Array(vec![answer]));
            }
            guesses[0] = None;
        }
        let whole = APPEND.run(&mut connection, |command| {
            write_batch(command, settings, batch, guesses);
        });
        whole.await
    }

    /// What a call is told: see `lua/append.lua`.
    fn settings(&self, batch: &[Append]) -> Settings {
        let config = &self.config;
        let exact = config.retention_frames < TRIM_ROUGHLY;
        let share = |append: &Append| {
            append.frame.bytes().len() as f64 * WEIGHINGS / config.retention_bytes as f64
        };
        Settings {
            mark: mark(self.run, config.idle_expiry, SystemTime::now()),
            expiry: expiry(config.idle_expiry),
            trim: match exact {
                true => "=",
                false if self.dice.roll() < 1.0 / TRIM_EVERY as f64 => "~",
                false => "",
            },
            keep: config.retention_frames,
            weigh: batch
                .iter()
                .rposition(|append| self.dice.roll() < share(append))
                .map_or(0, |index| index + 1),
            keep_bytes: config.retention_bytes,
        }
    }

    fn hand_out(
        &self,
        mark: Mark,
        batch: Vec<Append>,
        answers: Vec<Value>,
        guesses: &[Option<State>],
    ) {
        let mut learnt = Vec::with_capacity(batch.len());
        for ((append, answer), guess) in batch.into_iter().zip(answers).zip(guesses) {
            let outcome = self.read_answer(answer, guess.as_ref());
            if let Ok(Appended { first: Some(first) }) = outcome {
                learnt.push((append.key, State::after(mark, first, &append.frame)));
            }
            // Whoever asked may have stopped waiting.
            let _ = append.reply.send(outcome);
        }
        self.hints.learn(learnt.into_iter());
    }

    fn read_answer(&self, answer: Value, guess: Option<&State>) -> Result<Appended> {
        let nonsense = || nonsense("EVALSHA").with_unknown_outcome();
        match (answer, guess) {
            (Value::Int(1), Some(guess)) => Ok(Appended {
                first: Some(guess.next()),
            }),
            (Value::BulkString(position), _) => {
                let (epoch, first) = wire::read_position(&position).ok_or_else(nonsense)?;
                Ok(Appended {
                    first: first.map(|first| Position::new(epoch, first)),
                })
            }
            (Value::ServerError(error), _) if error.code() == "STORED" => {
                Err(self.of_server(&error).with_unknown_outcome())
            }
            (Value::ServerError(error), _) => Err(self.of_server(&error)),
            _ => Err(nonsense()),
        }
    }

    fn of_server(&self, error: &redis::ServerError) -> Error {
        if error.kind() == Some(redis::ServerErrorKind::ReadOnly) {
            // This was the primary once. Only a new connection finds the one that is now.
            self.pulse.die();
        }
        of_server(error, self.config.password.as_ref())
    }
}

/// Counts a call as long as it lives.
struct InFlight<'a>(&'a AtomicUsize);

impl<'a> InFlight<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn batches(waiting: &mut Vec<Append>) -> Vec<Vec<Append>> {
    let mut batches = Vec::new();
    let mut batch = Vec::with_capacity(waiting.len());
    let mut bytes = 0;
    for append in waiting.drain(..) {
        let size = append.frame.bytes().len();
        if bytes + size > BATCH_BYTES && !batch.is_empty() {
            batches.push(std::mem::take(&mut batch));
            bytes = 0;
        }
        bytes += size;
        batch.push(append);
    }
    batches.push(batch);
    batches
}

fn refuse(batch: Vec<Append>, error: &Error) {
    for append in batch {
        // Whoever asked may have stopped waiting.
        let _ = append.reply.send(Err(error.duplicate()));
    }
}
