//! What the service says, in the library's terms.

use std::time::Duration;

use scaleout_core::{Error, ErrorKind};

/// What the service calls its refusals.
mod condition {
    pub(super) const UNAUTHORIZED: &str = "amqp:unauthorized-access";
    pub(super) const NOT_FOUND: &str = "amqp:not-found";
    pub(super) const NOT_ALLOWED: &str = "amqp:not-allowed";
    pub(super) const NOT_IMPLEMENTED: &str = "amqp:not-implemented";
    pub(super) const TOO_LARGE: &str = "amqp:link:message-size-exceeded";
    pub(super) const FORCED: &str = "amqp:connection:forced";
}

/// What a condition means. Nothing was stored by what was refused with it.
///
/// What does not concern the connection is no reason to open another one: that would be more load for a
/// service that is busy. It is tried again, with backoff.
pub(crate) fn of_condition(condition: &str, description: &str) -> Error {
    let kind = match condition {
        condition::UNAUTHORIZED if is_expired(description) => ErrorKind::Broker,
        condition::UNAUTHORIZED => ErrorKind::Auth,
        condition::NOT_ALLOWED | condition::NOT_IMPLEMENTED => ErrorKind::Incompatible,
        condition::TOO_LARGE => ErrorKind::TooLarge,
        condition::FORCED => ErrorKind::Unavailable,
        _ => ErrorKind::Broker,
    };
    let separator = if description.is_empty() { "" } else { " " };
    Error::new(
        kind,
        format!("servicebus: {condition}{separator}{description}"),
    )
}

/// What a status of a reply means.
pub(crate) fn of_status(what: &str, status: i64, description: &str) -> Error {
    let kind = match status {
        401 | 403 if is_expired(description) => ErrorKind::Broker,
        401 | 403 => ErrorKind::Auth,
        _ => ErrorKind::Broker,
    };
    Error::new(kind, format!("servicebus: {what}: {status} {description}"))
}

/// Whether it says that a token was too old: its time was over before another one came, as after a pause of
/// this process.
pub(crate) fn is_expired(description: &str) -> bool {
    description.contains("ExpiredToken")
}

/// Whether it says that there is no such entity.
pub(crate) fn is_missing(condition: &str) -> bool {
    condition == condition::NOT_FOUND
}

pub(crate) fn lost() -> Error {
    Error::new(
        ErrorKind::Unavailable,
        "the connection to servicebus was lost",
    )
}

pub(crate) fn timed_out(what: &str, after: Duration) -> Error {
    Error::new(
        ErrorKind::Timeout,
        format!("servicebus: no answer to {what} within {after:?}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_right_that_is_missing_does_not_pass_with_time_and_an_old_token_does() {
        let refused = of_condition("amqp:unauthorized-access", "InvalidSignature: no");
        assert_eq!(refused.kind(), ErrorKind::Auth);
        let expired = of_condition("amqp:unauthorized-access", "ExpiredToken: too old");
        assert!(expired.is_transient());
        assert_eq!(of_status("put-token", 401, "no").kind(), ErrorKind::Auth);
    }

    #[test]
    fn a_busy_service_is_not_reconnected_to() {
        for condition in [
            "com.microsoft:server-busy",
            "com.microsoft:timeout",
            "amqp:link:detach-forced",
            "amqp:internal-error",
            "amqp:resource-limit-exceeded",
        ] {
            assert_eq!(of_condition(condition, "").kind(), ErrorKind::Broker);
        }
    }

    #[test]
    fn what_is_too_large_says_so() {
        let error = of_condition("amqp:link:message-size-exceeded", "256 KB");
        assert_eq!(error.kind(), ErrorKind::TooLarge);
    }
}
