//! Moments as they stand on the wire: milliseconds since 1970.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A moment, in milliseconds since 1970-01-01 00:00 UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(i64);

impl Moment {
    /// The moment that many milliseconds after 1970 began.
    #[must_use]
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Milliseconds since 1970 began.
    #[must_use]
    pub const fn millis(self) -> i64 {
        self.0
    }

    /// This moment and that much later; the end of time if there is no such moment.
    #[must_use]
    pub fn after(self, span: Duration) -> Self {
        Self(self.0.saturating_add(millis(span)))
    }

    /// How much later this moment is than the other one; zero if it is not.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        let span = self.0.saturating_sub(earlier.0);
        Duration::from_millis(u64::try_from(span).unwrap_or(0))
    }
}

/// Tells the time. It starts with the system's time and never jumps afterwards, so that a lock lasts as
/// long as it says even if somebody sets the clock.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    started: Instant,
    at: Moment,
}

impl Clock {
    /// A clock that starts with the system's time.
    #[must_use]
    pub fn system() -> Self {
        let at = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, millis);
        Self {
            started: Instant::now(),
            at: Moment(at),
        }
    }

    /// What time it is.
    #[must_use]
    pub fn now(&self) -> Moment {
        self.at.after(self.started.elapsed())
    }
}

fn millis(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}
