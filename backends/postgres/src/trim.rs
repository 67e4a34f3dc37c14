//! Trimming: by one node at a time, in small steps, beside the appends.

use std::{sync::Arc, time::Duration};

use scaleout_core::LogName;
use tokio::{
    sync::mpsc,
    time::{interval, sleep},
};
use tokio_postgres::{Client, Error, types::ToSql};

use crate::config::Config;

/// How often a node looks after a hundred logs of its namespace: for age, and for what applications
/// published themselves.
const SWEEP: Duration = Duration::from_secs(5);
/// A log is trimmed each time it took in this part of what it keeps.
const PARTS: u64 = 16;
/// But not more often than after so many frames, nor less often.
const EVERY: std::ops::RangeInclusive<u64> = 16..=1_000;
/// Logs that wait to be trimmed. More are left to later.
const WAITING: usize = 1_024;

/// Tells the task that trims. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Trims {
    every: u64,
    queue: mpsc::Sender<Vec<u8>>,
}

impl Trims {
    pub(crate) fn new(config: &Config) -> (Self, mpsc::Receiver<Vec<u8>>) {
        let (queue, waiting) = mpsc::channel(WAITING);
        let every = (config.retention_frames / PARTS).clamp(*EVERY.start(), *EVERY.end());
        (Self { every, queue }, waiting)
    }

    /// A log took its `number`th frame. One node alone gets this number, so that one alone trims.
    pub(crate) fn appended(&self, log: &LogName, number: i64) {
        if u64::try_from(number).is_ok_and(|number| number % self.every == 0) {
            // Full: the next time will do.
            let _ = self.queue.try_send(log.key().into_bytes());
        }
    }
}

/// Trims what it is told to, and looks after the namespace, as long as the connection lives.
pub(crate) async fn work(
    config: Arc<Config>,
    client: Arc<Client>,
    mut waiting: mpsc::Receiver<Vec<u8>>,
) {
    let trimmer = Trimmer {
        keep: i64::try_from(config.retention_frames).unwrap_or(i64::MAX),
        age: config.retention_age.as_secs_f64(),
        idle: config.idle_expiry.as_secs_f64(),
        client,
    };
    let mut beyond = 0;
    let mut sweep = interval(SWEEP);
    // Nodes that were started together take turns.
    sweep.reset_after(SWEEP.mul_f64(scatter()));
    loop {
        let done = tokio::select! {
            told = waiting.recv() => match told {
                Some(name) => trimmer.trim(&name).await,
                None => return,
            },
            _ = sweep.tick() => trimmer.sweep(&config.namespace, &mut beyond).await,
        };
        if let Err(error) = done {
            tracing::debug!(%error, "a log was not trimmed");
            if error.is_closed() {
                return;
            }
        }
    }
}

pub(crate) struct Trimmer {
    client: Arc<Client>,
    keep: i64,
    age: f64,
    idle: f64,
}

impl Trimmer {
    /// One that leaves nothing.
    pub(crate) fn of_everything(client: Arc<Client>) -> Self {
        Self {
            client,
            keep: 0,
            age: 0.0,
            idle: 0.0,
        }
    }

    /// Deletes the logs of a namespace.
    pub(crate) async fn empty(&self, namespace: &str) -> Result<(), Error> {
        // The first time empties those that have more than a step's frames, the second deletes them.
        for _ in 0..2 {
            let mut beyond = 0;
            loop {
                self.sweep(namespace, &mut beyond).await?;
                if beyond == 0 {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Trims one log. Between two steps, others have their turn on the connection.
    async fn trim(&self, name: &[u8]) -> Result<(), Error> {
        let call = "SELECT scaleout.trim($1, $2, make_interval(secs => $3))";
        let arguments: [&(dyn ToSql + Sync); 3] = [&name, &self.keep, &self.age];
        loop {
            let row = self.client.query_one(call, &arguments).await?;
            if !row.try_get::<_, bool>(0)? {
                return Ok(());
            }
            sleep(Duration::from_millis(1)).await;
        }
    }

    /// Looks after the next hundred logs.
    async fn sweep(&self, namespace: &str, beyond: &mut i64) -> Result<(), Error> {
        let call = "SELECT * FROM scaleout.sweep(
            $1, $2, $3, make_interval(secs => $4), make_interval(secs => $5))";
        let arguments: [&(dyn ToSql + Sync); 5] =
            [&namespace, &*beyond, &self.keep, &self.age, &self.idle];
        let Some(row) = self.client.query_opt(call, &arguments).await? else {
            *beyond = 0;
            return Ok(());
        };
        *beyond = row.try_get(0)?;
        for name in row.try_get::<_, Vec<Vec<u8>>>(1)? {
            self.trim(&name).await?;
        }
        Ok(())
    }
}

/// Some fraction, another one in every process.
fn scatter() -> f64 {
    let random = scaleout_core::Epoch::random().get() & 0xff;
    f64::from(u8::try_from(random).unwrap_or_default()) / 256.0
}
