//! [`Secret`]: text that is sent, but does not show.

use std::fmt;

/// A password or a key, for a backend's configuration. It compares and it is sent, but `Debug` shows
/// `***`, and it has no `Display`.
///
/// ```
/// let secret = scaleout_core::Secret::new("hunter2");
/// assert_eq!(format!("{secret:?}"), "***");
/// assert_eq!(secret.scrub("no hunter2 here"), "no *** here");
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Hides a text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text, to be sent and not to be shown.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Takes the secret out of a text, such as a broker's answer that repeats what it was sent.
    pub fn scrub(&self, text: &str) -> String {
        if self.0.is_empty() {
            text.to_owned()
        } else {
            text.replace(&self.0, "***")
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}
