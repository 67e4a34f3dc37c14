//! Messages and answers on their way to the client.

use crate::entity::{Delivery, Refusal};

use super::{
    attach::refusal_error, connection::Connection, link::End, message, node::Node,
    session::Unsettled,
};

/// Bytes that may wait for the socket before no more messages are taken for the client.
const HIGH_WATER: usize = 256 * 1024;

/// Messages that are taken at a time.
const BATCH: usize = 32;

/// Bytes of a frame that its header and the transfer need.
const OVERHEAD: usize = 128;

impl Connection {
    /// Sends what there is for the client, as far as it gave credit. True if there may be more when the output
    /// has gone.
    pub(super) fn pump(&mut self) -> bool {
        self.throttled = false;
        let channels: Vec<u16> = self.sessions.keys().copied().collect();
        for channel in channels {
            let Some(session) = self.sessions.get(&channel) else {
                continue;
            };
            let outbound = session
                .links
                .iter()
                .filter(|(_, link)| matches!(link.end, End::Outbound(_)));
            let handles: Vec<u32> = outbound.map(|(handle, _)| *handle).collect();
            for handle in handles {
                if let Err(refusal) = self.pump_link(channel, handle) {
                    self.detach(channel, handle, true, Some(refusal_error(&refusal)));
                }
            }
        }
        self.output.len() >= HIGH_WATER
    }

    fn pump_link(&mut self, channel: u16, handle: u32) -> Result<(), Refusal> {
        let max_payload = self.max_frame - OVERHEAD;
        while self.output.len() < HIGH_WATER {
            let Some(session) = self.sessions.get_mut(&channel) else {
                return Ok(());
            };
            let may_send = session.may_send();
            let Some(link) = session.links.get_mut(&handle) else {
                return Ok(());
            };
            let node = link.node.clone();
            let Some(end) = link.outbound() else {
                return Ok(());
            };
            if end.credit == 0 || !may_send {
                // An entity that is gone is told even to those who take nothing.
                return self.check_life(&node);
            }
            if let Some(reply) = end.replies.pop_front() {
                end.credit -= 1;
                end.delivery_count = end.delivery_count.wrapping_add(1);
                let tag = end.delivery_count.to_be_bytes();
                session.send(handle, &tag, true, reply, max_payload, &mut self.output);
                continue;
            }
            let (delete, count) = (end.delete, BATCH.min(end.credit as usize));
            let deliveries = self.receive(&node, delete, count)?;
            if deliveries.is_empty() {
                self.drained(channel, handle);
                return Ok(());
            }
            for delivery in deliveries {
                self.send(channel, handle, &node, &delivery, max_payload);
            }
        }
        Ok(())
    }

    fn check_life(&self, node: &Node) -> Result<(), Refusal> {
        let Node::Entity { address, life } = node else {
            return Ok(());
        };
        match self.broker.with(|namespace, _| namespace.life(address)) {
            Some(now) if now == *life => Ok(()),
            _ => Err(Refusal::NotFound(format!(
                "The messaging entity '{address}'"
            ))),
        }
    }

    fn receive(
        &mut self,
        node: &Node,
        delete: bool,
        count: usize,
    ) -> Result<Vec<Delivery>, Refusal> {
        let Node::Entity { address, life } = node else {
            return Ok(Vec::new());
        };
        let faults = &self.broker.faults;
        let mut throttled = false;
        let received = self.broker.with(|namespace, now| {
            if namespace.life(address) != Some(*life) {
                return Err(Refusal::NotFound(format!(
                    "The messaging entity '{address}'"
                )));
            }
            let mut received = Vec::new();
            while received.len() < count {
                if !faults.pay(0) {
                    throttled = true;
                    break;
                }
                let Some(delivery) = namespace.receive(now, address, delete)? else {
                    break;
                };
                faults.charge(1);
                received.push(delivery);
            }
            Ok(received)
        });
        self.throttled |= throttled;
        received
    }

    fn send(
        &mut self,
        channel: u16,
        handle: u32,
        node: &Node,
        delivery: &Delivery,
        max_payload: usize,
    ) {
        let Some(session) = self.sessions.get_mut(&channel) else {
            return;
        };
        let Some(end) = session
            .links
            .get_mut(&handle)
            .and_then(|link| link.outbound())
        else {
            return;
        };
        end.credit = end.credit.saturating_sub(1);
        end.delivery_count = end.delivery_count.wrapping_add(1);
        let tag = match &delivery.lock {
            Some((token, _)) => message::delivery_tag(token).to_vec(),
            None => end.delivery_count.to_be_bytes().to_vec(),
        };
        let message = message::write(delivery).into();
        let settled = delivery.lock.is_none();
        let id = session.send(
            handle,
            &tag,
            settled,
            message,
            max_payload,
            &mut self.output,
        );
        if let (Some((token, _)), Node::Entity { address, .. }) = (delivery.lock, node) {
            let unsettled = Unsettled {
                handle,
                address: address.clone(),
                token,
            };
            session.unsettled.insert(id, unsettled);
        }
    }

    /// There is nothing for a link: if it is drained, its credit goes back.
    fn drained(&mut self, channel: u16, handle: u32) {
        let Some(session) = self.sessions.get_mut(&channel) else {
            return;
        };
        let Some(end) = session
            .links
            .get_mut(&handle)
            .and_then(|link| link.outbound())
        else {
            return;
        };
        if end.drain && end.credit > 0 {
            end.delivery_count = end.delivery_count.wrapping_add(end.credit);
            end.credit = 0;
            session.put_flow(Some(handle), &mut self.output);
        }
    }
}
