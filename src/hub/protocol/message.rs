//! [`Message`]: what a client can say once the handshake is over.

use super::Value;

/// A message from a client, whichever protocol carried it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Message {
    Invocation(Invocation),
    /// An item of a stream that the client sends.
    StreamItem {
        id: String,
        item: Value,
    },
    /// The end of a stream that the client sends, or its answer to an invocation by the server.
    Completion {
        id: String,
        outcome: Outcome,
    },
    /// The client wants no more of a stream.
    CancelInvocation {
        id: String,
    },
    Ping,
    /// The sender is about to leave.
    Close {
        error: Option<String>,
        /// Said by servers alone: the client may come back.
        allow_reconnect: bool,
    },
    /// Everything up to here was received.
    Ack {
        sequence_id: u64,
    },
    /// What follows begins here.
    Sequence {
        sequence_id: u64,
    },
}

impl Message {
    /// Whether it counts when client and server count messages.
    pub(crate) fn is_counted(&self) -> bool {
        match self {
            Self::Invocation(_)
            | Self::StreamItem { .. }
            | Self::Completion { .. }
            | Self::CancelInvocation { .. } => true,
            Self::Ping | Self::Close { .. } | Self::Ack { .. } | Self::Sequence { .. } => false,
        }
    }
}

/// A call of a hub method.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Invocation {
    /// The client waits for a completion of this id; without one, it wants no answer.
    pub(crate) id: Option<String>,
    pub(crate) target: String,
    pub(crate) arguments: Vec<Value>,
    /// The client will send these streams as further arguments.
    pub(crate) stream_ids: Vec<String>,
    /// The client expects a stream of items before the completion.
    pub(crate) streaming: bool,
}

/// How an invocation ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// With a value; a method that returns nothing returns a null.
    Value(Value),
    /// Without one, as streams end.
    Nothing,
    /// With an error, for the client to read.
    Error(String),
}
