//! [`TestError`] and [`Closed`]: how what a test client does can end.

use std::{fmt, time::Duration};

use crate::hub::{auth::AuthError, protocol::EncodeError};

/// Why a test client did not get what it waited for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TestError {
    /// The hub's authentication turned the client away.
    TurnedAway(AuthError),
    /// The hub refused the handshake: its answer.
    Handshake(String),
    /// The hub ended the invocation with this text, which is all that a client gets to know.
    Hub(String),
    /// What came is not of the type that was asked for.
    Unreadable(String),
    /// What was to be sent cannot be serialized.
    Unwritable(EncodeError),
    /// The connection is over.
    Closed(Closed),
    /// It did not come in time.
    TimedOut {
        /// What the client waited for.
        wanted: String,
        /// For how long.
        patience: Duration,
        /// The methods of the invocations that came and that nobody asked for.
        received: Vec<String>,
    },
}

/// How the hub ended a connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Closed {
    /// What the client was told is wrong.
    pub error: Option<String>,
    /// Whether the client was told that it may come back.
    pub allow_reconnect: bool,
}

impl fmt::Display for TestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TurnedAway(error) => error.fmt(f),
            Self::Handshake(answer) => write!(f, "the hub refused the handshake: {answer}"),
            Self::Hub(error) => f.write_str(error),
            Self::Unreadable(error) => write!(f, "not of the type that was asked for: {error}"),
            Self::Unwritable(error) => write!(f, "cannot be serialized: {error}"),
            Self::Closed(closed) => closed.fmt(f),
            Self::TimedOut {
                wanted,
                patience,
                received,
            } => write!(
                f,
                "{wanted} did not come within {patience:?}; what came and was not asked for: {received:?}"
            ),
        }
    }
}

impl std::error::Error for TestError {}

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the connection is over")?;
        match &self.error {
            Some(error) => write!(f, ": {error}"),
            None => Ok(()),
        }
    }
}
