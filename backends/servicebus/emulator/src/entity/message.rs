//! A message as the entities see it: what rules and timers look at, and the rest as bytes.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;

use crate::clock::Moment;

/// What a sender sent. It is shared by all subscriptions that got a copy.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Message {
    /// What the sender's system properties say.
    pub system: System,
    /// Application properties.
    pub properties: BTreeMap<String, Property>,
    /// How long it may wait, if the sender said so.
    pub time_to_live: Option<Duration>,
    /// When it is to be enqueued, if not at once.
    pub scheduled_at: Option<Moment>,
    /// What the entities never look at.
    pub content: Content,
}

/// Properties with a fixed name, as correlation rules and `sys.` names of SQL rules see them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the Service Bus property of its name")]
pub struct System {
    pub message_id: Option<String>,
    pub correlation_id: Option<String>,
    pub to: Option<String>,
    pub reply_to: Option<String>,
    pub label: Option<String>,
    pub session_id: Option<String>,
    pub reply_to_session_id: Option<String>,
    pub content_type: Option<String>,
}

/// The encoded sections of a message. Only the codec reads them; a body is passed on as it came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Content {
    /// Whether the header asked for durability.
    pub durable: bool,
    /// The header's priority.
    pub priority: u8,
    /// The section with the message annotations of the sender, or nothing.
    pub annotations: Bytes,
    /// The section with the properties, or nothing.
    pub properties: Bytes,
    /// The section with the application properties, or nothing.
    pub application: Bytes,
    /// The body's sections and the footer.
    pub body: Bytes,
}

impl Content {
    /// Bytes that the sections take.
    #[must_use]
    pub fn len(&self) -> usize {
        self.annotations.len() + self.properties.len() + self.application.len() + self.body.len()
    }

    /// Whether there is nothing at all in the message.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The value of a property, in the few kinds that rules can compare.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Property {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    Binary(Vec<u8>),
    Time(Moment),
    Uuid([u8; 16]),
}

impl From<&str> for Property {
    fn from(text: &str) -> Self {
        Self::Text(text.into())
    }
}

impl From<i64> for Property {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}
