//! Requests and replies: messages with an operation in their properties.

use bytes::Bytes;
use serde_amqp::{Value, primitives::OrderedMap};

use super::{
    message::{self, AMQP_VALUE, APPLICATION_PROPERTIES, DATA},
    performative::text,
    shape::Malformed,
};

/// A request of a client.
#[derive(Debug)]
pub(super) struct Request {
    /// What the reply refers to.
    id: Value,
    pub(super) reply_to: Option<String>,
    properties: OrderedMap<Value, Value>,
    body: Value,
}

impl Request {
    pub(super) fn read(payload: &Bytes) -> Result<Self, Malformed> {
        let mut request = Self {
            id: Value::Null,
            reply_to: None,
            properties: OrderedMap::new(),
            body: Value::Null,
        };
        for (code, section) in message::sections(payload)? {
            match code {
                0x73 => {
                    if let Value::List(fields) = message::value(&section)? {
                        request.id = fields.first().cloned().unwrap_or_default();
                        request.reply_to = fields.get(4).and_then(text).map(str::to_owned);
                    }
                }
                APPLICATION_PROPERTIES => request.properties = message::map(&section)?,
                AMQP_VALUE => request.body = message::value(&section)?,
                DATA => request.body = Value::Binary(message::data(&section)?.to_vec().into()),
                _ => {}
            }
        }
        Ok(request)
    }

    /// An application property that is text.
    pub(super) fn property(&self, name: &str) -> Option<&str> {
        self.properties
            .get(&Value::String(name.into()))
            .and_then(text)
    }

    /// The body, if it is text or bytes that are text.
    pub(super) fn body_text(&self) -> Option<&str> {
        match &self.body {
            Value::Binary(bytes) => str::from_utf8(bytes).ok(),
            body => text(body),
        }
    }

    /// A field of the body.
    pub(super) fn field(&self, name: &str) -> &Value {
        field(&self.body, name)
    }

    /// A reply with these properties, and a body if there is one.
    pub(super) fn reply(&self, properties: Vec<(&str, Value)>, body: Option<Value>) -> Bytes {
        let mut fields = vec![Value::Null; 6];
        fields[5] = self.id.clone();
        let mut output = Vec::new();
        message::put_described(&mut output, 0x73, Value::List(fields));
        let named = |(name, value): (&str, Value)| (Value::String(name.into()), value);
        let properties = properties.into_iter().map(named).collect();
        message::put_map(&mut output, APPLICATION_PROPERTIES, properties);
        message::put_described(&mut output, AMQP_VALUE, body.unwrap_or_default());
        output.into()
    }
}

/// A field of a map, whose keys are strings or symbols. Null if it is not there.
pub(super) fn field<'a>(map: &'a Value, name: &str) -> &'a Value {
    let Value::Map(map) = map else {
        return &Value::Null;
    };
    let found = map
        .get(&Value::String(name.into()))
        .or_else(|| map.get(&message::symbol(name)));
    found.unwrap_or(&Value::Null)
}

/// Elements of a list or array; a single value is one element.
pub(super) fn items(value: &Value) -> &[Value] {
    match value {
        Value::List(items) => items,
        Value::Array(items) => &items.0,
        Value::Null => &[],
        one => std::slice::from_ref(one),
    }
}

/// A whole number of whatever width.
pub(super) fn number(value: &Value) -> Option<u64> {
    match message::property(value) {
        crate::entity::Property::Int(number) => u64::try_from(number).ok(),
        _ => None,
    }
}

/// A map with string keys.
pub(super) fn map_of(fields: Vec<(&str, Value)>) -> Value {
    let named = |(name, value): (&str, Value)| (Value::String(name.into()), value);
    Value::Map(fields.into_iter().map(named).collect())
}
