//! What Redis and its client say, in the library's terms and without secrets.

use std::time::Duration;

use redis::{RedisError, ServerError, ServerErrorKind};
use scaleout_core::{Error, ErrorKind, Secret};

/// Takes the secret out of a text. Redis answers an unknown command with the arguments it had, and
/// those of the first command are the credentials.
fn scrub(secret: Option<&Secret>, text: &str) -> String {
    let text = text
        .split_once(", with args beginning with")
        .map_or(text, |(before, _)| before);
    secret.map_or_else(|| text.to_owned(), |secret| secret.scrub(text))
}

/// An error of the client, before a session is set up as well as later.
pub(crate) fn of_client(error: &RedisError, secret: Option<&Secret>) -> Error {
    use redis::ErrorKind::{AuthenticationFailed, Io, RESP3NotSupported, Server};
    let kind = match error.kind() {
        AuthenticationFailed => ErrorKind::Auth,
        Io => ErrorKind::Unavailable,
        RESP3NotSupported => {
            return Error::new(
                ErrorKind::Incompatible,
                "this Redis is too old: 6.2 or later is required",
            );
        }
        Server(kind) => of_code(Some(kind), error.code().unwrap_or_default()),
        _ => of_code(None, error.code().unwrap_or_default()),
    };
    let text = match (error.code(), error.detail()) {
        (Some(code), Some(detail)) => format!("{code} {detail}"),
        _ => error.to_string(),
    };
    Error::new(kind, format!("redis: {}", scrub(secret, &text)))
}

/// An error that the server answered with: it did not do what was asked.
pub(crate) fn of_server(error: &ServerError, secret: Option<&Secret>) -> Error {
    let details = error.details().unwrap_or_default();
    let kind = if details.contains("The user executing the script") {
        // What NOPERM is called within a script.
        ErrorKind::Auth
    } else {
        of_code(error.kind(), error.code())
    };
    let text = format!("{} {details}", error.code());
    let text = text.trim().trim_start_matches("STORED ");
    Error::new(kind, format!("redis: {}", scrub(secret, text)))
}

fn of_code(kind: Option<ServerErrorKind>, code: &str) -> ErrorKind {
    use ServerErrorKind::{BusyLoading, ClusterDown, MasterDown, NoPerm, ReadOnly, TryAgain};
    match (kind, code) {
        (Some(NoPerm), _) | (_, "WRONGPASS" | "NOAUTH") => ErrorKind::Auth,
        (Some(BusyLoading | ClusterDown | MasterDown | ReadOnly | TryAgain), _) => {
            ErrorKind::Unavailable
        }
        // Somebody else's key stands where a log should.
        (_, "WRONGTYPE") => ErrorKind::Incompatible,
        _ => ErrorKind::Broker,
    }
}

/// Whether the server answered, and the answer was no.
pub(crate) fn is_refusal(error: &RedisError) -> bool {
    error.code().is_some()
}

/// An answer of a shape that the command cannot have.
pub(crate) fn nonsense(what: &str) -> Error {
    Error::new(
        ErrorKind::Broker,
        format!("redis: the answer to {what} makes no sense"),
    )
}

pub(crate) fn lost() -> Error {
    Error::new(ErrorKind::Unavailable, "the connection to redis was lost")
}

pub(crate) fn timed_out(what: &str, after: Duration) -> Error {
    Error::new(
        ErrorKind::Timeout,
        format!("redis: no answer to {what} within {after:?}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_old_server_repeats_is_cut_off() {
        let text = "ERR unknown command `HELLO`, with args beginning with: `3`, `AUTH`, `u`, `pw`";
        assert_eq!(
            scrub(Some(&Secret::new("pw")), text),
            "ERR unknown command `HELLO`"
        );
    }

    #[test]
    fn a_secret_does_not_show() {
        let text = scrub(Some(&Secret::new("s3cret")), "bad s3cret here");
        assert_eq!(text, "bad *** here");
    }

    #[test]
    fn permission_is_a_matter_of_credentials_and_a_loading_server_of_time() {
        assert_eq!(
            of_code(Some(ServerErrorKind::NoPerm), "NOPERM"),
            ErrorKind::Auth
        );
        assert_eq!(of_code(None, "WRONGPASS"), ErrorKind::Auth);
        assert_eq!(
            of_code(Some(ServerErrorKind::BusyLoading), "LOADING"),
            ErrorKind::Unavailable
        );
        assert_eq!(of_code(None, "OOM"), ErrorKind::Broker);
    }
}
