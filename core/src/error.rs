//! The one error type.

use std::{error::Error as StdError, fmt};

/// A result whose error is [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, in the terms a caller can act on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// An argument, option, URL or cursor is not valid. Nothing was sent. Remedy: the message says
    /// what is allowed.
    InvalidInput,
    /// The message or batch is larger than the backend or the options allow. Nothing was stored.
    TooLarge,
    /// The backend does not offer this, or its Cargo feature is not enabled.
    Unsupported,
    /// The broker refused the credentials, or they do not permit the operation.
    Auth,
    /// The broker is too old, lacks a feature, or was set up by an incompatible node.
    Incompatible,
    /// The broker cannot be reached, or the connection was lost.
    Unavailable,
    /// The operation did not end in its time.
    Timeout,
    /// A bounded queue is full and the options say not to wait.
    Busy,
    /// The backplane was closed.
    Closed,
    /// The broker answered with an error or with something that makes no sense.
    Broker,
}

impl ErrorKind {
    /// Whether the same call may succeed later without anybody changing anything.
    pub fn is_transient(self) -> bool {
        matches!(
            self,
            Self::Unavailable | Self::Timeout | Self::Busy | Self::Broker
        )
    }
}

/// What a failed publish left at the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Certainly not stored: nobody will ever see the message.
    NotStored,
    /// The answer was lost: the message may have been stored, once, or not.
    Unknown,
}

/// What went wrong, what it means for the message, and where it came from.
///
/// No error, in `Display` or `Debug`, shows a password or key.
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    outcome: Outcome,
    message: String,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// An error that left nothing at the broker.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            kind,
            outcome: Outcome::NotStored,
            message: message.into(),
            source: None,
        }))
    }

    /// The backplane, and with it the backend, is closed.
    pub fn closed() -> Self {
        Self::new(ErrorKind::Closed, "the backplane is closed")
    }

    /// Says that the message may have been stored all the same.
    #[must_use]
    pub fn with_unknown_outcome(mut self) -> Self {
        self.0.outcome = Outcome::Unknown;
        self
    }

    /// Keeps the error that caused this one. It must not show a secret.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// Puts `what` and a colon before the message.
    #[must_use]
    pub fn context(mut self, what: impl fmt::Display) -> Self {
        self.0.message = format!("{what}: {}", self.0.message);
        self
    }

    /// What went wrong.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// What it means for the message that was to be published.
    pub fn outcome(&self) -> Outcome {
        self.0.outcome
    }

    /// Whether the same call may succeed later. A publish of [`Outcome::Unknown`] that is repeated
    /// by the caller may be stored twice.
    pub fn is_transient(&self) -> bool {
        self.0.kind.is_transient()
    }

    /// A copy for another waiter. The source becomes part of the message.
    #[must_use]
    pub fn duplicate(&self) -> Self {
        Self(Box::new(Inner {
            kind: self.0.kind,
            outcome: self.0.outcome,
            message: self.to_string(),
            source: None,
        }))
    }
}

impl fmt::Display for Error {
    /// One line: the message, then the causes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)?;
        let mut cause = self.0.source.as_deref().map(|e| e as &dyn StdError);
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.0.kind)
            .field("outcome", &self.0.outcome)
            .field("message", &self.to_string())
            .finish()
    }
}

impl StdError for Error {}

/// Lets a [`Topic`](crate::Topic) stand where something that may fail to be one can.
impl From<std::convert::Infallible> for Error {
    fn from(never: std::convert::Infallible) -> Self {
        match never {}
    }
}
