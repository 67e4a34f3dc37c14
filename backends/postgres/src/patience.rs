//! [`Patience`]: appends that must wait for somebody's transaction.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::{
    sync::Semaphore,
    task::JoinSet,
    time::{Instant, timeout_at},
};

use crate::{
    append::{Append, answer, call, prepare, refuse},
    config::Config,
    error::{of, of_connecting},
    link::{Deaf, Link, Pulse},
    trim::Trims,
};

/// Sends frames of logs that are locked, each on a connection of its own, and waits as long as
/// whoever asked does.
pub(crate) struct Patience {
    config: Arc<Config>,
    pulse: Arc<Pulse>,
    trims: Trims,
    /// So many wait at a time.
    places: Arc<Semaphore>,
    tasks: Mutex<JoinSet<()>>,
}

impl Patience {
    pub(crate) fn new(config: Arc<Config>, pulse: Arc<Pulse>, trims: Trims) -> Self {
        Self {
            places: Arc::new(Semaphore::new(config.connections)),
            config,
            pulse,
            trims,
            tasks: Mutex::default(),
        }
    }

    /// Sends a frame, and answers who waits for it.
    pub(crate) fn take(&self, mut append: Append) {
        let (config, pulse) = (self.config.clone(), self.pulse.clone());
        let (trims, places) = (self.trims.clone(), self.places.clone());
        let mut tasks = self.lock();
        while tasks.try_join_next().is_some() {}
        tasks.spawn(async move {
            // It never closes.
            let _place = places.acquire().await;
            let sending = async {
                let link = Link::open(&config, pulse, Deaf).await?;
                let statement = prepare(&link.client).await?;
                let wait = config.request_timeout.as_millis();
                let patient = format!("SET lock_timeout = '{wait}ms'");
                link.client
                    .batch_execute(&patient)
                    .await
                    .map_err(|e| of_connecting(&e))?;
                Ok((link, statement))
            };
            let opened = tokio::select! {
                opened = sending => opened,
                // Nobody waits any more, and it was not sent.
                () = append.reply.closed() => return,
            };
            let (link, statement) = match opened {
                Ok(opened) => opened,
                Err(error) => return refuse(vec![append], &error),
            };
            let batch = vec![append];
            match call(&link.client, &statement, &batch).await {
                Ok(rows) => answer(batch, &rows, &trims),
                Err(error) => refuse(batch, &of(&error)),
            }
        });
    }

    /// Gives up what still waits. Returns when that is done, or at the deadline.
    pub(crate) async fn close(&self, deadline: Instant) {
        let mut tasks = std::mem::take(&mut *self.lock());
        let _ = timeout_at(deadline, tasks.shutdown()).await;
    }

    /// Nothing that runs under the lock can panic, so a poisoned one still holds a whole state.
    fn lock(&self) -> MutexGuard<'_, JoinSet<()>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
