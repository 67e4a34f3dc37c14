//! Links: one end of what a client attached.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

use crate::entity::Address;

use super::node::Node;

/// A link, as the broker's end of it.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) node: Node,
    /// What the client wants answers sent to, on a link that brings them.
    pub(super) reply_to: Option<String>,
    pub(super) end: End,
}

/// Which way messages go.
#[derive(Debug)]
pub(super) enum End {
    /// The client sends.
    Inbound(Inbound),
    /// The client receives.
    Outbound(Outbound),
}

#[derive(Debug, Default)]
pub(super) struct Inbound {
    /// Messages that came.
    pub(super) delivery_count: u32,
    /// Messages that may come.
    pub(super) credit: u32,
    /// A message of which not all frames came yet.
    pub(super) partial: Option<Partial>,
}

#[derive(Debug)]
pub(super) struct Partial {
    pub(super) delivery: u32,
    pub(super) settled: bool,
    pub(super) format: u32,
    pub(super) bytes: BytesMut,
}

#[derive(Debug, Default)]
pub(super) struct Outbound {
    /// Messages that went.
    pub(super) delivery_count: u32,
    /// Messages that may go.
    pub(super) credit: u32,
    /// Whether credit that is not used at once is given back.
    pub(super) drain: bool,
    /// Whether a message is gone once it is sent.
    pub(super) delete: bool,
    /// Answers that wait to be sent.
    pub(super) replies: VecDeque<Bytes>,
}

impl Link {
    pub(super) fn outbound(&mut self) -> Option<&mut Outbound> {
        match &mut self.end {
            End::Outbound(end) => Some(end),
            End::Inbound(_) => None,
        }
    }

    /// The entity that this link receives from.
    pub(super) fn receives_from(&self) -> Option<(&Address, u64)> {
        match (&self.end, &self.node) {
            (End::Outbound(_), Node::Entity { address, life }) => Some((address, *life)),
            _ => None,
        }
    }
}
