//! [`Limits`]: guards against hanging.

use std::{future::Future, panic::Location, time::Duration};

use tokio::time::timeout;

use crate::Failure;

/// How long something that should happen at once may take before it counts as hanging, on a machine
/// that does nothing else.
const GUARD: Duration = Duration::from_secs(15);

/// Guards against hanging, all stretched by one factor. Nothing is ever proven by one of them
/// expiring, except that something hangs.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    factor: f64,
}

impl Limits {
    /// The factor that `SCALEOUT_TIMEOUT_FACTOR` names, or 1.
    pub fn from_env() -> Self {
        let factor = std::env::var("SCALEOUT_TIMEOUT_FACTOR")
            .ok()
            .and_then(|text| text.parse::<f64>().ok())
            .filter(|factor| factor.is_finite() && *factor > 0.0)
            .unwrap_or(1.0);
        Self { factor }
    }

    /// The same, a factor shorter or longer.
    pub(crate) fn shortened(self, factor: f64) -> Self {
        Self {
            factor: self.factor * factor,
        }
    }

    /// A duration, stretched.
    pub fn scaled(&self, duration: Duration) -> Duration {
        duration.mul_f64(self.factor)
    }

    /// Waits for something that should happen at once.
    #[track_caller]
    pub fn within<'a, F>(
        &self,
        what: &'a str,
        future: F,
    ) -> impl Future<Output = Result<F::Output, Failure>> + use<'a, F>
    where
        F: Future,
    {
        self.within_time(GUARD, what, future)
    }

    /// Waits for something that may take `limit` on a machine that does nothing else.
    #[track_caller]
    pub fn within_time<'a, F>(
        &self,
        limit: Duration,
        what: &'a str,
        future: F,
    ) -> impl Future<Output = Result<F::Output, Failure>> + use<'a, F>
    where
        F: Future,
    {
        let limit = self.scaled(limit);
        let at = Location::caller();
        async move {
            timeout(limit, future)
                .await
                .map_err(|_| Failure::at(at, format!("{what}: nothing for {limit:?}")))
        }
    }
}
