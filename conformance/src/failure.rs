//! [`Failure`]: why a case failed, and where.

use std::{fmt, panic::Location};

use scaleout_core::Error;

/// Why a case failed, and at which line of it.
pub struct Failure {
    message: String,
    at: &'static Location<'static>,
}

impl Failure {
    /// A failure at the caller's line.
    #[track_caller]
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            at: Location::caller(),
        }
    }

    pub(crate) fn at(at: &'static Location<'static>, message: String) -> Self {
        Self { message, at }
    }

    /// Puts `what` and a colon before the message.
    #[must_use]
    pub fn context(mut self, what: impl fmt::Display) -> Self {
        self.message = format!("{what}: {}", self.message);
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} [{}:{}]",
            self.message,
            self.at.file(),
            self.at.line()
        )
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Failure {}

impl From<Error> for Failure {
    #[track_caller]
    fn from(error: Error) -> Self {
        Self::new(format!(
            "{:?} error ({:?}): {error}",
            error.kind(),
            error.outcome()
        ))
    }
}

impl From<tokio::task::JoinError> for Failure {
    #[track_caller]
    fn from(error: tokio::task::JoinError) -> Self {
        Self::new(format!("a task of the case ended badly: {error}"))
    }
}

/// Says what was being done when it failed.
pub trait ResultExt<T> {
    /// Makes it a [`Failure`] with `what` before it, at this line unless it has one already.
    fn doing(self, what: impl fmt::Display) -> Result<T, Failure>;
}

impl<T> ResultExt<T> for Result<T, Error> {
    #[track_caller]
    fn doing(self, what: impl fmt::Display) -> Result<T, Failure> {
        match self {
            Ok(value) => Ok(value),
            Err(error) => Err(Failure::from(error).context(what)),
        }
    }
}

impl<T> ResultExt<T> for Result<T, Failure> {
    fn doing(self, what: impl fmt::Display) -> Result<T, Failure> {
        self.map_err(|failure| failure.context(what))
    }
}

/// Fails the case unless the condition holds.
macro_rules! ensure {
    ($condition:expr, $($message:tt)+) => {
        if !$condition {
            return Err($crate::Failure::new(format!($($message)+)));
        }
    };
}

/// Fails the case unless both are equal, and shows them.
macro_rules! ensure_eq {
    ($found:expr, $wanted:expr, $($message:tt)+) => {
        match (&$found, &$wanted) {
            (found, wanted) => {
                if found != wanted {
                    return Err($crate::Failure::new(format!(
                        "{}: found {found:?}, wanted {wanted:?}",
                        format_args!($($message)+)
                    )));
                }
            }
        }
    };
}

pub(crate) use {ensure, ensure_eq};
