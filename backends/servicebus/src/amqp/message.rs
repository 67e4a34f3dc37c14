//! Messages between their AMQP encoding and the transport's form.

use bytes::Bytes;
use fe2o3_amqp_types::messaging::{
    Body, Data, Message, MessageAnnotations, Properties, annotations::AnnotationKey,
    message::__private::Deserializable,
};
use scaleout_core::{Error, ErrorKind, Result};
use serde_amqp::{Value, primitives::Binary};

use crate::transport::{Incoming, Outgoing};

/// What the topic numbered a message with. The service spells it so.
const NUMBER: &str = "x-opt-enqueue-sequence-number";
/// What the subscription numbered it with.
const SEQUENCE: &str = "x-opt-sequence-number";

/// A message as any body may be: other applications can write into a topic.
pub(super) type Any = Message<Body<Value>>;

pub(super) fn outgoing(message: Outgoing) -> Message<Data> {
    let properties = Properties::builder().message_id(message.id).build();
    Message::builder()
        .properties(properties)
        .data(Data(Binary::from(Vec::from(message.body))))
        .build()
}

pub(super) fn incoming(message: Any) -> Result<Incoming> {
    let annotations = message.message_annotations.as_ref();
    Ok(Incoming {
        number: annotation(annotations, NUMBER)?,
        sequence: annotation(annotations, SEQUENCE)?,
        deliveries: message.header.map_or(0, |header| header.delivery_count),
        body: match message.body {
            // In one section, as we write it. What has more, or is no bytes, is somebody else's.
            Body::Data(sections) if sections.len() == 1 => {
                let data = sections.into_iter().next();
                data.map_or_else(Bytes::new, |data| data.0.into_vec().into())
            }
            _ => Bytes::new(),
        },
    })
}

/// A message that is the content of another one.
pub(super) fn peeked(encoded: &[u8]) -> Result<Incoming> {
    let message: Deserializable<Any> =
        serde_amqp::from_slice(encoded).map_err(|error| nonsense(&error.to_string()))?;
    incoming(message.0)
}

fn annotation(annotations: Option<&MessageAnnotations>, name: &str) -> Result<i64> {
    let value = annotations.and_then(|map| map.0.get(&name as &dyn AnnotationKey));
    match value {
        Some(Value::Long(number)) => Ok(*number),
        _ => Err(nonsense(&format!("a message has no {name}"))),
    }
}

pub(super) fn nonsense(what: &str) -> Error {
    Error::new(ErrorKind::Broker, format!("servicebus: {what}"))
}
