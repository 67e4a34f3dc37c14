//! What carries a connection: bytes in, whole units out.
//!
//! A transport reads from its client into a [`PipeWriter`] and writes what an [`Outbound`] gives it.
//! It knows nothing of hubs and protocols except whether units are text.

pub(super) mod events;
mod outbound;
mod pipe;
mod retained;
pub(super) mod websocket;

use std::fmt;

pub(super) use self::{
    outbound::{Kind, Limits, Next, Outbound, Pushed},
    pipe::{Input, InputEnd, PipeReader, PipeWriter, pipe},
};

/// A way to reach a client; chosen by the client and fixed for the life of its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// One WebSocket for both directions.
    WebSockets,
    /// An endless response for what the server sends, and a request for each thing that the client
    /// does. Text only.
    ServerSentEvents,
    /// Requests for both directions.
    LongPolling,
}

impl Transport {
    /// All of them, in the order in which clients should try them.
    pub const ALL: [Self; 3] = [Self::WebSockets, Self::ServerSentEvents, Self::LongPolling];

    /// The name that clients know.
    pub fn name(self) -> &'static str {
        match self {
            Self::WebSockets => "WebSockets",
            Self::ServerSentEvents => "ServerSentEvents",
            Self::LongPolling => "LongPolling",
        }
    }

    /// What it can carry.
    pub(super) fn transfer_formats(self) -> &'static [&'static str] {
        match self {
            Self::WebSockets | Self::LongPolling => &["Text", "Binary"],
            Self::ServerSentEvents => &["Text"],
        }
    }

    pub(super) fn carries_binary(self) -> bool {
        self != Self::ServerSentEvents
    }

    /// Whether the transport itself shows that both sides are there, so that pings are of no use.
    pub(super) fn keeps_alive(self) -> bool {
        self == Self::LongPolling
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
