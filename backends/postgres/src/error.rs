//! What PostgreSQL and its client say, in the library's terms and without secrets.

use std::{error::Error as _, time::Duration};

use scaleout_core::{Error, ErrorKind};
use tokio_postgres::error::{DbError, Severity, SqlState};

/// An error of the client or the server. If it came to a request, the request was not carried out,
/// or its outcome is unknown: the error says which.
pub(crate) fn of(error: &tokio_postgres::Error) -> Error {
    if let Some(answer) = error.as_db_error() {
        return of_server(answer);
    }
    // What the client says of itself names neither user nor password; what is beneath is of the
    // system or of TLS.
    let mut text = error.to_string();
    let mut kind = ErrorKind::Unavailable;
    let mut cause = error.source();
    while let Some(error) = cause {
        if !text.contains(&error.to_string()) {
            text = format!("{text}: {error}");
        }
        if let Some(trust) = certificate_error(error) {
            return Error::new(
                ErrorKind::Auth,
                format!("the certificate of postgres is not trusted: {trust}"),
            );
        }
        cause = error.source();
    }
    if text.contains("password missing") {
        kind = ErrorKind::Auth;
    } else if text.contains("server does not support TLS") {
        kind = ErrorKind::Incompatible;
    }
    Error::new(kind, format!("postgres: {}", one_line(&text))).with_unknown_outcome()
}

/// Of an error before a session is set up: nothing was asked for yet.
pub(crate) fn of_connecting(error: &tokio_postgres::Error) -> Error {
    let error = of(error);
    Error::new(error.kind(), error.to_string())
}

/// Whether the schema, or something in it, is not there.
pub(crate) fn lacks_schema(error: &tokio_postgres::Error) -> bool {
    error.code().is_some_and(is_missing)
}

/// Whether others held a log's row for too long, so that the same call may well succeed alone.
pub(crate) fn is_contended(error: &tokio_postgres::Error) -> bool {
    let contended = [
        &SqlState::LOCK_NOT_AVAILABLE,
        &SqlState::T_R_DEADLOCK_DETECTED,
        &SqlState::T_R_SERIALIZATION_FAILURE,
    ];
    error.code().is_some_and(|code| contended.contains(&code))
}

fn of_server(answer: &DbError) -> Error {
    let code = answer.code();
    let text = format!("postgres: {} ({})", one_line(answer.message()), code.code());
    let error = Error::new(of_code(code), text);
    match answer.parsed_severity() {
        // The session is ended. That may have happened after the commit, and before its answer.
        Some(Severity::Fatal | Severity::Panic) => error.with_unknown_outcome(),
        _ => error,
    }
}

fn of_code(code: &SqlState) -> ErrorKind {
    if is_missing(code) {
        // Somebody removed the schema. Reconnecting installs it again.
        return ErrorKind::Unavailable;
    }
    if *code == SqlState::QUERY_CANCELED || *code == SqlState::LOCK_NOT_AVAILABLE {
        return ErrorKind::Timeout;
    }
    match (&code.code()[..2], code.code()) {
        ("28", _) | (_, "42501") => ErrorKind::Auth,
        // No such database; or the file of a setting the URL asks for, say.
        (_, "3D000" | "22023") => ErrorKind::InvalidInput,
        // 25006: a standby, or one that has just become one. 53300: too many connections.
        ("08" | "57", _) | (_, "25006" | "53300") => ErrorKind::Unavailable,
        ("0A", _) => ErrorKind::Incompatible,
        _ => ErrorKind::Broker,
    }
}

fn is_missing(code: &SqlState) -> bool {
    let missing = [
        SqlState::INVALID_SCHEMA_NAME,
        SqlState::UNDEFINED_FUNCTION,
        SqlState::UNDEFINED_TABLE,
    ];
    missing.contains(code)
}

fn certificate_error<'e>(
    error: &'e (dyn std::error::Error + 'static),
) -> Option<&'e rustls::CertificateError> {
    let inner = error
        .downcast_ref::<std::io::Error>()
        .and_then(std::io::Error::get_ref);
    let of_tls = match inner {
        Some(inner) => inner.downcast_ref::<rustls::Error>(),
        None => error.downcast_ref::<rustls::Error>(),
    };
    match of_tls {
        Some(rustls::Error::InvalidCertificate(why)) => Some(why),
        _ => None,
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// An answer of a shape that the request cannot have.
pub(crate) fn nonsense(what: &str) -> Error {
    Error::new(
        ErrorKind::Broker,
        format!("postgres: the answer to {what} makes no sense"),
    )
}

pub(crate) fn lost() -> Error {
    Error::new(
        ErrorKind::Unavailable,
        "the connection to postgres was lost",
    )
}

pub(crate) fn timed_out(what: &str, after: Duration) -> Error {
    Error::new(
        ErrorKind::Timeout,
        format!("postgres: no answer to {what} within {after:?}"),
    )
}
