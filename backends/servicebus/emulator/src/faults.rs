//! Faults on demand: what the service and the network do to clients, done when a test wants it.

use std::{
    sync::Mutex,
    time::{Duration, Instant},
};

use tokio::sync::{broadcast, watch};

use crate::broker::lock;

/// Something that happens to connections at once.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Strike {
    /// Links are detached with `amqp:link:detach-forced`, as the service does to idle ones.
    Detach {
        /// Whose links: a path such as `topic/subscriptions/a`; all if absent.
        entity: Option<String>,
        /// Whether the links are closed, or only detached.
        closed: bool,
    },
    /// Connections end without a word.
    Drop,
    /// Every token expires. Over HTTP, where each request brings its own, it is that of the next request.
    ExpireTokens,
}

/// The faults in force.
#[derive(Debug)]
pub struct Faults {
    strikes: broadcast::Sender<Strike>,
    stopped: watch::Sender<bool>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    delay: Duration,
    busy_until: Option<Instant>,
    credits: Option<Credits>,
    unanswered: u32,
    revoked: bool,
}

#[derive(Debug)]
struct Credits {
    per_second: i64,
    left: i64,
    since: Instant,
}

/// What the throttled client is told. The wording is the service's.
pub(crate) const BUSY: &str = "The request was terminated because the namespace is being throttled. \
     Error code : 50009. Please wait 10 seconds and try again.";

impl Default for Faults {
    fn default() -> Self {
        Self {
            // A connection that lags behind so many strikes was struck often enough.
            strikes: broadcast::channel(64).0,
            stopped: watch::channel(false).0,
            state: Mutex::default(),
        }
    }
}

impl Faults {
    /// Strikes every connection there is.
    pub fn strike(&self, strike: Strike) {
        // It fails if there is none.
        let _ = self.strikes.send(strike);
    }

    pub(crate) fn strikes(&self) -> broadcast::Receiver<Strike> {
        self.strikes.subscribe()
    }

    /// Stands still, or goes on: connections stay open, and nothing is read or answered.
    pub fn stop(&self, stopped: bool) {
        self.stopped.send_replace(stopped);
    }

    /// Resolves when the emulator does not stand still.
    pub(crate) async fn running(&self) {
        let mut stopped = self.stopped.subscribe();
        // The sender lives as long as `self`.
        let _ = stopped.wait_for(|stopped| !stopped).await;
    }

    /// Everything that comes is looked at that much later.
    pub fn set_delay(&self, delay: Duration) {
        lock(&self.state).delay = delay;
    }

    pub(crate) fn delay(&self) -> Duration {
        lock(&self.state).delay
    }

    /// For this time every send and every request is refused with `com.microsoft:server-busy`.
    pub fn busy_for(&self, span: Duration) {
        lock(&self.state).busy_until = Instant::now().checked_add(span);
    }

    /// Takes at most so many operations in a second, as the Standard tier does; `None` for any number. Each
    /// message sent, each received, and each rule looked at is one.
    pub fn set_credits(&self, per_second: Option<u32>) {
        lock(&self.state).credits = per_second.map(|credits| Credits {
            per_second: credits.into(),
            left: credits.into(),
            since: Instant::now(),
        });
    }

    /// Every key is a wrong one from now on, and who is connected is thrown out.
    pub fn revoke_keys(&self) {
        lock(&self.state).revoked = true;
        self.strike(Strike::Drop);
    }

    pub(crate) fn keys_are_revoked(&self) -> bool {
        lock(&self.state).revoked
    }

    /// Keeps the next so many messages without answering: the connection ends instead.
    pub fn leave_unanswered(&self, messages: u32) {
        lock(&self.state).unanswered = messages;
    }

    pub(crate) fn takes_unanswered(&self) -> bool {
        let mut state = lock(&self.state);
        let takes = state.unanswered > 0;
        state.unanswered = state.unanswered.saturating_sub(1);
        takes
    }

    /// Whether requests are refused at the moment.
    pub(crate) fn is_busy(&self) -> bool {
        let until = lock(&self.state).busy_until;
        until.is_some_and(|until| Instant::now() < until)
    }

    /// Pays for operations that begin. False if there is no credit left, or the server is busy.
    pub(crate) fn pay(&self, operations: usize) -> bool {
        !self.is_busy() && self.owe(operations, false)
    }

    /// Pays for operations that were done already, on credit of the seconds to come.
    pub(crate) fn charge(&self, operations: usize) {
        self.owe(operations, true);
    }

    fn owe(&self, operations: usize, forced: bool) -> bool {
        let mut state = lock(&self.state);
        let Some(credits) = &mut state.credits else {
            return true;
        };
        let seconds = i64::try_from(credits.since.elapsed().as_secs()).unwrap_or(i64::MAX);
        if seconds > 0 {
            let earned = credits.per_second.saturating_mul(seconds);
            credits.left = credits.left.saturating_add(earned).min(credits.per_second);
            credits.since = Instant::now();
        }
        if credits.left <= 0 && !forced {
            return false;
        }
        credits.left = credits
            .left
            .saturating_sub(i64::try_from(operations).unwrap_or(i64::MAX));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_beyond_the_credit_of_a_second_are_refused() {
        let faults = Faults::default();
        assert!(faults.pay(1_000_000));
        faults.set_credits(Some(3));
        assert!(faults.pay(2));
        assert!(faults.pay(1));
        assert!(!faults.pay(1));
        faults.set_credits(None);
        assert!(faults.pay(1));
    }

    #[test]
    fn a_busy_server_refuses_for_its_time() {
        let faults = Faults::default();
        faults.busy_for(Duration::from_secs(3_600));
        assert!(!faults.pay(1));
        faults.busy_for(Duration::ZERO);
        assert!(faults.pay(1));
    }
}
