//! Performatives as clients really send them.
//!
//! Where clients stray from the specification (error maps with string keys where symbols are due, filters that no
//! type describes), the field is kept as it came instead of being typed. It is echoed that way, too.

use bytes::Bytes;
use fe2o3_amqp_types::{
    definitions::{Error, ErrorCondition, Handle, ReceiverSettleMode, Role, SenderSettleMode},
    performatives::{Begin, Flow, Open, Transfer},
};
use serde::de::DeserializeOwned;
use serde_amqp::{
    DeserializeComposite, SerializeComposite, Value, described::Described, from_slice,
    primitives::Symbol,
};

use super::shape::{self, Malformed};

#[derive(Clone, Debug, DeserializeComposite, SerializeComposite)]
#[amqp_contract(
    name = "amqp:attach:list",
    code = "0x0000_0000:0x0000_0012",
    encoding = "list",
    rename_all = "kebab-case"
)]
pub(crate) struct Attach {
    pub(crate) name: String,
    pub(crate) handle: Handle,
    pub(crate) role: Role,
    #[amqp_contract(default)]
    pub(crate) snd_settle_mode: SenderSettleMode,
    #[amqp_contract(default)]
    pub(crate) rcv_settle_mode: ReceiverSettleMode,
    pub(crate) source: Option<Value>,
    pub(crate) target: Option<Value>,
    pub(crate) unsettled: Option<Value>,
    pub(crate) incomplete_unsettled: Option<Value>,
    pub(crate) initial_delivery_count: Option<u32>,
    pub(crate) max_message_size: Option<u64>,
    pub(crate) offered_capabilities: Option<Value>,
    pub(crate) desired_capabilities: Option<Value>,
    pub(crate) properties: Option<Value>,
}

#[derive(Clone, Debug, DeserializeComposite, SerializeComposite)]
#[amqp_contract(
    name = "amqp:disposition:list",
    code = "0x0000_0000:0x0000_0015",
    encoding = "list",
    rename_all = "kebab-case"
)]
pub(crate) struct Disposition {
    pub(crate) role: Role,
    pub(crate) first: u32,
    pub(crate) last: Option<u32>,
    #[amqp_contract(default)]
    pub(crate) settled: bool,
    pub(crate) state: Option<Value>,
    #[amqp_contract(default)]
    pub(crate) batchable: bool,
}

#[derive(Clone, Debug, DeserializeComposite)]
#[amqp_contract(
    name = "amqp:detach:list",
    code = "0x0000_0000:0x0000_0016",
    encoding = "list",
    rename_all = "kebab-case"
)]
pub(crate) struct Detach {
    pub(crate) handle: Handle,
    #[amqp_contract(default)]
    pub(crate) closed: bool,
}

/// What a frame says.
#[derive(Clone, Debug)]
pub(crate) enum Performative {
    Open(Box<Open>),
    Begin(Box<Begin>),
    Attach(Box<Attach>),
    Flow(Box<Flow>),
    /// With its part of the message.
    Transfer(Box<Transfer>, Bytes),
    Disposition(Disposition),
    Detach(Detach),
    End,
    Close,
}

impl Performative {
    /// Reads a frame's body.
    pub(crate) fn read(body: &Bytes) -> Result<Self, Malformed> {
        let length = shape::length(body)?;
        let (code, _) = shape::descriptor(body).ok_or(Malformed("a frame has no performative"))?;
        let bytes = &body[..length];
        Ok(match code {
            0x10 => Self::Open(decode(bytes)?),
            0x11 => Self::Begin(decode(bytes)?),
            0x12 => Self::Attach(decode(bytes)?),
            0x13 => Self::Flow(decode(bytes)?),
            0x14 => Self::Transfer(decode(bytes)?, body.slice(length..)),
            0x15 => Self::Disposition(decode(bytes)?),
            0x16 => Self::Detach(decode(bytes)?),
            0x17 => Self::End,
            0x18 => Self::Close,
            _ => return Err(Malformed("a performative is not known")),
        })
    }
}

/// Decodes what `shape::length` has measured.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Malformed> {
    from_slice(bytes).map_err(|_| Malformed("a value is not what it should be"))
}

/// An error with a condition of any name. Its map stands there even though it is empty: the Python SDK looks for
/// all three fields, and encoders leave out those at the end that are null.
pub(crate) fn error(condition: &str, description: impl Into<String>) -> Error {
    let condition = ErrorCondition::Custom(Symbol::from(condition));
    Error {
        condition,
        description: Some(description.into()),
        info: Some(Box::default()),
    }
}

/// The descriptor's code and the fields of a described list such as a source or a delivery state.
pub(crate) fn described(value: &Value) -> Option<(u64, &[Value])> {
    let Value::Described(described) = value else {
        return None;
    };
    let Described { descriptor, value } = described.as_ref();
    let code = match descriptor {
        serde_amqp::descriptor::Descriptor::Code(code) => *code,
        serde_amqp::descriptor::Descriptor::Name(name) => match name.as_str() {
            "amqp:accepted:list" => 0x24,
            "amqp:rejected:list" => 0x25,
            "amqp:released:list" => 0x26,
            "amqp:modified:list" => 0x27,
            "amqp:source:list" => 0x28,
            "amqp:target:list" => 0x29,
            _ => return None,
        },
    };
    match value {
        Value::List(fields) => Some((code, fields)),
        _ => None,
    }
}

/// A described list.
pub(crate) fn describe(code: u64, fields: Vec<Value>) -> Value {
    Value::Described(Box::new(Described {
        descriptor: serde_amqp::descriptor::Descriptor::Code(code),
        value: Value::List(fields),
    }))
}

/// Text of a string or symbol.
pub(crate) fn text(value: &Value) -> Option<&str> {
    match value {
        Value::String(text) => Some(text),
        Value::Symbol(symbol) => Some(symbol.as_str()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_amqp::{primitives::OrderedMap, to_vec};

    use super::*;

    #[test]
    fn an_attach_survives_with_its_source_as_it_came() {
        let source = describe(0x28, vec![Value::String("queue".into()), Value::Null]);
        let attach = Attach {
            name: "link".into(),
            handle: Handle(3),
            role: Role::Receiver,
            snd_settle_mode: SenderSettleMode::Unsettled,
            rcv_settle_mode: ReceiverSettleMode::Second,
            source: Some(source.clone()),
            target: None,
            unsettled: None,
            incomplete_unsettled: None,
            initial_delivery_count: Some(0),
            max_message_size: Some(262_144),
            offered_capabilities: None,
            desired_capabilities: None,
            properties: None,
        };
        let bytes = Bytes::from(to_vec(&attach).unwrap());
        let Ok(Performative::Attach(read)) = Performative::read(&bytes) else {
            panic!("not an attach");
        };
        assert_eq!(read.source, Some(source));
        assert_eq!(read.target, None);
        assert_eq!(read.max_message_size, Some(262_144));
    }

    #[test]
    fn an_error_map_with_string_keys_is_read() {
        let info = OrderedMap::from_iter([(
            Value::String("DeadLetterReason".into()),
            Value::String("bad".into()),
        )]);
        let error = describe(
            0x1d,
            vec![Value::Symbol("x".into()), Value::Null, Value::Map(info)],
        );
        let disposition = Disposition {
            role: Role::Receiver,
            first: 1,
            last: None,
            settled: false,
            state: Some(describe(0x25, vec![error.clone()])),
            batchable: false,
        };
        let bytes = Bytes::from(to_vec(&disposition).unwrap());
        let Ok(Performative::Disposition(read)) = Performative::read(&bytes) else {
            panic!("not a disposition");
        };
        let state = read.state.unwrap();
        assert_eq!(described(&state), Some((0x25, &[error][..])));
    }
}
