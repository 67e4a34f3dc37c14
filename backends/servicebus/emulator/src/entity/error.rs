//! Why the namespace refused something.

use std::fmt;

/// Why something was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// There is no such entity, rule or message.
    NotFound(String),
    /// There is one of that name already.
    Exists(String),
    /// The lock is not held: it ended, was settled, or never was.
    LockLost,
    /// The message is larger than the tier takes; the limit in bytes.
    TooLarge(usize),
    /// Something that the service does not allow, or the emulator does not have.
    Invalid(String),
    /// A limit of the service is reached.
    Quota(String),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound(what) => write!(f, "{what} could not be found"),
            Self::Exists(what) => write!(f, "{what} exists already"),
            Self::LockLost => f.write_str(
                "the lock supplied is invalid: either the lock expired, or the message has already been settled",
            ),
            Self::TooLarge(limit) => write!(f, "the message is larger than {limit} bytes"),
            Self::Invalid(why) | Self::Quota(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for Refusal {}
