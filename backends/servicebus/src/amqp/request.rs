//! Requests and replies: how claims are shown and entities are managed over AMQP.

use std::sync::atomic::{AtomicU64, Ordering};

use fe2o3_amqp::{Receiver, Sender, link::receiver::CreditMode, session::SessionHandle};
use fe2o3_amqp_types::{
    definitions::{ReceiverSettleMode, SenderSettleMode},
    messaging::{AmqpValue, ApplicationProperties, Body, Message, MessageId, Properties, Target},
};
use scaleout_core::Result;
use serde_amqp::Value;

use super::{
    error::{Refused, of_receiver_attach, of_recv, of_send, of_sender_attach},
    message::Any,
};

/// Numbers links, whose names must differ within a connection.
static LINKS: AtomicU64 = AtomicU64::new(1);

/// A name for a link.
pub(super) fn link_name(of: &str) -> String {
    format!("{of}-{}", LINKS.fetch_add(1, Ordering::Relaxed))
}

/// A pair of links to a node that answers requests.
#[derive(Debug)]
pub(super) struct Requests {
    sender: Sender,
    receiver: Receiver,
    reply_to: String,
    asked: u64,
}

impl Requests {
    /// Attaches to a node: `$cbs`, or `ENTITY/$management`.
    pub(super) async fn attach(
        session: &mut SessionHandle<()>,
        node: &str,
    ) -> Result<Self, Refused> {
        let reply_to = link_name("replies");
        let sender = Sender::builder()
            .name(link_name("requests"))
            .sender_settle_mode(SenderSettleMode::Settled)
            .target(node)
            .attach(session)
            .await
            .map_err(|error| of_sender_attach(&error))?;
        let receiver = Receiver::builder()
            .name(reply_to.clone())
            .receiver_settle_mode(ReceiverSettleMode::First)
            .source(node)
            .target(Target::builder().address(reply_to.clone()).build())
            .credit_mode(CreditMode::Auto(16))
            .auto_accept(true)
            .attach(session)
            .await
            .map_err(|error| of_receiver_attach(&error))?;
        Ok(Self {
            sender,
            receiver,
            reply_to,
            asked: 0,
        })
    }

    /// Asks, and waits for the answer.
    ///
    /// # Cancellation
    ///
    /// Safe: an answer that nobody waits for is skipped by the next call.
    pub(super) async fn ask(
        &mut self,
        properties: ApplicationProperties,
        body: Value,
    ) -> Result<Reply> {
        self.asked += 1;
        let id = MessageId::Ulong(self.asked);
        let request = Message::builder()
            .properties(
                Properties::builder()
                    .message_id(id.clone())
                    .reply_to(self.reply_to.as_str())
                    .build(),
            )
            .application_properties(properties)
            .body(AmqpValue(body))
            .build();
        let sent = self.sender.send_batchable(request).await;
        sent.map_err(|error| of_send(&error))?;
        loop {
            let delivery = self.receiver.recv::<Body<Value>>().await;
            let message = delivery.map_err(|error| of_recv(&error))?.into_message();
            let answers = message.properties.as_ref();
            if answers.and_then(|properties| properties.correlation_id.as_ref()) == Some(&id) {
                return Ok(Reply(message));
            }
        }
    }
}

/// An answer.
#[derive(Debug)]
pub(super) struct Reply(Any);

impl Reply {
    /// The status. `$cbs` and `$management` spell the names of their fields differently.
    pub(super) fn status(&self) -> (i64, String) {
        let code = ["status-code", "statusCode"]
            .iter()
            .find_map(|name| self.property(name));
        let code = match code {
            Some(Value::Int(code)) => i64::from(code),
            Some(Value::Long(code)) => code,
            _ => 0,
        };
        let text = ["status-description", "statusDescription"]
            .iter()
            .find_map(|name| self.property(name));
        let text = match text {
            Some(Value::String(text)) => text,
            _ => String::new(),
        };
        (code, text)
    }

    /// The body, if it is one value.
    pub(super) fn into_value(self) -> Value {
        match self.0.body {
            Body::Value(AmqpValue(value)) => value,
            _ => Value::Null,
        }
    }

    fn property(&self, name: &str) -> Option<Value> {
        let properties = self.0.application_properties.as_ref()?;
        properties.0.get(name).cloned().map(Value::from)
    }
}
