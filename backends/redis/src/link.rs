//! [`Link`]: a connection with its tasks and its heartbeat.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use redis::{Value, aio::MultiplexedConnection};
use scaleout_core::{Error, ErrorKind, Result};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, timeout, timeout_at},
};

use crate::{
    config::Config,
    connection::{Dialled, Push, Run, dial, inspect},
    error::{lost, of_client, of_server, timed_out},
};

/// A connection to the server. Its tasks end with it.
pub(crate) struct Link {
    pub(crate) connection: MultiplexedConnection,
    pub(crate) run: Run,
    pub(crate) pulse: Arc<Pulse>,
    tasks: Mutex<JoinSet<()>>,
}

/// What is known of a connection's life.
#[derive(Debug, Default)]
pub(crate) struct Pulse {
    dead: AtomicBool,
    traffic: AtomicU64,
}

impl Pulse {
    pub(crate) fn is_alive(&self) -> bool {
        !self.dead.load(Ordering::Acquire)
    }

    /// Nobody is to use the connection any more.
    pub(crate) fn die(&self) {
        self.dead.store(true, Ordering::Release);
    }

    /// Something came from the server.
    pub(crate) fn beat(&self) {
        self.traffic.fetch_add(1, Ordering::Relaxed);
    }
}

impl Link {
    /// Connects, within the request timeout. `ended` is called when the connection has died, but not
    /// when the link is dropped or closed.
    pub(crate) async fn open(
        config: &Arc<Config>,
        pulse: Arc<Pulse>,
        push: Option<Push>,
        ended: impl FnOnce(Error) + Send + 'static,
    ) -> Result<Self> {
        let attempt = Self::connect(config, pulse, push, ended);
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

    async fn connect(
        config: &Arc<Config>,
        pulse: Arc<Pulse>,
        push: Option<Push>,
        ended: impl FnOnce(Error) + Send + 'static,
    ) -> Result<Self> {
        let Dialled { connection, driver } = dial(config, push).await?;
        let mut tasks = JoinSet::new();
        let heartbeat = heartbeat(config.liveness, connection.clone(), pulse.clone());
        tasks.spawn({
            let pulse = pulse.clone();
            async move {
                // The driver first: what has come in is looked at before a silence is.
                let error = tokio::select! {
                    biased;
                    () = driver => lost(),
                    error = heartbeat => error,
                };
                pulse.die();
                ended(error);
            }
        });
        let mut link = Self {
            connection,
            run: Run::default(),
            pulse,
            tasks: Mutex::new(tasks),
        };
        link.run = inspect(config, &mut link.connection.clone()).await?;
        Ok(link)
    }

    /// Runs a task until the link is dropped.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.lock().spawn(task);
    }

    /// A round trip.
    pub(crate) async fn ping(&self, config: &Config) -> Result<()> {
        let secret = config.password.as_ref();
        let mut connection = self.connection.clone();
        match timeout(
            config.request_timeout,
            connection.send_packed_command(&redis::cmd("PING")),
        )
        .await
        {
            Ok(Ok(Value::ServerError(error))) => Err(of_server(&error, secret)),
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(of_client(&error, secret)),
            Err(_) => Err(timed_out("PING", config.request_timeout)),
        }
    }

    /// Stops the tasks, and with them the connection. Returns when they are gone, or at the deadline.
    pub(crate) async fn close(&self, deadline: Instant) {
        self.pulse.die();
        let mut tasks = std::mem::take(&mut *self.lock());
        tasks.abort_all();
        // At the deadline the rest is dropped, which aborts it all the same.
        let _ = timeout_at(deadline, tasks.shutdown()).await;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, JoinSet<()>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends when the server has been silent for too long: a quarter of the liveness time between two
/// pings, a quarter to answer, and as much again if something else came meanwhile. A large backlog
/// can hold an answer up, but then it is itself a sign of life.
async fn heartbeat(
    liveness: Duration,
    mut connection: MultiplexedConnection,
    pulse: Arc<Pulse>,
) -> Error {
    let quarter = liveness / 4;
    let ping = redis::cmd("PING");
    loop {
        sleep(quarter).await;
        let before = pulse.traffic.load(Ordering::Relaxed);
        match timeout(quarter, connection.send_packed_command(&ping)).await {
            Ok(Ok(_)) => {}
            Ok(Err(_)) => return lost(),
            Err(_) if pulse.traffic.load(Ordering::Relaxed) != before => {}
            Err(_) => {
                return Error::new(
                    ErrorKind::Unavailable,
                    format!("redis has not answered for {:?}", liveness / 2),
                );
            }
        }
    }
}
