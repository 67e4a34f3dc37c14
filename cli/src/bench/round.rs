//! One round, and rounds side by side.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// What one side did in one round.
#[derive(Clone, Copy, Debug)]
pub(super) struct Round {
    /// Messages that every subscriber got.
    pub(super) delivered: u64,
    /// Messages that were reported as lost: named by a gap, or missing at the bare client.
    pub(super) lost: u64,
    /// From the first publish to the last delivery.
    pub(super) took: Duration,
    /// Processor time that this process spent on it, publisher and subscriber together.
    pub(super) cpu: Duration,
}

impl Round {
    pub(super) fn messages_per_second(&self) -> f64 {
        self.delivered as f64 / self.took.as_secs_f64()
    }

    pub(super) fn cpu_us_per_message(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / self.delivered.max(1) as f64
    }
}

/// Measures a round from here to [`Watch::stop`].
pub(super) struct Watch {
    started: Instant,
    cpu: Duration,
}

impl Watch {
    pub(super) fn start() -> Self {
        Self {
            started: Instant::now(),
            cpu: cpu_time(),
        }
    }

    pub(super) fn stop(self, delivered: u64, lost: u64) -> Round {
        Round {
            delivered,
            lost,
            took: self.started.elapsed(),
            cpu: cpu_time().saturating_sub(self.cpu),
        }
    }
}

/// Processor time of this process so far, all threads, user and system.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    // The clock starts at 0 with the process and never runs backwards.
    Duration::try_from(time).unwrap_or_default()
}

/// Rounds of both sides.
#[derive(Default)]
pub(super) struct Compared {
    pub(super) bare: Vec<Round>,
    pub(super) ours: Vec<Round>,
}

/// The median of what `measure` says of the rounds.
pub(super) fn median(rounds: &[Round], measure: impl Fn(&Round) -> f64) -> f64 {
    let mut values: Vec<f64> = rounds.iter().map(measure).collect();
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => values[n / 2],
        n => f64::midpoint(values[n / 2 - 1], values[n / 2]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_one_or_between_the_middle_two() {
        let round = |delivered| Round {
            delivered,
            lost: 0,
            took: Duration::from_secs(2),
            cpu: Duration::ZERO,
        };
        let of = |counts: &[u64]| {
            let rounds: Vec<Round> = counts.iter().map(|&count| round(count)).collect();
            median(&rounds, Round::messages_per_second)
        };
        assert_eq!(of(&[10, 2, 4]), 2.0);
        assert_eq!(of(&[2, 4, 100, 8]), 3.0);
    }
}
