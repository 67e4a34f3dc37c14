//! [`Link`]: the one reconnect policy of a node, and its health.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};
use tracing::{info, warn};

use crate::{
    AnyBackend, Backend, Error, ErrorKind, Health, Options, Result, State, metrics::Metrics, random,
};

/// Waits between tries: doubling from a shortest to a longest one, each jittered to between half and
/// all of it, so that the nodes of a cluster do not come back in one instant.
#[derive(Debug)]
pub(crate) struct Backoff {
    next: Duration,
    min: Duration,
    max: Duration,
}

impl Backoff {
    pub(crate) fn new(options: &Options) -> Self {
        Self {
            next: options.backoff_min,
            min: options.backoff_min,
            max: options.backoff_max,
        }
    }

    pub(crate) fn next(&mut self) -> Duration {
        let wait = self.next;
        self.next = (wait * 2).min(self.max);
        wait.mul_f64(0.5 + random::unit() / 2.0)
    }

    pub(crate) fn reset(&mut self) {
        self.next = self.min;
    }
}

/// The state of a node's connection. Feeds and publishers report failures to it and wait on it;
/// [`Link::keep`] alone probes the broker.
#[derive(Debug)]
pub(crate) struct Link {
    health: watch::Sender<Health>,
}

/// A time in which the connection was up. Failures of an earlier one do not interrupt a later one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Generation(u64);

impl Link {
    pub(crate) fn new(state: State) -> Self {
        Self {
            health: watch::Sender::new(Health::new(state)),
        }
    }

    pub(crate) fn health(&self) -> Health {
        self.health.borrow().clone()
    }

    pub(crate) fn watch(&self) -> watch::Receiver<Health> {
        self.health.subscribe()
    }

    /// Whether the connection is up, and for the how manieth time.
    pub(crate) fn up(&self) -> Option<Generation> {
        let health = self.health.borrow();
        (health.state == State::Connected).then_some(Generation(health.reconnects))
    }

    /// Waits until the connection is up.
    ///
    /// # Errors
    ///
    /// `Closed` once the node was closed.
    pub(crate) async fn connected(&self) -> Result<Generation> {
        let mut health = self.health.subscribe();
        let settled = |h: &Health| matches!(h.state, State::Connected | State::Closed);
        // The sender lives in self, so waiting cannot fail; if it did, the node is gone.
        match health.wait_for(settled).await {
            Ok(health) if health.state == State::Connected => Ok(Generation(health.reconnects)),
            _ => Err(Error::closed()),
        }
    }

    /// The error that keeps the connection down, if it is.
    pub(crate) fn why_down(&self) -> Option<Error> {
        let health = self.health.borrow();
        if health.state == State::Connected {
            return None;
        }
        let reason = health.last_error.as_deref().unwrap_or("no answer yet");
        // Bad credentials do not pass with time, so the caller is told at once what it is.
        let kind = match health.last_error_kind {
            Some(kind) if !kind.is_transient() => kind,
            _ => ErrorKind::Unavailable,
        };
        Some(Error::new(
            kind,
            format!("not connected to the broker: {reason}"),
        ))
    }

    /// Whether the connection is down for a reason that does not pass: then waiting is of no use.
    ///
    /// # Errors
    ///
    /// That reason.
    pub(crate) fn check_not_refused(&self) -> Result<()> {
        match self.why_down() {
            Some(error) if !error.is_transient() => Err(error),
            _ => Ok(()),
        }
    }

    /// Reports a failure of the connection. Returns at once.
    pub(crate) fn interrupted(&self, generation: Generation, error: &Error) {
        self.health.send_if_modified(|health| {
            let current =
                health.state == State::Connected && generation == Generation(health.reconnects);
            if current {
                warn!(%error, "connection to the broker interrupted");
                health.state = State::Interrupted;
                health.since = std::time::SystemTime::now();
                health.last_error = Some(error.to_string());
                health.last_error_kind = Some(error.kind());
            }
            current
        });
    }

    /// Ends the link: everybody who waits is told.
    pub(crate) fn close(&self) {
        self.set(State::Closed);
    }

    /// Reconnects whenever the connection is down, for ever.
    pub(crate) async fn keep(
        self: Arc<Self>,
        backend: AnyBackend,
        options: Arc<Options>,
        metrics: Arc<Metrics>,
    ) {
        let mut health = self.health.subscribe();
        let mut backoff = Backoff::new(&options);
        let mut regained = Instant::now();
        // A node that has yet to connect tries at once.
        let mut wait = self.health().state != State::Connecting;
        loop {
            if self.hold(&mut health, &backend, &options).await.is_none() {
                return;
            }
            // A connection that holds for a moment only is no reason to try faster.
            if regained.elapsed() > options.backoff_max {
                backoff.reset();
            }
            loop {
                if std::mem::replace(&mut wait, true) {
                    sleep(backoff.next()).await;
                }
                match probe(&backend, options.request_timeout).await {
                    Ok(()) => break,
                    Err(error) => {
                        warn!(%error, "cannot reach the broker; trying again");
                        self.health.send_modify(|health| {
                            health.last_error = Some(error.to_string());
                            health.last_error_kind = Some(error.kind());
                        });
                    }
                }
            }
            regained = Instant::now();
            metrics.reconnects.increment(1);
            info!("connected to the broker");
            self.set(State::Connected);
        }
    }

    /// Probes the broker while the connection is up, so that its loss is noticed without traffic.
    /// Returns once it is down; nothing once the link is closed.
    async fn hold(
        &self,
        health: &mut watch::Receiver<Health>,
        backend: &AnyBackend,
        options: &Options,
    ) -> Option<()> {
        // A probe that begins after half of the liveness time has the other half for its answer.
        let half = options.liveness / 2;
        loop {
            let down = health.wait_for(|h| h.state != State::Connected);
            let state = match timeout(half, down).await {
                Ok(health) => health.ok()?.state,
                Err(_) => State::Connected,
            };
            match state {
                State::Connected => {}
                State::Closed => return None,
                _ => return Some(()),
            }
            if let Some(generation) = self.up()
                && let Err(error) = probe(backend, half.min(options.request_timeout)).await
            {
                self.interrupted(generation, &error);
            }
        }
    }

    fn set(&self, state: State) {
        self.health.send_if_modified(|health| {
            if health.state == State::Closed {
                return false;
            }
            health.reconnects += u64::from(state == State::Connected);
            health.state = state;
            health.since = std::time::SystemTime::now();
            health.last_error = None;
            health.last_error_kind = None;
            true
        });
    }
}

/// One probe, bounded in time.
pub(crate) async fn probe(backend: &AnyBackend, limit: Duration) -> Result<()> {
    within(limit, backend.probe()).await
}

/// Bounds a request to the broker in time.
pub(crate) async fn within<T>(
    limit: Duration,
    request: impl Future<Output = Result<T>>,
) -> Result<T> {
    timeout(limit, request).await.unwrap_or_else(|_| {
        Err(Error::new(
            ErrorKind::Timeout,
            format!("the broker did not answer within {limit:?}"),
        )
        .with_unknown_outcome())
    })
}
