//! Sessions: windows, links and what is not settled yet.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::{Bytes, BytesMut};
use fe2o3_amqp_types::{
    definitions::{Handle, Role},
    performatives::{Begin, Flow, Transfer},
};
use serde_amqp::Value;

use crate::entity::{Address, LockToken};

use super::{
    frame,
    link::{End, Link},
    performative::{Disposition, describe},
};

/// Frames with transfers that a client may send before it is told that it may send more.
const WINDOW: u32 = 4_096;

/// Messages that a client may send on one link before it is told that it may send more.
pub(super) const LINK_CREDIT: u32 = 1_000;

/// The highest handle that a link may have.
pub(super) const MAX_HANDLE: u32 = 4_095;

#[derive(Debug)]
pub(super) struct Session {
    channel: u16,
    next_incoming: u32,
    incoming_left: u32,
    next_outgoing: u32,
    /// Transfers that the client takes before it opens its window again.
    peer_window: u32,
    next_delivery: u32,
    pub(super) links: BTreeMap<u32, Link>,
    /// Handles of links that we detached. Until the client has done so too, it may still talk to them.
    pub(super) gone: BTreeSet<u32>,
    /// Messages that the client has to settle, by their delivery ids.
    pub(super) unsettled: BTreeMap<u32, Unsettled>,
    /// Frames that wait for the client's window, in their order.
    backlog: VecDeque<(Transfer, Bytes)>,
    /// Messages of the client that were taken, and were not told so yet.
    accepted: Option<(u32, u32)>,
}

#[derive(Debug)]
pub(super) struct Unsettled {
    pub(super) handle: u32,
    pub(super) address: Address,
    pub(super) token: LockToken,
}

impl Session {
    /// Begins a session, and answers.
    pub(super) fn begin(channel: u16, begin: &Begin, output: &mut BytesMut) -> Self {
        let answer = Begin {
            remote_channel: Some(channel),
            next_outgoing_id: 0,
            incoming_window: WINDOW,
            outgoing_window: WINDOW,
            handle_max: Handle(MAX_HANDLE),
            offered_capabilities: None,
            desired_capabilities: None,
            properties: None,
        };
        frame::put(output, false, channel, &answer, &[]);
        Self {
            channel,
            next_incoming: begin.next_outgoing_id,
            incoming_left: WINDOW,
            next_outgoing: 0,
            peer_window: begin.incoming_window,
            next_delivery: 0,
            links: BTreeMap::new(),
            gone: BTreeSet::new(),
            unsettled: BTreeMap::new(),
            backlog: VecDeque::new(),
            accepted: None,
        }
    }

    /// Takes note of a transfer frame that came. False if the client ignores the window.
    pub(super) fn count_incoming(&mut self, output: &mut BytesMut) -> bool {
        let Some(left) = self.incoming_left.checked_sub(1) else {
            return false;
        };
        self.next_incoming = self.next_incoming.wrapping_add(1);
        self.incoming_left = left;
        if left < WINDOW / 2 {
            self.put_flow(None, output);
        }
        true
    }

    /// Takes note of the client's window.
    pub(super) fn take_window(&mut self, flow: &Flow) {
        let from = flow.next_incoming_id.unwrap_or(0);
        self.peer_window = from
            .wrapping_add(flow.incoming_window)
            .wrapping_sub(self.next_outgoing);
    }

    /// Whether a message may be begun now.
    pub(super) fn may_send(&self) -> bool {
        self.backlog.is_empty() && self.peer_window > 0
    }

    /// Sends a message on a link, in as many frames as it needs, and returns its delivery id.
    pub(super) fn send(
        &mut self,
        handle: u32,
        tag: &[u8],
        settled: bool,
        message: Bytes,
        max_payload: usize,
        output: &mut BytesMut,
    ) -> u32 {
        let id = self.next_delivery;
        self.next_delivery = id.wrapping_add(1);
        let mut rest = message;
        let mut first = true;
        loop {
            let part = rest.split_to(rest.len().min(max_payload));
            let more = !rest.is_empty();
            let transfer = Transfer {
                handle: Handle(handle),
                delivery_id: first.then_some(id),
                delivery_tag: first.then(|| tag.to_vec().into()),
                message_format: first.then_some(0),
                settled: Some(settled),
                more,
                rcv_settle_mode: None,
                state: None,
                resume: false,
                aborted: false,
                batchable: false,
            };
            self.backlog.push_back((transfer, part));
            first = false;
            if !more {
                break;
            }
        }
        self.flush_backlog(output);
        id
    }

    /// Sends what waits, as far as the client's window goes.
    pub(super) fn flush_backlog(&mut self, output: &mut BytesMut) {
        while self.peer_window > 0 {
            let Some((transfer, part)) = self.backlog.pop_front() else {
                break;
            };
            self.peer_window -= 1;
            self.next_outgoing = self.next_outgoing.wrapping_add(1);
            frame::put(output, false, self.channel, &transfer, &part);
        }
    }

    /// Tells the client its windows, and a link's state.
    pub(super) fn put_flow(&mut self, handle: Option<u32>, output: &mut BytesMut) {
        self.incoming_left = WINDOW;
        let mut flow = Flow {
            next_incoming_id: Some(self.next_incoming),
            incoming_window: WINDOW,
            next_outgoing_id: self.next_outgoing,
            outgoing_window: WINDOW,
            handle: None,
            delivery_count: None,
            link_credit: None,
            available: None,
            drain: false,
            echo: false,
            properties: None,
        };
        if let Some((handle, link)) =
            handle.and_then(|handle| Some((handle, self.links.get(&handle)?)))
        {
            flow.handle = Some(Handle(handle));
            let (count, credit) = match &link.end {
                End::Inbound(end) => (end.delivery_count, end.credit),
                End::Outbound(end) => {
                    flow.drain = end.drain;
                    (end.delivery_count, end.credit)
                }
            };
            flow.delivery_count = Some(count);
            flow.link_credit = Some(credit);
        }
        frame::put(output, false, self.channel, &flow, &[]);
    }

    /// Takes note that a message was taken. The client is told with the next ones at once, at the latest by
    /// `flush_accepted`.
    pub(super) fn accept(&mut self, id: u32, output: &mut BytesMut) {
        match &mut self.accepted {
            Some((_, last)) if last.wrapping_add(1) == id => *last = id,
            _ => {
                self.flush_accepted(output);
                self.accepted = Some((id, id));
            }
        }
    }

    pub(super) fn flush_accepted(&mut self, output: &mut BytesMut) {
        if let Some((first, last)) = self.accepted.take() {
            self.put_disposition(
                Role::Receiver,
                first,
                last,
                describe(0x24, Vec::new()),
                output,
            );
        }
    }

    /// Tells what became of messages, settled.
    pub(super) fn put_disposition(
        &self,
        role: Role,
        first: u32,
        last: u32,
        state: Value,
        output: &mut BytesMut,
    ) {
        let disposition = Disposition {
            role,
            first,
            last: Some(last),
            settled: true,
            state: Some(state),
            batchable: false,
        };
        frame::put(output, false, self.channel, &disposition, &[]);
    }

    /// Forgets a link and what waits on it. Locks stay with the entity.
    pub(super) fn remove(&mut self, handle: u32) -> Option<Link> {
        let link = self.links.remove(&handle)?;
        self.backlog
            .retain(|(transfer, _)| transfer.handle.0 != handle);
        self.unsettled
            .retain(|_, unsettled| unsettled.handle != handle);
        Some(link)
    }
}
