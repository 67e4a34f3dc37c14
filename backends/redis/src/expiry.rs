//! When a log that nobody uses goes, and how that is put off without a call for each append.

use std::time::{Duration, SystemTime};

use crate::{connection::Run, wire::Mark};

/// Tells runs of the server apart, and slices of time, at whose borders a log's expiry is put off.
pub(crate) fn mark(run: Run, idle_expiry: Duration, now: SystemTime) -> Mark {
    let now = now
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let slice = now.as_millis() / (idle_expiry / 8).as_millis().max(1);
    let mut mark = [0; 12];
    mark[..8].copy_from_slice(run.as_bytes());
    // The low bytes are enough to tell a slice from the ones around it.
    mark[8..].copy_from_slice(&slice.to_be_bytes()[12..]);
    mark
}

/// Milliseconds until an unused log goes. It is put off once in an eighth of the expiry, by clocks
/// that differ by up to as much, and never comes early.
pub(crate) fn expiry(idle_expiry: Duration) -> u128 {
    (idle_expiry + idle_expiry / 4).as_millis()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_lasts_for_an_eighth_of_the_expiry_and_for_a_run_of_the_server() {
        let day = Duration::from_secs(24 * 3_600);
        let at = |hours: u64| SystemTime::UNIX_EPOCH + Duration::from_secs(hours * 3_600);
        let [one, other] = [*b"run one!", *b"another!"].map(Run::new);
        assert_eq!(mark(one, day, at(0)), mark(one, day, at(2)));
        assert_ne!(mark(one, day, at(2)), mark(one, day, at(3)));
        assert_ne!(mark(one, day, at(0)), mark(other, day, at(0)));
        assert_eq!(expiry(day), 30 * 3_600_000);
    }
}
