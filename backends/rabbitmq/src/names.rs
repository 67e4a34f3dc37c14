//! What the streams are called.

use scaleout_core::{Carries, Epoch, LogName, Namespace, Result};

use crate::config::invalid;

/// The stream that tells which stream is which log. A namespace has no slash, so no other name can
/// be the same.
pub(crate) fn directory(namespace: &Namespace) -> String {
    format!("scaleout/{namespace}")
}

/// The stream that is one life of log `index`. A stream of that name is made once and never again,
/// so the epoch is the stream's identity.
pub(crate) fn stream(namespace: &Namespace, index: u16, epoch: Epoch) -> String {
    format!("scaleout/{namespace}/{index}/{epoch}")
}

/// Which share of the topics the log carries.
pub(crate) fn index(log: &LogName, count: u16) -> Result<u16> {
    match *log.carries() {
        Carries::Share { index, count: of } if of == count => Ok(index),
        _ => Err(invalid(format!(
            "{log} is not one of the {count} logs of this node"
        ))),
    }
}
