//! What RabbitMQ and its client say, in the library's terms and without secrets.

use std::time::Duration;

use lapin::ErrorKind as Kind;
use scaleout_core::{Error, ErrorKind};

/// What the server calls its refusals, in AMQP's numbers.
mod code {
    /// An operator closed the connection, or the server ends.
    pub(super) const CONNECTION_FORCED: u16 = 320;
    pub(super) const ACCESS_REFUSED: u16 = 403;
    pub(super) const NOT_FOUND: u16 = 404;
    pub(super) const PRECONDITION_FAILED: u16 = 406;
    pub(super) const RESOURCE_ERROR: u16 = 506;
    /// The virtual host does not exist or is not for this user.
    pub(super) const NOT_ALLOWED: u16 = 530;
    pub(super) const NOT_IMPLEMENTED: u16 = 540;
    pub(super) const INTERNAL_ERROR: u16 = 541;
}

/// An error of the client, which repeats what the server said.
pub(crate) fn of_client(error: &lapin::Error) -> Error {
    let kind = match error.kind() {
        Kind::ProtocolError(_) if is_starting(error) => ErrorKind::Unavailable,
        Kind::ProtocolError(refusal) => match refusal.get_id() {
            code::ACCESS_REFUSED | code::NOT_ALLOWED => ErrorKind::Auth,
            // All that is declared are streams, and it says in many ways that it has none.
            code::PRECONDITION_FAILED | code::NOT_IMPLEMENTED => return no_streams(error),
            code::INTERNAL_ERROR if error.to_string().contains("feature flag") => {
                return no_streams(error);
            }
            // It closed the connection; with the latter two when it fell over nodes that asked for the
            // same thing at once.
            code::CONNECTION_FORCED | code::RESOURCE_ERROR | code::INTERNAL_ERROR => {
                ErrorKind::Unavailable
            }
            _ => ErrorKind::Broker,
        },
        Kind::IOError(error) if error.to_string().contains("certificate") => ErrorKind::Auth,
        Kind::InvalidProtocolVersion(_) => ErrorKind::Incompatible,
        Kind::ChannelsLimitReached => ErrorKind::Busy,
        _ => ErrorKind::Unavailable,
    };
    Error::new(kind, format!("rabbitmq: {error}"))
}

fn no_streams(error: &lapin::Error) -> Error {
    Error::new(
        ErrorKind::Incompatible,
        format!(
            "this RabbitMQ does not do streams as needed: 3.9 or later is required, with the feature \
             flag stream_queue enabled ({error})"
        ),
    )
}

/// Whether the server says that there is no such stream. It says *not found* also of one that is
/// there and has yet to start. It must be said of this stream, as lapin has been seen to repeat what
/// was said of another (`open_channel`).
pub(crate) fn is_missing(error: &lapin::Error, stream: &str) -> bool {
    let text = format!("no queue '{stream}'");
    refusal(error) == Some(code::NOT_FOUND) && error.to_string().contains(&text)
}

/// Whether the stream is there and has yet to start, or has no copy on this node of the broker.
fn is_starting(error: &lapin::Error) -> bool {
    match refusal(error) {
        Some(code::NOT_FOUND) => !error.to_string().contains("no queue"),
        Some(code::PRECONDITION_FAILED) => error.to_string().contains("replica"),
        _ => false,
    }
}

fn refusal(error: &lapin::Error) -> Option<u16> {
    match error.kind() {
        Kind::ProtocolError(refusal) => Some(refusal.get_id()),
        _ => None,
    }
}

/// Whether the server refused this, and its connection goes on.
pub(crate) fn is_refusal(error: &lapin::Error) -> bool {
    error.is_amqp_soft_error()
}

pub(crate) fn lost() -> Error {
    Error::new(
        ErrorKind::Unavailable,
        "the connection to rabbitmq was lost",
    )
}

pub(crate) fn gone(stream: &str) -> Error {
    Error::new(
        ErrorKind::Broker,
        format!("rabbitmq: stream {stream} was deleted"),
    )
}

pub(crate) fn timed_out(what: &str, after: Duration) -> Error {
    Error::new(
        ErrorKind::Timeout,
        format!("rabbitmq: no answer to {what} within {after:?}"),
    )
}

#[cfg(test)]
mod tests {
    use lapin::protocol::AMQPError;

    use super::*;

    fn said(code: u16, text: &str) -> lapin::Error {
        let error = AMQPError::from_id(code, text.into()).unwrap();
        Kind::ProtocolError(error).into()
    }

    /// What RabbitMQ 3.10 says.
    #[test]
    fn a_stream_that_has_yet_to_start_is_not_missing() {
        let missing = said(404, "NOT_FOUND - no queue 's' in vhost '/'");
        assert!(is_missing(&missing, "s"));
        assert!(!is_missing(&missing, "another"));
        for starting in [
            said(
                404,
                "NOT_FOUND - home node 'rabbit@a' of durable queue 's' in vhost '/' is down",
            ),
            said(
                406,
                "PRECONDITION_FAILED - queue 's' in vhost '/' does not have a replica on the local node",
            ),
        ] {
            assert!(!is_missing(&starting, "s"));
            assert_eq!(of_client(&starting).kind(), ErrorKind::Unavailable);
        }
    }

    #[test]
    fn a_broker_without_streams_is_incompatible() {
        for none in [
            said(
                406,
                "PRECONDITION_FAILED - invalid arg 'x-queue-type' for queue 's'",
            ),
            said(540, "NOT_IMPLEMENTED - stream"),
            said(
                541,
                "INTERNAL_ERROR - Cannot declare a queue: the corresponding feature flag is disabled",
            ),
        ] {
            let error = of_client(&none);
            assert_eq!(error.kind(), ErrorKind::Incompatible);
            assert!(error.to_string().contains("3.9 or later"), "{error}");
        }
    }

    #[test]
    fn refused_credentials_do_not_pass_with_time() {
        for refused in [
            said(403, "ACCESS_REFUSED - Login was refused"),
            said(530, "NOT_ALLOWED - vhost x not found"),
        ] {
            assert_eq!(of_client(&refused).kind(), ErrorKind::Auth);
        }
    }
}
