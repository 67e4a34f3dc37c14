//! Messages that clients send: to entities, for a token, or as a request.

use bytes::{Bytes, BytesMut};
use fe2o3_amqp_types::{
    definitions::{Error, Role},
    performatives::Transfer,
};
use serde_amqp::Value;

use crate::{
    entity::{Address, Refusal},
    faults::BUSY,
};

use super::{
    attach::refusal_error,
    cbs,
    connection::Connection,
    link::{End, Partial},
    management, message,
    node::Node,
    performative::{describe, error},
    request::Request,
    session::LINK_CREDIT,
    shape::Malformed,
};

/// Answers that may wait for a client that takes none.
const MAX_REPLIES: usize = 1_000;

impl Connection {
    /// A frame with a message, or a part of one.
    pub(super) fn transfer(&mut self, channel: u16, transfer: &Transfer, payload: &Bytes) {
        let Some(session) = self.sessions.get_mut(&channel) else {
            return;
        };
        if !session.count_incoming(&mut self.output) {
            let why = error("amqp:session:window-violation", "The window is closed.");
            self.end(channel, Some(why));
            return;
        }
        let handle = transfer.handle.0;
        let limit = self
            .broker
            .with(|namespace, _| namespace.tier().max_message_size());
        let Some(link) = session.links.get_mut(&handle) else {
            if !session.gone.contains(&handle) {
                self.unattached(channel);
            }
            return;
        };
        let End::Inbound(end) = &mut link.end else {
            self.unattached(channel);
            return;
        };
        if transfer.aborted {
            end.partial = None;
            return;
        }
        let mut partial = end.partial.take().unwrap_or_else(|| Partial {
            delivery: transfer.delivery_id.unwrap_or(0),
            settled: false,
            format: transfer.message_format.unwrap_or(0),
            bytes: BytesMut::new(),
        });
        partial.settled |= transfer.settled.unwrap_or(false);
        if partial.bytes.len() + payload.len() > limit {
            let why = format!("The received message is larger than the limit of {limit} bytes.");
            self.detach(
                channel,
                handle,
                true,
                Some(error("amqp:link:message-size-exceeded", why)),
            );
            return;
        }
        if transfer.more {
            partial.bytes.extend_from_slice(payload);
            end.partial = Some(partial);
            return;
        }
        let whole = if partial.bytes.is_empty() {
            payload.clone()
        } else {
            partial.bytes.extend_from_slice(payload);
            partial.bytes.split().freeze()
        };
        end.delivery_count = end.delivery_count.wrapping_add(1);
        end.credit = end.credit.saturating_sub(1);
        if end.credit < LINK_CREDIT / 2 {
            end.credit = LINK_CREDIT;
            session.put_flow(Some(handle), &mut self.output);
        }
        self.message(channel, handle, &partial, &whole);
    }

    /// A whole message came.
    fn message(&mut self, channel: u16, handle: u32, partial: &Partial, payload: &Bytes) {
        let Some(session) = self.sessions.get_mut(&channel) else {
            return;
        };
        let Some(link) = session.links.get(&handle) else {
            return;
        };
        match link.node.clone() {
            Node::Entity { address, life } => {
                match self.take(&address, life, payload, partial.format) {
                    Ok(()) if self.broker.faults.takes_unanswered() => self.abort(),
                    Ok(()) => self.accept(channel, partial),
                    Err(Refused::Message(why)) => self.reject(channel, partial, &why),
                    Err(Refused::Link(why)) => self.detach(channel, handle, true, Some(why)),
                }
            }
            node => {
                let reply = match Request::read(payload) {
                    Ok(request) => {
                        let reply = match &node {
                            Node::Management(address) => {
                                management::answer(self, address, &request)
                            }
                            _ => cbs::answer(self, &request),
                        };
                        Some((request, reply))
                    }
                    Err(_) => None,
                };
                match reply {
                    Some((request, reply)) => {
                        self.accept(channel, partial);
                        self.reply(&node, channel, &request, reply);
                    }
                    None => {
                        let why = error("amqp:decode-error", "The request cannot be read.");
                        self.reject(channel, partial, &why);
                    }
                }
            }
        }
    }

    fn take(
        &self,
        address: &Address,
        life: u64,
        payload: &Bytes,
        format: u32,
    ) -> Result<(), Refused> {
        let malformed = |Malformed(why)| Refused::Message(error("amqp:decode-error", why));
        let messages = message::read(payload, format).map_err(malformed)?;
        let faults = &self.broker.faults;
        if !faults.pay(messages.len()) {
            return Err(Refused::Message(error("com.microsoft:server-busy", BUSY)));
        }
        let sent = self.broker.with(|namespace, now| {
            // The entity may have been deleted, and even made anew, since the link was attached.
            if namespace.life(address) != Some(life) {
                return Err(Refusal::NotFound(format!(
                    "The messaging entity '{address}'"
                )));
            }
            namespace.send(now, address, messages)
        });
        let sent = sent.map_err(|refusal| Refused::Link(refusal_error(&refusal)))?;
        faults.charge(sent.rules);
        Ok(())
    }

    fn accept(&mut self, channel: u16, partial: &Partial) {
        if let (false, Some(session)) = (partial.settled, self.sessions.get_mut(&channel)) {
            session.accept(partial.delivery, &mut self.output);
        }
    }

    fn reject(&mut self, channel: u16, partial: &Partial, why: &Error) {
        let Some(session) = self.sessions.get_mut(&channel) else {
            return;
        };
        if partial.settled {
            return;
        }
        session.flush_accepted(&mut self.output);
        // An error is a plain structure that becomes a value.
        let why = serde_amqp::to_value(why).unwrap_or(Value::Null);
        let state = describe(0x25, vec![why]);
        let id = partial.delivery;
        session.put_disposition(Role::Receiver, id, id, state, &mut self.output);
    }

    /// Puts an answer on the link that it is wanted on: the one with the address to reply to, or else the
    /// only one there is for this node. Not every client says where it wants its answers.
    fn reply(&mut self, node: &Node, channel: u16, request: &Request, reply: Bytes) {
        let Some(session) = self.sessions.get_mut(&channel) else {
            return;
        };
        let mut fitting: Vec<_> = session
            .links
            .values_mut()
            .filter(|link| link.node == *node && matches!(link.end, End::Outbound(_)))
            .collect();
        let named = fitting
            .iter()
            .position(|link| request.reply_to.is_some() && link.reply_to == request.reply_to);
        let at = named.or_else(|| fitting.len().checked_sub(1));
        let Some(end) = at
            .map(|at| fitting.swap_remove(at))
            .and_then(|link| link.outbound())
        else {
            return;
        };
        if end.replies.len() < MAX_REPLIES {
            end.replies.push_back(reply);
        }
    }
}

enum Refused {
    /// The message is rejected, and the link stays.
    Message(Error),
    /// The link ends.
    Link(Error),
}
