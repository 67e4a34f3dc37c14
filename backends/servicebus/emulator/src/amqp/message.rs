//! Messages on the wire: cut into sections on the way in, put together on the way out.

use std::{collections::BTreeMap, time::Duration};

use bytes::{BufMut, Bytes};
use serde_amqp::{
    Value,
    described::Described,
    descriptor::Descriptor,
    primitives::{OrderedMap, Symbol, Timestamp, Uuid},
    to_vec,
};

use crate::{
    clock::Moment,
    entity::{Content, Delivery, LockToken, Message, Property, System},
};

use super::{
    performative::{decode, text},
    shape::{self, Malformed},
};

/// The message format of a batch: every data section is a message of its own.
pub(crate) const BATCH_FORMAT: u32 = 0x8001_3700;

const HEADER: u64 = 0x70;
const DELIVERY_ANNOTATIONS: u64 = 0x71;
const MESSAGE_ANNOTATIONS: u64 = 0x72;
const PROPERTIES: u64 = 0x73;
pub(crate) const APPLICATION_PROPERTIES: u64 = 0x74;
pub(crate) const DATA: u64 = 0x75;
pub(crate) const AMQP_VALUE: u64 = 0x77;
const FOOTER: u64 = 0x78;

const SCHEDULED: &str = "x-opt-scheduled-enqueue-time";

/// Reads the messages of one transfer: one, or all those of a batch.
pub(crate) fn read(payload: &Bytes, format: u32) -> Result<Vec<Message>, Malformed> {
    let message = read_one(payload)?;
    if format != BATCH_FORMAT {
        return Ok(vec![message]);
    }
    let mut messages = Vec::new();
    for (_, section) in sections(&message.content.body)? {
        messages.push(read_one(&data(&section)?)?);
    }
    if messages.is_empty() {
        return Err(Malformed("a batch has no message"));
    }
    Ok(messages)
}

/// Reads one message.
pub(crate) fn read_one(payload: &Bytes) -> Result<Message, Malformed> {
    let mut message = Message::default();
    let content = &mut message.content;
    let mut body = (0, 0);
    let mut at = 0;
    for (code, section) in sections(payload)? {
        let length = section.len();
        match code {
            HEADER => {
                let fields = list(&section)?;
                content.durable = matches!(fields.first(), Some(Value::Bool(true)));
                content.priority = match fields.get(1) {
                    Some(Value::Ubyte(priority)) => *priority,
                    _ => 4,
                };
                if let Some(Value::Uint(ttl)) = fields.get(2) {
                    message.time_to_live = Some(Duration::from_millis((*ttl).into()));
                }
            }
            MESSAGE_ANNOTATIONS => {
                message.scheduled_at = match map(&section)?.get(&symbol(SCHEDULED)) {
                    Some(Value::Timestamp(at)) => Some(Moment::from_millis(at.milliseconds())),
                    _ => None,
                };
                content.annotations = section;
            }
            PROPERTIES => {
                message.system = system(&list(&section)?);
                content.properties = section;
            }
            APPLICATION_PROPERTIES => {
                message.properties = properties(&map(&section)?);
                content.application = section;
            }
            DELIVERY_ANNOTATIONS => {}
            _ => {
                if body.1 == 0 {
                    body.0 = at;
                }
                body.1 = at + length;
            }
        }
        at += length;
    }
    content.body = payload.slice(body.0..body.1);
    Ok(message)
}

/// Encodes a message for a receiver.
pub(crate) fn write(delivery: &Delivery) -> Vec<u8> {
    let content = &delivery.message.content;
    let mut output = Vec::with_capacity(content.len() + 256);
    put_header(&mut output, delivery);
    if let Some((token, _)) = &delivery.lock {
        let annotations = [(symbol("x-opt-lock-token"), Value::Uuid(Uuid::from(*token)))];
        put_map(
            &mut output,
            DELIVERY_ANNOTATIONS,
            annotations.into_iter().collect(),
        );
    }
    put_map(&mut output, MESSAGE_ANNOTATIONS, annotations(delivery));
    output.put_slice(&content.properties);
    if delivery.overrides.is_empty() {
        output.put_slice(&content.application);
    } else {
        // Reading it succeeded when the message came.
        let mut map = map(&content.application).unwrap_or_default();
        for (name, value) in &delivery.overrides {
            map.insert(Value::String(name.clone()), property_value(value));
        }
        put_map(&mut output, APPLICATION_PROPERTIES, map);
    }
    output.put_slice(&content.body);
    output
}

/// The delivery tag of a lock: its GUID in the field order of .NET, which clients take it apart by.
pub(crate) fn delivery_tag(token: &LockToken) -> [u8; 16] {
    let mut tag = *token;
    tag[..4].reverse();
    tag[4..6].reverse();
    tag[6..8].reverse();
    tag
}

/// Sections with their descriptors, in the order they stand in.
pub(crate) fn sections(payload: &Bytes) -> Result<Vec<(u64, Bytes)>, Malformed> {
    let mut sections = Vec::new();
    let mut rest = payload.clone();
    while !rest.is_empty() {
        let length = shape::length(&rest)?;
        let (code, _) = shape::descriptor(&rest).ok_or(Malformed("a section has no descriptor"))?;
        if !(HEADER..=FOOTER).contains(&code) {
            return Err(Malformed("a section is not known"));
        }
        sections.push((code, rest.split_to(length)));
    }
    Ok(sections)
}

/// The bytes in a data section.
pub(crate) fn data(section: &Bytes) -> Result<Bytes, Malformed> {
    const NO_DATA: Malformed = Malformed("a data section has no binary in it");
    let Some((DATA, begin)) = shape::descriptor(section) else {
        return Err(NO_DATA);
    };
    match section.get(begin) {
        Some(0xa0) => Ok(section.slice(begin + 2..)),
        Some(0xb0) => Ok(section.slice(begin + 5..)),
        _ => Err(NO_DATA),
    }
}

/// The value that a section describes.
pub(crate) fn value(section: &[u8]) -> Result<Value, Malformed> {
    match shape::descriptor(section) {
        Some((_, begin)) => decode(&section[begin..]),
        None => Ok(Value::Null),
    }
}

/// Adds a section with a map.
pub(crate) fn put_map(output: &mut Vec<u8>, code: u64, map: OrderedMap<Value, Value>) {
    put_described(output, code, Value::Map(map));
}

/// Adds a section.
pub(crate) fn put_described(output: &mut Vec<u8>, code: u64, value: Value) {
    let described = Value::Described(Box::new(Described {
        descriptor: Descriptor::Code(code),
        value,
    }));
    // A value can always be encoded.
    output.extend(to_vec(&described).expect("values can be encoded"));
}

/// A symbol, as annotations have for keys.
pub(crate) fn symbol(name: &str) -> Value {
    Value::Symbol(Symbol::from(name))
}

/// A moment as a value.
pub(crate) fn timestamp(at: Moment) -> Value {
    Value::Timestamp(Timestamp::from_milliseconds(at.millis()))
}

/// A number as a value.
pub(crate) fn long(number: u64) -> Value {
    Value::Long(i64::try_from(number).unwrap_or(i64::MAX))
}

/// The map of a section with application properties or annotations; nothing from no section.
pub(crate) fn map(section: &[u8]) -> Result<OrderedMap<Value, Value>, Malformed> {
    match value(section)? {
        Value::Map(map) => Ok(map),
        Value::Null => Ok(OrderedMap::new()),
        _ => Err(Malformed("a section has no map in it")),
    }
}

/// A value as rules see it. What they cannot compare is null to them.
pub(crate) fn property(value: &Value) -> Property {
    match value {
        Value::Bool(value) => Property::Bool(*value),
        Value::Ubyte(value) => Property::Int((*value).into()),
        Value::Ushort(value) => Property::Int((*value).into()),
        Value::Uint(value) => Property::Int((*value).into()),
        Value::Ulong(value) => Property::Int(i64::try_from(*value).unwrap_or(i64::MAX)),
        Value::Byte(value) => Property::Int((*value).into()),
        Value::Short(value) => Property::Int((*value).into()),
        Value::Int(value) => Property::Int((*value).into()),
        Value::Long(value) => Property::Int(*value),
        Value::Float(value) => Property::Float(value.0.into()),
        Value::Double(value) => Property::Float(value.0),
        Value::String(text) => Property::Text(text.clone()),
        Value::Symbol(symbol) => Property::Text(symbol.as_str().into()),
        Value::Char(c) => Property::Text(c.to_string()),
        Value::Binary(bytes) => Property::Binary(bytes.to_vec()),
        Value::Timestamp(at) => Property::Time(Moment::from_millis(at.milliseconds())),
        Value::Uuid(uuid) => Property::Uuid(*uuid.as_inner()),
        _ => Property::Null,
    }
}

/// A property as a value.
pub(crate) fn property_value(property: &Property) -> Value {
    match property {
        Property::Null => Value::Null,
        Property::Bool(value) => Value::Bool(*value),
        Property::Int(value) => Value::Long(*value),
        Property::Float(value) => Value::Double((*value).into()),
        Property::Text(text) => Value::String(text.clone()),
        Property::Binary(bytes) => Value::Binary(bytes.clone().into()),
        Property::Time(at) => timestamp(*at),
        Property::Uuid(bytes) => Value::Uuid(Uuid::from(*bytes)),
    }
}

/// Properties by name, from a map.
pub(crate) fn properties(map: &OrderedMap<Value, Value>) -> BTreeMap<String, Property> {
    let named = |(name, value): (&Value, &Value)| Some((text(name)?.to_owned(), property(value)));
    map.iter().filter_map(named).collect()
}

/// The header is written by hand: the delivery count must stand there even if it is zero, which encoders leave out
/// and the SDKs then stumble over.
fn put_header(output: &mut Vec<u8>, delivery: &Delivery) {
    let content = &delivery.message.content;
    let ttl = delivery.message.time_to_live;
    let durable = if content.durable { 0x41 } else { 0x42 };
    output.put_slice(&[0x00, 0x53, 0x70, 0xd0]);
    let size: u32 = 4 + 1 + 2 + if ttl.is_some() { 5 } else { 1 } + 1 + 5;
    output.put_u32(size);
    output.put_u32(5);
    output.put_slice(&[durable, 0x50, content.priority]);
    match ttl {
        Some(ttl) => {
            output.put_u8(0x70);
            output.put_u32(u32::try_from(ttl.as_millis()).unwrap_or(u32::MAX));
        }
        None => output.put_u8(0x40),
    }
    output.put_slice(&[0x42, 0x70]);
    output.put_u32(delivery.delivery_count);
}

/// The sender's annotations, and those of the broker over them.
fn annotations(delivery: &Delivery) -> OrderedMap<Value, Value> {
    // Reading it succeeded when the message came.
    let mut map = map(&delivery.message.content.annotations).unwrap_or_default();
    map.insert(symbol("x-opt-sequence-number"), long(delivery.sequence));
    map.insert(
        symbol("x-opt-enqueue-sequence-number"),
        long(delivery.enqueue_number),
    );
    map.insert(
        symbol("x-opt-enqueued-time"),
        timestamp(delivery.enqueued_at),
    );
    if let Some((_, until)) = delivery.lock {
        map.insert(symbol("x-opt-locked-until"), timestamp(until));
    }
    map.insert(
        symbol("x-opt-message-state"),
        Value::Int(delivery.state as i32),
    );
    map
}

fn list(section: &[u8]) -> Result<Vec<Value>, Malformed> {
    match value(section)? {
        Value::List(fields) => Ok(fields),
        _ => Err(Malformed("a section has no list in it")),
    }
}

fn system(fields: &[Value]) -> System {
    let field = |index: usize| match fields.get(index) {
        Some(Value::Ulong(id)) => Some(id.to_string()),
        Some(Value::Uuid(id)) => Some(format!("{:032x}", u128::from_be_bytes(*id.as_inner()))),
        Some(Value::Binary(id)) => Some(id.iter().map(|byte| format!("{byte:02x}")).collect()),
        Some(value) => text(value).map(str::to_owned),
        None => None,
    };
    System {
        message_id: field(0),
        to: field(2),
        label: field(3),
        reply_to: field(4),
        correlation_id: field(5),
        content_type: field(6),
        session_id: field(10),
        reply_to_session_id: field(12),
    }
}

/// The body as bytes, for those who know nothing else: data, or the text of a value. Nothing if it is
/// something else.
pub(crate) fn body_bytes(content: &Content) -> Option<Bytes> {
    let mut whole = Vec::new();
    for (code, section) in sections(&content.body).ok()? {
        match code {
            DATA => whole.extend_from_slice(&data(&section).ok()?),
            AMQP_VALUE => match value(&section).ok()? {
                Value::Binary(bytes) => whole.extend_from_slice(&bytes),
                value => whole.extend_from_slice(text(&value)?.as_bytes()),
            },
            FOOTER => {}
            _ => return None,
        }
    }
    Some(whole.into())
}

/// The sections of a message that came over HTTP.
pub(crate) fn content(
    system: &System,
    properties: &BTreeMap<String, Property>,
    body: &[u8],
) -> Content {
    let string = |text: &Option<String>| text.clone().map_or(Value::Null, Value::String);
    let mut fields = vec![Value::Null; 13];
    fields[0] = string(&system.message_id);
    fields[2] = string(&system.to);
    fields[3] = string(&system.label);
    fields[4] = string(&system.reply_to);
    fields[5] = string(&system.correlation_id);
    fields[6] = system.content_type.as_deref().map_or(Value::Null, symbol);
    fields[10] = string(&system.session_id);
    fields[12] = string(&system.reply_to_session_id);
    let (mut encoded, mut application, mut data) = (Vec::new(), Vec::new(), Vec::new());
    put_described(&mut encoded, PROPERTIES, Value::List(fields));
    if !properties.is_empty() {
        let named = |(name, value): (&String, &Property)| {
            (Value::String(name.clone()), property_value(value))
        };
        put_map(
            &mut application,
            APPLICATION_PROPERTIES,
            properties.iter().map(named).collect(),
        );
    }
    put_described(&mut data, DATA, Value::Binary(body.to_vec().into()));
    Content {
        durable: false,
        priority: 4,
        annotations: Bytes::new(),
        properties: encoded.into(),
        application: application.into(),
        body: data.into(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use crate::entity::MessageState;

    use super::*;

    fn delivered(message: Message) -> Delivery {
        Delivery {
            sequence: 5,
            enqueue_number: 9,
            enqueued_at: Moment::from_millis(1_000),
            delivery_count: 0,
            lock: Some(([1; 16], Moment::from_millis(2_000))),
            state: MessageState::Active,
            overrides: vec![("DeadLetterReason".into(), "bad".into())],
            message: Arc::new(message),
        }
    }

    #[test]
    fn what_is_written_reads_as_it_was() {
        let system = System {
            message_id: Some("id".into()),
            label: Some("label".into()),
            reply_to_session_id: Some("session".into()),
            ..System::default()
        };
        let properties = BTreeMap::from([("size".to_owned(), Property::Int(3))]);
        let message = Message {
            content: content(&system, &properties, b"body"),
            system,
            properties,
            time_to_live: Some(Duration::from_secs(7)),
            scheduled_at: None,
        };
        let read = read_one(&write(&delivered(message.clone())).into()).unwrap();
        assert_eq!(read.system, message.system);
        assert_eq!(read.time_to_live, message.time_to_live);
        assert_eq!(read.properties["size"], Property::Int(3));
        assert_eq!(read.properties["DeadLetterReason"], Property::from("bad"));
        assert_eq!(data(&read.content.body).unwrap(), "body");
    }

    #[test]
    fn a_batch_is_many_messages() {
        let mut batch = Vec::new();
        for body in ["a", "b"] {
            let mut one = Vec::new();
            put_described(&mut one, AMQP_VALUE, Value::String(body.into()));
            put_described(&mut batch, DATA, Value::Binary(one.into()));
        }
        assert_eq!(read(&batch.into(), BATCH_FORMAT).unwrap().len(), 2);
        assert!(read(&Bytes::new(), BATCH_FORMAT).is_err());
    }

    #[test]
    fn a_delivery_tag_has_the_order_of_a_guid_of_dotnet() {
        let tag = delivery_tag(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]);
        assert_eq!(tag, [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15]);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(
            bytes: Vec<u8>, code in 0x70_u8..0x79, inner: Vec<u8>, batch: bool,
        ) {
            let mut section = vec![0x00, 0x53, code];
            section.extend(inner);
            for payload in [bytes, section] {
                let format = if batch { BATCH_FORMAT } else { 0 };
                for message in read(&payload.into(), format).into_iter().flatten() {
                    write(&delivered(message));
                }
            }
        }
    }
}
