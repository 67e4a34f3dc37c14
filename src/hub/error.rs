//! [`HubError`]: how a hub method fails, and what its client is told.

use std::{any::Any, error::Error as StdError, fmt};

use super::clients::ClientError;

/// Why a hub method failed.
///
/// [`HubError::new`] makes an error whose text is meant for the client. Every other error, converted
/// by `?`, is the server's own affair: it is logged, and the client gets the protocol's generic text
/// unless [`enable_detailed_errors`](super::HubOptions::enable_detailed_errors) is on.
///
/// Like `anyhow::Error` it does not implement [`std::error::Error`], so that every error converts
/// into it.
///
/// ```
/// # use scaleout::hub::HubError;
/// fn parse(text: &str) -> Result<u8, HubError> {
///     if text.is_empty() {
///         return Err(HubError::new("say a number"));
///     }
///     Ok(text.parse()?)
/// }
/// assert_eq!(parse("").unwrap_err().to_string(), "say a number");
/// ```
pub struct HubError(Repr);

enum Repr {
    /// The text is for the client.
    Told(String),
    /// The client learns of it only when detailed errors are on.
    Internal {
        type_name: &'static str,
        source: Box<dyn StdError + Send + Sync>,
    },
}

impl HubError {
    /// An error whose text the client gets.
    pub fn new(message: impl Into<String>) -> Self {
        Self(Repr::Told(message.into()))
    }

    /// The error that `?` converted; `None` if this one is meant for the client.
    pub fn source(&self) -> Option<&(dyn StdError + Send + Sync + 'static)> {
        match &self.0 {
            Repr::Told(_) => None,
            Repr::Internal { source, .. } => Some(&**source),
        }
    }

    /// `text`, and if the client may know it, the type and text of this error. .NET clients and
    /// their users know the type of an error that is meant for them as `HubException`.
    pub(super) fn describe(&self, text: &str, detailed: bool) -> String {
        match &self.0 {
            Repr::Told(message) => format!("{text} HubException: {message}"),
            Repr::Internal { type_name, source } if detailed => {
                format!("{text} {type_name}: {source}")
            }
            Repr::Internal { .. } => text.to_owned(),
        }
    }
}

impl<E: StdError + Send + Sync + 'static> From<E> for HubError {
    fn from(error: E) -> Self {
        // What another client answered is meant for the one who had it asked.
        if let Some(error) = (&error as &dyn Any).downcast_ref::<ClientError>()
            && !matches!(error, ClientError::Backplane(_))
        {
            return Self::new(error.to_string());
        }
        Self(Repr::Internal {
            type_name: short_name(std::any::type_name::<E>()),
            source: Box::new(error),
        })
    }
}

impl fmt::Display for HubError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Repr::Told(message) => f.write_str(message),
            Repr::Internal { source, .. } => source.fmt(f),
        }
    }
}

impl fmt::Debug for HubError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Repr::Told(message) => f.debug_tuple("HubError").field(message).finish(),
            Repr::Internal { source, .. } => f.debug_tuple("HubError").field(source).finish(),
        }
    }
}

/// The type's own name, without its path and parameters.
pub(super) fn short_name(type_name: &'static str) -> &'static str {
    let path = type_name.split('<').next().unwrap_or(type_name);
    path.rsplit("::").next().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct InvalidOperationException;

    impl fmt::Display for InvalidOperationException {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("secret")
        }
    }

    impl StdError for InvalidOperationException {}

    #[test]
    fn a_client_sees_the_text_that_is_meant_for_it() {
        let error = HubError::new("boom");
        assert_eq!(
            error.describe("Failed.", false),
            "Failed. HubException: boom"
        );
    }

    #[test]
    fn a_client_sees_another_error_only_with_detailed_errors() {
        let error = HubError::from(InvalidOperationException);
        assert_eq!(error.describe("Failed.", false), "Failed.");
        assert_eq!(
            error.describe("Failed.", true),
            "Failed. InvalidOperationException: secret"
        );
    }

    #[test]
    fn a_type_is_named_without_its_path() {
        assert_eq!(
            short_name("core::num::error::ParseIntError"),
            "ParseIntError"
        );
        assert_eq!(short_name("a::Wrapper<b::C>"), "Wrapper");
    }
}
