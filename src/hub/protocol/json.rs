//! The JSON protocol: one object per message, each followed by 0x1E.
//!
//! As tolerant as the .NET server: members in any order, unknown ones ignored, of repeated ones the
//! last wins. Values that belong to the application stay as they came until their type is known.

use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;

use super::{Invocation, Message, Outcome, ProtocolError, Value, buffer::RECORD_SEPARATOR};

pub(super) const PING: Bytes = Bytes::from_static(b"{\"type\":6}\x1e");

/// Reads one record; `None` if its type is not known.
pub(super) fn decode(record: &Bytes) -> Result<Option<Message>, ProtocolError> {
    let members: Members<'_> = match serde_json::from_slice(record) {
        Ok(members) => members,
        Err(error) if error.is_data() => {
            return Err(ProtocolError(format!(
                "Unexpected JSON Token Type '{}'. Expected a JSON Object.",
                token_name(record)
            )));
        }
        Err(_) => return Err(ProtocolError("Error reading JSON.".into())),
    };
    let kind = number("type", members.kind.ok_or_else(|| missing("type"))?)?;
    if (1..=5).contains(&kind) {
        check_headers(members.headers)?;
    }
    let value = |raw: &RawValue| Value::Json(record.slice_ref(raw.get().as_bytes()));
    Ok(Some(match kind {
        1 | 4 => {
            let streaming = kind == 4;
            let id =
                text_or_none("invocationId", members.invocation_id)?.filter(|id| !id.is_empty());
            if streaming && id.is_none() {
                return Err(missing("invocationId"));
            }
            let target = required("target", members.target)?;
            let arguments = array(
                "arguments",
                members.arguments.ok_or_else(|| missing("arguments"))?,
            )?;
            let stream_ids = match members.stream_ids {
                Some(raw) => array("streamIds", raw)?
                    .into_iter()
                    .map(|id| text("streamIds", id))
                    .collect::<Result<_, _>>()?,
                None => Vec::new(),
            };
            Message::Invocation(Invocation {
                id,
                target,
                arguments: arguments.into_iter().map(value).collect(),
                stream_ids,
                streaming,
            })
        }
        2 => Message::StreamItem {
            id: required("invocationId", members.invocation_id)?,
            item: value(members.item.ok_or_else(|| missing("item"))?),
        },
        3 => Message::Completion {
            id: required("invocationId", members.invocation_id)?,
            outcome: match (text_or_none("error", members.error)?, members.result) {
                (Some(_), Some(_)) => {
                    return Err(ProtocolError(
                        "The 'error' and 'result' properties are mutually exclusive.".into(),
                    ));
                }
                (Some(error), None) => Outcome::Error(error),
                (None, Some(result)) => Outcome::Value(value(result)),
                (None, None) => Outcome::Nothing,
            },
        },
        5 => Message::CancelInvocation {
            id: required("invocationId", members.invocation_id)?,
        },
        6 => Message::Ping,
        7 => Message::Close {
            error: text_or_none("error", members.error)?,
            allow_reconnect: members
                .allow_reconnect
                .is_some_and(|raw| raw.get() == "true"),
        },
        8 => Message::Ack {
            sequence_id: sequence(members.sequence_id)?,
        },
        9 => Message::Sequence {
            sequence_id: sequence(members.sequence_id)?,
        },
        _ => return Ok(None),
    }))
}

pub(super) fn invocation(id: Option<&str>, target: &str, arguments: &[u8]) -> Bytes {
    call(false, id, target, arguments, &[])
}

/// An invocation that may stream in both directions.
pub(super) fn call(
    streaming: bool,
    id: Option<&str>,
    target: &str,
    arguments: &[u8],
    stream_ids: &[String],
) -> Bytes {
    let mut out = BytesMut::with_capacity(target.len() + arguments.len() + 40);
    out.put_slice(if streaming {
        b"{\"type\":4"
    } else {
        b"{\"type\":1"
    });
    if let Some(id) = id {
        out.put_slice(b",\"invocationId\":");
        put_text(&mut out, id);
    }
    out.put_slice(b",\"target\":");
    put_text(&mut out, target);
    out.put_slice(b",\"arguments\":");
    out.put_slice(arguments);
    for (index, id) in stream_ids.iter().enumerate() {
        let before: &[u8] = if index == 0 {
            b",\"streamIds\":["
        } else {
            b","
        };
        out.put_slice(before);
        put_text(&mut out, id);
    }
    if !stream_ids.is_empty() {
        out.put_u8(b']');
    }
    end(out)
}

pub(super) fn stream_item(id: &str, item: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(id.len() + item.len() + 40);
    out.put_slice(b"{\"type\":2,\"invocationId\":");
    put_text(&mut out, id);
    out.put_slice(b",\"item\":");
    out.put_slice(item);
    end(out)
}

pub(super) fn completion(invocation_id: &str, outcome: &Outcome) -> Bytes {
    let mut out = BytesMut::new();
    out.put_slice(b"{\"type\":3,\"invocationId\":");
    put_text(&mut out, invocation_id);
    match outcome {
        Outcome::Value(value) => {
            out.put_slice(b",\"result\":");
            out.put_slice(value.as_bytes());
        }
        Outcome::Error(error) => {
            out.put_slice(b",\"error\":");
            put_text(&mut out, error);
        }
        Outcome::Nothing => {}
    }
    end(out)
}

pub(super) fn cancel(invocation_id: &str) -> Bytes {
    let mut out = BytesMut::new();
    out.put_slice(b"{\"type\":5,\"invocationId\":");
    put_text(&mut out, invocation_id);
    end(out)
}

pub(super) fn close(error: Option<&str>, allow_reconnect: bool) -> Bytes {
    let mut out = BytesMut::new();
    out.put_slice(b"{\"type\":7");
    if let Some(error) = error {
        out.put_slice(b",\"error\":");
        put_text(&mut out, error);
    }
    if allow_reconnect {
        out.put_slice(b",\"allowReconnect\":true");
    }
    end(out)
}

/// An acknowledgment (8) or the announcement of a sequence (9).
pub(super) fn numbered(kind: u8, sequence: u64) -> Bytes {
    format!("{{\"type\":{kind},\"sequenceId\":{sequence}}}\x1e").into()
}

/// The array of these values.
pub(super) fn array_of<'a>(values: impl ExactSizeIterator<Item = &'a [u8]>) -> Bytes {
    let mut out = BytesMut::new();
    out.put_u8(b'[');
    for (index, value) in values.enumerate() {
        if index > 0 {
            out.put_u8(b',');
        }
        out.put_slice(value);
    }
    out.put_u8(b']');
    out.freeze()
}

/// The array of arguments with one more at its end.
pub(super) fn with_argument(arguments: &[u8], last: &[u8]) -> Bytes {
    let open = arguments.strip_suffix(b"]").unwrap_or(arguments);
    let mut out = BytesMut::with_capacity(open.len() + last.len() + 2);
    out.put_slice(open);
    if open != b"[" {
        out.put_u8(b',');
    }
    out.put_slice(last);
    out.put_u8(b']');
    out.freeze()
}

/// Writes a JSON string. JSON has no 0x1E in it: control characters are escaped.
pub(super) fn put_text(out: &mut BytesMut, text: &str) {
    // Writing text as JSON into memory cannot fail: there is no I/O, and no map with odd keys.
    let _ = serde_json::to_writer(out.writer(), text);
}

fn end(mut out: BytesMut) -> Bytes {
    out.put_slice(&[b'}', RECORD_SEPARATOR]);
    out.freeze()
}

/// What .NET calls the first token of a record.
pub(super) fn token_name(record: &[u8]) -> &'static str {
    match record.iter().find(|b| !b.is_ascii_whitespace()) {
        Some(b'{') => "Object",
        Some(b'[') => "Array",
        Some(b'"') => "String",
        Some(b't' | b'f') => "Boolean",
        Some(b'n') => "Null",
        _ => "Number",
    }
}

/// The members of any message, each as it came.
#[derive(Default)]
struct Members<'a> {
    kind: Option<&'a RawValue>,
    headers: Option<&'a RawValue>,
    invocation_id: Option<&'a RawValue>,
    target: Option<&'a RawValue>,
    arguments: Option<&'a RawValue>,
    stream_ids: Option<&'a RawValue>,
    item: Option<&'a RawValue>,
    result: Option<&'a RawValue>,
    error: Option<&'a RawValue>,
    sequence_id: Option<&'a RawValue>,
    allow_reconnect: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "camelCase")]
enum Name {
    Type,
    Headers,
    InvocationId,
    Target,
    Arguments,
    StreamIds,
    Item,
    Result,
    Error,
    SequenceId,
    AllowReconnect,
    #[serde(other)]
    Unknown,
}

// A derived implementation would refuse repeated members.
impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MembersVisitor;

        impl<'de> Visitor<'de> for MembersVisitor {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Members::default();
                while let Some(name) = map.next_key::<Name>()? {
                    let value = Some(map.next_value::<&RawValue>()?);
                    match name {
                        Name::Type => members.kind = value,
                        Name::Headers => members.headers = value,
                        Name::InvocationId => members.invocation_id = value,
                        Name::Target => members.target = value,
                        Name::Arguments => members.arguments = value,
                        Name::StreamIds => members.stream_ids = value,
                        Name::Item => members.item = value,
                        Name::Result => members.result = value,
                        Name::Error => members.error = value,
                        Name::SequenceId => members.sequence_id = value,
                        Name::AllowReconnect => members.allow_reconnect = value,
                        Name::Unknown => {}
                    }
                }
                Ok(members)
            }
        }

        deserializer.deserialize_map(MembersVisitor)
    }
}

fn missing(name: &str) -> ProtocolError {
    ProtocolError(format!("Missing required property '{name}'."))
}

fn not_of_type(name: &str, kind: &str) -> ProtocolError {
    ProtocolError(format!("Expected '{name}' to be of type {kind}."))
}

fn text(name: &str, raw: &RawValue) -> Result<String, ProtocolError> {
    serde_json::from_str(raw.get()).map_err(|_| not_of_type(name, "String"))
}

fn text_or_none(name: &str, raw: Option<&RawValue>) -> Result<Option<String>, ProtocolError> {
    raw.map(|raw| text(name, raw)).transpose()
}

fn required(name: &str, raw: Option<&RawValue>) -> Result<String, ProtocolError> {
    text_or_none(name, raw)?
        .filter(|text| !text.is_empty())
        .ok_or_else(|| missing(name))
}

fn number(name: &str, raw: &RawValue) -> Result<i64, ProtocolError> {
    serde_json::from_str(raw.get()).map_err(|_| not_of_type(name, "Number"))
}

fn sequence(raw: Option<&RawValue>) -> Result<u64, ProtocolError> {
    let raw = raw.ok_or_else(|| missing("sequenceId"))?;
    serde_json::from_str(raw.get()).map_err(|_| not_of_type("sequenceId", "Number"))
}

fn array<'a>(name: &str, raw: &'a RawValue) -> Result<Vec<&'a RawValue>, ProtocolError> {
    serde_json::from_str(raw.get()).map_err(|_| not_of_type(name, "Array"))
}

/// Headers are of no use to the server, but wrong ones end the connection all the same.
fn check_headers(raw: Option<&RawValue>) -> Result<(), ProtocolError> {
    let Some(raw) = raw else { return Ok(()) };
    let headers: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(raw.get()).map_err(|_| not_of_type("headers", "Object"))?;
    match headers.iter().find(|(_, value)| !value.is_string()) {
        Some((name, _)) => Err(ProtocolError(format!(
            "Expected header '{name}' to be of type String."
        ))),
        None => Ok(()),
    }
}

#[cfg(test)]
#[path = "json_tests.rs"]
mod tests;
