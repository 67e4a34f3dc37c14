//! [`Link`]: a connection with its tasks and its heartbeat.

use std::{
    future::poll_fn,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use scaleout_core::{Error, ErrorKind, Result};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, timeout, timeout_at},
};
use tokio_postgres::{AsyncMessage, Client, Notification};

use crate::{
    config::Config,
    connection::{Dialled, dial, set_up},
    error::{lost, of, timed_out},
};

/// A connection to the server. Its tasks end with it.
pub(crate) struct Link {
    pub(crate) client: Arc<Client>,
    tasks: Mutex<JoinSet<()>>,
}

/// What is known of the life of a connection, or of several that live and die together.
#[derive(Debug, Default)]
pub(crate) struct Pulse {
    dead: AtomicBool,
    traffic: AtomicU64,
}

impl Pulse {
    pub(crate) fn is_alive(&self) -> bool {
        !self.dead.load(Ordering::Acquire)
    }

    /// Nobody is to use the connections any more.
    pub(crate) fn die(&self) {
        self.dead.store(true, Ordering::Release);
    }
}

/// What a connection tells: notifications, and its end. Called by the task that reads from it.
pub(crate) trait Hears: Send + Sync + 'static {
    fn hear(&self, notification: Notification);
    fn gone(&self, error: Error);
}

/// For connections that are not listened on.
pub(crate) struct Deaf;

impl Hears for Deaf {
    fn hear(&self, _: Notification) {}
    fn gone(&self, _: Error) {}
}

impl Link {
    /// Connects and sets the session up, within the request timeout.
    pub(crate) async fn open(
        config: &Arc<Config>,
        pulse: Arc<Pulse>,
        hears: impl Hears,
    ) -> Result<Self> {
        let attempt = async {
            let link = Self::connect(config, pulse, hears).await?;
            set_up(config, &link.client).await?;
            Ok(link)
        };
        match timeout(config.request_timeout, attempt).await {
            Ok(outcome) => outcome,
            Err(_) => Err(Error::new(
                ErrorKind::Unavailable,
                format!(
                    "cannot connect to {config} within {:?}",
                    config.request_timeout
                ),
            )),
        }
    }

    async fn connect(config: &Arc<Config>, pulse: Arc<Pulse>, hears: impl Hears) -> Result<Self> {
        let Dialled { client, mut driver } = dial(config).await?;
        let client = Arc::new(client);
        let heartbeat = heartbeat(config.liveness, client.clone(), pulse.clone());
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let reading = async {
                loop {
                    match poll_fn(|cx| driver.poll_message(cx)).await {
                        Some(Ok(AsyncMessage::Notification(notification))) => {
                            pulse.traffic.fetch_add(1, Ordering::Relaxed);
                            hears.hear(notification);
                        }
                        Some(Ok(_)) => {}
                        Some(Err(error)) => return of(&error),
                        None => return lost(),
                    }
                }
            };
            // What has come in is looked at before a silence is.
            let error = tokio::select! {
                biased;
                error = reading => error,
                error = heartbeat => error,
            };
            pulse.die();
            hears.gone(Error::new(ErrorKind::Unavailable, error.to_string()));
        });
        Ok(Self {
            client,
            tasks: Mutex::new(tasks),
        })
    }

    /// Runs a task until the link is dropped.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.lock().spawn(task);
    }

    /// A round trip.
    pub(crate) async fn ping(&self, config: &Config) -> Result<()> {
        match timeout(config.request_timeout, self.client.batch_execute("")).await {
            Ok(answer) => answer.map_err(|error| of(&error)),
            Err(_) => Err(timed_out("an empty query", config.request_timeout)),
        }
    }

    /// Stops the tasks, and with them the connection. Returns when they are gone, or at the deadline.
    pub(crate) async fn close(&self, deadline: Instant) {
        let mut tasks = std::mem::take(&mut *self.lock());
        // At the deadline the rest is dropped, which aborts it all the same.
        let _ = timeout_at(deadline, tasks.shutdown()).await;
    }

    /// Nothing that runs under the lock can panic, so a poisoned one still holds a whole state.
    fn lock(&self) -> MutexGuard<'_, JoinSet<()>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends when the server has been silent for too long: a quarter of the liveness time between two
/// pings, a quarter to answer, and as much again if something else came meanwhile.
async fn heartbeat(liveness: Duration, client: Arc<Client>, pulse: Arc<Pulse>) -> Error {
    let quarter = liveness / 4;
    loop {
        sleep(quarter).await;
        let before = pulse.traffic.load(Ordering::Relaxed);
        match timeout(quarter, client.batch_execute("")).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return of(&error),
            Err(_) if pulse.traffic.load(Ordering::Relaxed) != before => {}
            Err(_) => {
                return Error::new(
                    ErrorKind::Unavailable,
                    format!("postgres has not answered for {:?}", liveness / 2),
                );
            }
        }
    }
}
