//! What carries a connection: bytes in, whole units out.
//!
//! A transport reads from its client into a [`PipeWriter`] and writes what an [`Outbound`] gives it.
//! It knows nothing of hubs and protocols except whether units are text.

mod outbound;
mod pipe;
pub(super) mod websocket;

pub(super) use self::{
    outbound::{Next, Outbound, TooSlow},
    pipe::{InputEnd, PipeReader, PipeWriter, pipe},
};

/// A way to reach a client; chosen by the client and fixed for the life of its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transport {
    WebSockets,
}

impl Transport {
    /// What a hub offers, in the order in which clients should try them.
    pub(super) const OFFERED: [Self; 1] = [Self::WebSockets];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::WebSockets => "WebSockets",
        }
    }

    /// What it can carry.
    pub(super) fn transfer_formats(self) -> &'static [&'static str] {
        match self {
            Self::WebSockets => &["Text", "Binary"],
        }
    }
}
