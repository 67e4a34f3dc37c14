//! Append: frames of all logs leave over one connection, many of them in one call of the script.

use std::{
    io::Write as _,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use futures_util::{StreamExt, stream::FuturesUnordered};
use redis::{RedisWrite, Value, aio::MultiplexedConnection};
use scaleout_core::{Appended, EncodedFrame, Epoch, Error, ErrorKind, Position, Result};
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};

use crate::{
    config::Config,
    connection::Run,
    error::{lost, nonsense, of_client, of_server, timed_out},
    hints::{Hint, Hints},
    keys::Key,
    link::Pulse,
    script::APPEND,
    wire,
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

/// Sends what is queued, until the queue's other end is dropped.
pub(crate) struct Writer {
    pub(crate) config: Arc<Config>,
    pub(crate) connection: MultiplexedConnection,
    pub(crate) run: Run,
    pub(crate) pulse: Arc<Pulse>,
    pub(crate) hints: Arc<Hints>,
    pub(crate) dice: Dice,
}

impl Writer {
    pub(crate) async fn work(self, mut queue: mpsc::UnboundedReceiver<Append>) {
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

    async fn send(&self, mut batch: Vec<Append>) {
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
        let hints = self.hints.of(batch.iter().map(|append| &append.key));
        let settings = self.settings(&batch);
        let mut connection = self.connection.clone();
        let answer = APPEND.run(&mut connection, |command| {
            write_arguments(command, &settings, &batch, &hints);
        });
        let error = match timeout(self.config.request_timeout, answer).await {
            Ok(Ok(Value::Array(answers))) if answers.len() == batch.len() => {
                self.pulse.beat();
                self.hand_out(batch, answers);
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

    /// What the whole call is told: see `lua/append.lua`.
    fn settings(&self, batch: &[Append]) -> Settings {
        let config = &self.config;
        let exact = config.retention_frames < TRIM_ROUGHLY;
        let share = |append: &Append| {
            append.frame.bytes().len() as f64 * WEIGHINGS / config.retention_bytes as f64
        };
        Settings {
            epoch: Epoch::random(),
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

    fn hand_out(&self, batch: Vec<Append>, answers: Vec<Value>) {
        let mut learnt = Vec::with_capacity(batch.len());
        for (append, answer) in batch.into_iter().zip(answers) {
            let outcome = self.read_answer(answer);
            if let Ok(Appended { first: Some(first) }) = &outcome {
                let next = first.sequence.plus(append.frame.len().into());
                learnt.push((append.key, (first.epoch, next)));
            }
            // Whoever asked may have stopped waiting.
            let _ = append.reply.send(outcome);
        }
        self.hints.learn(learnt.into_iter());
    }

    fn read_answer(&self, answer: Value) -> Result<Appended> {
        match answer {
            Value::BulkString(state) => {
                let (epoch, first) = wire::read_state(&state)
                    .ok_or_else(|| nonsense("EVALSHA").with_unknown_outcome())?;
                Ok(Appended {
                    first: first.map(|first| Position::new(epoch, first)),
                })
            }
            Value::ServerError(error) if error.code() == "STORED" => {
                Err(self.of_server(&error).with_unknown_outcome())
            }
            Value::ServerError(error) => Err(self.of_server(&error)),
            _ => Err(nonsense("EVALSHA").with_unknown_outcome()),
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

struct Settings {
    epoch: Epoch,
    mark: Vec<u8>,
    expiry: u128,
    trim: &'static str,
    keep: usize,
    weigh: usize,
    keep_bytes: usize,
}

fn write_arguments(
    command: &mut redis::Cmd,
    settings: &Settings,
    batch: &[Append],
    hints: &[Option<Hint>],
) {
    let bytes = batch
        .iter()
        .map(|append| append.frame.bytes().len() + 2 * append.key.meta().len());
    command.reserve_space_for_args(
        bytes
            .chain([160; 8])
            .chain(batch.iter().flat_map(|_| [20; 8])),
    );
    command.arg(2 * batch.len());
    for append in batch {
        let meta = append.key.meta();
        command.arg(meta);
        write_parts(command, &[meta.as_bytes(), Key::STREAM.as_bytes()]);
    }
    command
        .arg(&settings.epoch.get().to_be_bytes())
        .arg(&settings.mark)
        .arg(settings.expiry.to_string())
        .arg(settings.trim)
        .arg(settings.keep)
        .arg(settings.weigh)
        .arg(settings.keep_bytes);
    for (append, hint) in batch.iter().zip(hints) {
        let frame = &append.frame;
        let len = frame.len();
        command.arg(frame.publisher().as_bytes());
        command.write_arg_fmt(format_args!("{:020}", frame.counter()));
        command.arg(len);
        let Some((epoch, first)) = *hint else {
            command.arg("").arg("").arg("").arg(&frame.bytes()[..]);
            continue;
        };
        let after = first.plus(len.into());
        let state = wire::state(epoch, first);
        command.arg(&state).arg(wire::state(epoch, after));
        command.write_arg_fmt(format_args!("{}-{len}", after.previous()));
        write_parts(
            command,
            &[&state, format!("-{len} ").as_bytes(), frame.bytes()],
        );
    }
}

fn write_parts(command: &mut redis::Cmd, parts: &[&[u8]]) {
    let mut argument = command.writer_for_next_arg();
    for part in parts {
        // It writes into memory.
        let _ = argument.write_all(part);
    }
}

/// Tells runs of the server apart, and slices of time, at whose borders a log's expiry is put off.
pub(crate) fn mark(run: Run, idle_expiry: Duration, now: SystemTime) -> Vec<u8> {
    let now = now
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let slice = now.as_millis() / (idle_expiry / 8).as_millis().max(1);
    let mut mark = run.as_bytes().to_vec();
    mark.extend(slice.to_string().as_bytes());
    mark
}

/// Milliseconds until an unused log goes. It is put off once in an eighth of the expiry, by clocks
/// that differ by up to as much, and never comes early.
pub(crate) fn expiry(idle_expiry: Duration) -> u128 {
    (idle_expiry + idle_expiry / 4).as_millis()
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

/// Chance, cheap and without a lock: SplitMix64 over a counter.
#[derive(Debug)]
pub(crate) struct Dice(AtomicU64);

impl Dice {
    #[expect(clippy::cast_possible_truncation, reason = "any 64 bits are a seed")]
    pub(crate) fn new() -> Self {
        Self(AtomicU64::new(Epoch::random().get() as u64))
    }

    /// A number in `0.0..1.0`.
    pub(crate) fn roll(&self) -> f64 {
        let mut z = self.0.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        #[expect(clippy::cast_precision_loss, reason = "53 bits fit")]
        let fraction = (z >> 11) as f64 / (1_u64 << 53) as f64;
        fraction
    }
}
