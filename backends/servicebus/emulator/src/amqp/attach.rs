//! Attaching links, and giving them credit.

use fe2o3_amqp_types::{
    definitions::{Error, ReceiverSettleMode, Role, SenderSettleMode},
    performatives::Flow,
};
use serde_amqp::Value;

use crate::{entity::Refusal, faults::BUSY};

use super::{
    connection::Connection,
    link::{End, Inbound, Link, Outbound},
    message::symbol,
    node::Node,
    performative::{Attach, described, error, text},
    session::{LINK_CREDIT, MAX_HANDLE},
};

impl Connection {
    /// A link is wanted: it is answered, or refused.
    pub(super) fn attach(&mut self, channel: u16, attach: &Attach) {
        let handle = attach.handle.0;
        let Some(session) = self.sessions.get_mut(&channel) else {
            return;
        };
        if handle > MAX_HANDLE || session.links.contains_key(&handle) {
            let why = error("amqp:session:handle-in-use", "The handle cannot be used.");
            self.end(channel, Some(why));
            return;
        }
        session.gone.remove(&handle);
        match self.node(attach) {
            Ok(node) => self.attached(channel, attach, node),
            Err(why) => {
                self.put_attach(channel, attach, false);
                if let Some(session) = self.sessions.get_mut(&channel) {
                    session.gone.insert(handle);
                }
                self.put_detach(channel, handle, true, Some(why));
            }
        }
    }

    /// A link's state, or the wish to hear ours.
    pub(super) fn flow(&mut self, channel: u16, flow: &Flow) {
        let Some(session) = self.sessions.get_mut(&channel) else {
            return;
        };
        let handle = flow.handle.as_ref().map(|handle| handle.0);
        if let Some(handle) = handle {
            let Some(link) = session.links.get_mut(&handle) else {
                if !session.gone.contains(&handle) {
                    self.unattached(channel);
                }
                return;
            };
            if let End::Outbound(end) = &mut link.end {
                // Absent before the client knows our count, which begins with zero.
                let count = flow.delivery_count.unwrap_or(0);
                if let Some(credit) = flow.link_credit {
                    let credit = count.wrapping_add(credit).wrapping_sub(end.delivery_count);
                    // A client that took credit back while messages were on their way owes some now.
                    end.credit = if credit > u32::MAX / 2 { 0 } else { credit };
                }
                end.drain = flow.drain;
            }
        }
        if flow.echo {
            session.put_flow(handle, &mut self.output);
        }
    }

    /// The node that the link is for, if the client may attach to it.
    fn node(&self, attach: &Attach) -> Result<Node, Error> {
        let sends = attach.role == Role::Sender;
        let end = if sends {
            &attach.target
        } else {
            &attach.source
        };
        let named = match end.as_ref().and_then(described) {
            Some((0x28 | 0x29, fields)) => fields.first().and_then(text),
            _ => None,
        };
        let Some(named) = named else {
            return Err(error(
                "amqp:not-implemented",
                "Only links to named entities are supported.",
            ));
        };
        let node = Node::named(named);
        let node =
            node.ok_or_else(|| error("amqp:not-found", format!("'{named}' names no entity.")))?;
        if self.broker.faults.is_busy() && node != Node::Cbs {
            return Err(error("com.microsoft:server-busy", BUSY));
        }
        if let Some(path) = node.path()
            && !node.allows(self.claims.at(&path, self.broker.now()), sends)
        {
            let why =
                format!("Unauthorized access: claims to '{path}' are required for this operation.");
            return Err(error("amqp:unauthorized-access", why));
        }
        if !sends && wants_sessions(attach) {
            return Err(error(
                "amqp:not-implemented",
                "Message sessions are not supported.",
            ));
        }
        let found = self.broker.with(|namespace, now| match node {
            Node::Cbs => Ok(Node::Cbs),
            Node::Management(address) => match namespace.life(&address) {
                Some(_) => Ok(Node::Management(address)),
                None => Err(Refusal::NotFound(format!("The messaging entity '{address}'"))),
            },
            Node::Entity { address, .. } if sends => {
                if address.subscription.is_some() || address.dead_letter {
                    return Err(Refusal::Invalid(format!("Nothing can be sent to '{address}'.")));
                }
                match namespace.life(&address) {
                    Some(life) => Ok(Node::Entity { address, life }),
                    None => Err(Refusal::NotFound(format!("The messaging entity '{address}'"))),
                }
            }
            Node::Entity { address, .. } if namespace.is_topic(&address) => Err(Refusal::Invalid(
                format!("Nothing can be received from the topic '{address}', but from its subscriptions."),
            )),
            Node::Entity { address, .. } => {
                let life = namespace.attach(now, &address)?;
                Ok(Node::Entity { address, life })
            }
        });
        found.map_err(|refusal| refusal_error(&refusal))
    }

    fn attached(&mut self, channel: u16, attach: &Attach, node: Node) {
        let handle = attach.handle.0;
        let (end, reply_to) = if attach.role == Role::Sender {
            let end = Inbound {
                credit: LINK_CREDIT,
                delivery_count: attach.initial_delivery_count.unwrap_or(0),
                ..Inbound::default()
            };
            (End::Inbound(end), None)
        } else {
            let end = Outbound {
                delete: attach.snd_settle_mode == SenderSettleMode::Settled,
                ..Outbound::default()
            };
            let target = attach.target.as_ref().and_then(described);
            let reply_to = target.and_then(|(_, fields)| fields.first().and_then(text));
            (End::Outbound(end), reply_to.map(str::to_owned))
        };
        self.put_attach(channel, attach, true);
        let link = Link {
            node,
            reply_to,
            end,
        };
        if let Some((address, _)) = link.receives_from() {
            self.broker.watch(address, self.id, &self.waker);
        }
        let Some(session) = self.sessions.get_mut(&channel) else {
            return;
        };
        session.links.insert(handle, link);
        if attach.role == Role::Sender {
            session.put_flow(Some(handle), &mut self.output);
        }
    }

    /// Answers an attach. One that is refused has neither source nor target; the detach follows.
    fn put_attach(&mut self, channel: u16, attach: &Attach, taken: bool) {
        let sends = attach.role == Role::Sender;
        let limit = self
            .broker
            .with(|namespace, _| namespace.tier().max_message_size());
        let answer = Attach {
            role: if sends { Role::Receiver } else { Role::Sender },
            rcv_settle_mode: if sends {
                ReceiverSettleMode::First
            } else {
                attach.rcv_settle_mode.clone()
            },
            source: attach.source.clone().filter(|_| taken),
            target: attach.target.clone().filter(|_| taken),
            unsettled: None,
            incomplete_unsettled: None,
            initial_delivery_count: (!sends).then_some(0),
            max_message_size: Some(limit as u64),
            offered_capabilities: None,
            desired_capabilities: None,
            properties: None,
            ..attach.clone()
        };
        self.put(channel, &answer);
    }
}

/// What a refusal is called on the wire.
pub(super) fn refusal_error(refusal: &Refusal) -> Error {
    let condition = match refusal {
        Refusal::NotFound(_) => "amqp:not-found",
        Refusal::Exists(_) => "com.microsoft:entity-already-exists",
        Refusal::LockLost => "com.microsoft:message-lock-lost",
        Refusal::TooLarge(_) => "amqp:link:message-size-exceeded",
        Refusal::Invalid(_) => "amqp:not-allowed",
        Refusal::Quota(_) => "amqp:resource-limit-exceeded",
    };
    error(condition, refusal.to_string())
}

fn wants_sessions(attach: &Attach) -> bool {
    const FILTER: usize = 7;
    let source = attach.source.as_ref().and_then(described);
    match source.and_then(|(_, fields)| fields.get(FILTER)) {
        Some(Value::Map(filters)) => filters.contains_key(&symbol("com.microsoft:session-filter")),
        _ => false,
    }
}
