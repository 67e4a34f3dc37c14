//! Receiving from a subscription, with peek-lock.

use std::sync::Arc;

use fe2o3_amqp::{
    Receiver as AmqpLink,
    link::{RecvError, delivery::DeliveryInfo, receiver::CreditMode},
};
use fe2o3_amqp_types::{
    definitions::{ReceiverSettleMode, SenderSettleMode},
    messaging::{ApplicationProperties, Body},
};
use futures_util::FutureExt;
use scaleout_core::Result;
use serde_amqp::{Value, primitives::OrderedMap};

use super::{
    error::{Refused, of_receiver_attach, of_recv},
    link::Link,
    message::{self, nonsense},
    request::{Requests, link_name},
};
use crate::{
    error::{lost, of_status},
    transport::{Incoming, Receiver},
};

/// Messages of one subscription that may be on their way, and their bytes if all were as large as can
/// be.
const PREFETCH: usize = 256;
const PREFETCH_BYTES: usize = 64 << 20;
/// Frames that a message is split into at most: the service's are of 64 KiB.
const FRAME: usize = 60 << 10;
/// Messages that are looked at with one request.
const PEEK: i64 = 100;

/// A subscription that is being received from. Dropping it ends that.
pub(crate) struct AmqpReceiver {
    receiver: AmqpLink,
    link: Arc<Link>,
    entity: String,
    requests: Option<Requests>,
}

impl AmqpReceiver {
    pub(super) async fn attach(link: Arc<Link>, entity: String) -> Result<Self, Refused> {
        link.receiving.claim(&entity).await?;
        let credit = (PREFETCH_BYTES / link.config.max_frame_bytes.max(1)).clamp(1, PREFETCH);
        let mut builder = AmqpLink::builder()
            .name(link_name("receiver"))
            .sender_settle_mode(SenderSettleMode::Unsettled)
            .receiver_settle_mode(ReceiverSettleMode::Second)
            .source(entity.as_str())
            // Renewed as messages are completed, so no more than twice as many are held here.
            .credit_mode(CreditMode::Auto(u32::try_from(credit).unwrap_or(1)))
            .auto_accept(false);
        // A link that is not read must not hold up the others of its session.
        builder.buffer_size = 2 * credit * (link.config.max_frame_bytes / FRAME + 2);
        let attached = {
            let mut session = link.receiving.session().await?;
            builder.attach(&mut session).await
        };
        let receiver = attached.map_err(|error| {
            link.receiving.forget(&entity);
            of_receiver_attach(&error)
        })?;
        Ok(Self {
            receiver,
            link,
            entity,
            requests: None,
        })
    }

    /// Looks at messages from a number on: as many as the service gives at once.
    async fn peek_some(&mut self, from: i64, count: i64) -> Result<Vec<Incoming>> {
        let requests = match &mut self.requests {
            Some(requests) => requests,
            None => {
                let (link, node) = (self.link.clone(), format!("{}/$management", self.entity));
                let named = node.clone();
                let attached = self.link.finish(async move {
                    let mut session = link.receiving.session().await?;
                    Requests::attach(&mut session, &node).await
                });
                let attached = attached.await.map_err(|refused| refused.into_error(&named));
                self.requests.insert(attached?)
            }
        };
        let properties = ApplicationProperties::builder()
            .insert("operation", "com.microsoft:peek-message")
            .build();
        let mut body = OrderedMap::new();
        let count = i32::try_from(count).unwrap_or(i32::MAX);
        let mut put = |name: &str, value| body.insert(Value::String(name.into()), value);
        put("from-sequence-number", Value::Long(from));
        put("message-count", Value::Int(count));
        let reply = requests.ask(properties, Value::Map(body)).await?;
        match reply.status() {
            (200, _) => {}
            (204, _) => return Ok(Vec::new()),
            (status, description) => {
                return Err(of_status("looking at messages", status, &description));
            }
        }
        let body = reply.into_value();
        let messages = match field(&body, "messages") {
            Some(Value::List(messages)) => messages.as_slice(),
            Some(Value::Array(messages)) => &messages.0,
            _ => return Err(nonsense("an answer without messages")),
        };
        let peeked = messages
            .iter()
            .map(|message| match field(message, "message") {
                Some(Value::Binary(encoded)) => message::peeked(encoded),
                _ => Err(nonsense("a message without content")),
            });
        peeked.collect()
    }
}

impl Receiver for AmqpReceiver {
    type Lock = DeliveryInfo;

    async fn next(&mut self) -> Result<(Incoming, DeliveryInfo)> {
        loop {
            match self.receiver.recv::<Body<Value>>().await {
                Ok(delivery) => {
                    let (lock, message) = delivery.into_parts();
                    return Ok((message::incoming(message)?, lock));
                }
                // It cannot be placed. That its number is missing shows, if it should have been ours.
                Err(RecvError::MessageDecode(error)) => {
                    tracing::warn!(entity = %self.entity, %error, "a message that is no AMQP");
                    self.complete(vec![error.info]).await?;
                }
                Err(error) => return Err(of_recv(&error)),
            }
        }
    }

    fn more(&mut self) -> Option<Result<(Incoming, DeliveryInfo)>> {
        self.next().now_or_never()
    }

    async fn complete(&mut self, locks: Vec<DeliveryInfo>) -> Result<()> {
        let accepted = self.receiver.accept_all(locks).await;
        accepted.map_err(|error| lost().with_source(error))
    }

    async fn peek(&mut self, from: i64, to: i64) -> Result<Option<Vec<Incoming>>> {
        let mut found = Vec::new();
        let mut from = from;
        while from <= to {
            let some = self.peek_some(from, PEEK.min(to - from + 1)).await?;
            let Some(last) = some.last() else { break };
            from = last.sequence.saturating_add(1).max(from + 1);
            found.extend(some.into_iter().filter(|message| message.sequence <= to));
        }
        Ok(Some(found))
    }
}

impl Drop for AmqpReceiver {
    fn drop(&mut self) {
        self.link.receiving.forget(&self.entity);
    }
}

fn field<'a>(map: &'a Value, name: &str) -> Option<&'a Value> {
    let Value::Map(map) = map else { return None };
    map.get(&Value::String(name.into()))
}
