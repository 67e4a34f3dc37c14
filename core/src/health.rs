//! [`Health`]: what state a node's connection to the broker is in.

use std::{fmt, time::SystemTime};

use crate::ErrorKind;

/// State of a node's connection to the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum State {
    /// Not connected yet; trying.
    Connecting,
    /// Connected.
    Connected,
    /// The connection was lost; reconnecting, for ever. Publishes wait, subscriptions pause.
    Interrupted,
    /// The backplane was closed.
    Closed,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connecting => "connecting",
            Self::Connected => "connected",
            Self::Interrupted => "interrupted",
            Self::Closed => "closed",
        })
    }
}

/// A node's health at one moment.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Health {
    /// The connection's state.
    pub state: State,
    /// Since when it is in this state.
    pub since: SystemTime,
    /// The error that interrupted the connection, while it is interrupted. Shows no secret.
    pub last_error: Option<String>,
    /// That error's kind: `Auth` says that the broker is there and refuses this node.
    pub last_error_kind: Option<ErrorKind>,
    /// How often the connection was regained.
    pub reconnects: u64,
}

impl Health {
    pub(crate) fn new(state: State) -> Self {
        Self {
            state,
            since: SystemTime::now(),
            last_error: None,
            last_error_kind: None,
            reconnects: 0,
        }
    }
}
