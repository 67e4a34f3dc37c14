//! The MessagePack protocol: a length in base 128, then one array per message.
//!
//! As tolerant as the .NET server: integers of any width, further elements at an array's end ignored.
//! Values that belong to the application stay as they came until their type is known.

mod read;

use bytes::{BufMut, Bytes, BytesMut};
use rmp::encode;

use self::read::Reader;
use super::{Invocation, Message, Outcome, ProtocolError, Value, varint::put_varint};

pub(super) const PING: Bytes = Bytes::from_static(b"\x02\x91\x06");

const ERROR: u8 = 1;
const VOID: u8 = 2;
const RESULT: u8 = 3;

/// Reads the array of one message; `None` if its type is not known.
pub(super) fn decode(body: &Bytes) -> Result<Option<Message>, ProtocolError> {
    let mut reader = Reader::new(body);
    let length = reader.array("message")?;
    Ok(Some(match reader.integer("messageType")? {
        kind @ (1 | 4) => {
            let streaming = kind == 4;
            reader.headers()?;
            let id = reader
                .text_or_nil("invocationId")?
                .filter(|id| !id.is_empty());
            if streaming && id.is_none() {
                return Err(missing_id("StreamInvocation"));
            }
            let target = reader.text("target")?;
            if target.is_empty() {
                return Err(ProtocolError(
                    "Null or empty target for Invocation message.".into(),
                ));
            }
            let count = reader.array("arguments")?;
            // No room is reserved for what a count claims: each value takes at least a byte.
            let arguments = (0..count)
                .map(|_| reader.value())
                .collect::<Result<_, _>>()?;
            let stream_ids = if length > 5 {
                let count = reader.array("streamIds")?;
                (0..count)
                    .map(|_| reader.text("streamIds"))
                    .collect::<Result<_, _>>()?
            } else {
                Vec::new()
            };
            Message::Invocation(Invocation {
                id,
                target,
                arguments,
                stream_ids,
                streaming,
            })
        }
        2 => {
            reader.headers()?;
            Message::StreamItem {
                id: id(&mut reader, "StreamItem")?,
                item: reader.value()?,
            }
        }
        3 => {
            reader.headers()?;
            let id = id(&mut reader, "Completion")?;
            let outcome = match u8::try_from(reader.integer("resultKind")?) {
                Ok(ERROR) => Outcome::Error(reader.text("error")?),
                Ok(VOID) => Outcome::Nothing,
                Ok(RESULT) => Outcome::Value(reader.value()?),
                _ => return Err(ProtocolError("Invalid invocation result kind.".into())),
            };
            Message::Completion { id, outcome }
        }
        5 => {
            reader.headers()?;
            Message::CancelInvocation {
                id: id(&mut reader, "CancelInvocation")?,
            }
        }
        6 => Message::Ping,
        7 => Message::Close {
            error: reader.text_or_nil("error")?,
            allow_reconnect: length > 2 && reader.skip()?[..] == [TRUE],
        },
        8 => Message::Ack {
            sequence_id: reader.sequence()?,
        },
        9 => Message::Sequence {
            sequence_id: reader.sequence()?,
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
    frame(6, if streaming { 4 } else { 1 }, |out| {
        put_no_headers(out);
        match id {
            Some(id) => put_text(out, id),
            None => out.put_u8(NIL),
        }
        put_text(out, target);
        out.put_slice(arguments);
        put_array(out, length(stream_ids.len()));
        for id in stream_ids {
            put_text(out, id);
        }
    })
}

pub(super) fn stream_item(id: &str, item: &[u8]) -> Bytes {
    frame(4, 2, |out| {
        put_no_headers(out);
        put_text(out, id);
        out.put_slice(item);
    })
}

pub(super) fn completion(id: &str, outcome: &Outcome) -> Bytes {
    let elements = if *outcome == Outcome::Nothing { 4 } else { 5 };
    frame(elements, 3, |out| {
        put_no_headers(out);
        put_text(out, id);
        match outcome {
            Outcome::Value(value) => {
                out.put_u8(RESULT);
                out.put_slice(value.as_bytes());
            }
            Outcome::Error(error) => {
                out.put_u8(ERROR);
                put_text(out, error);
            }
            Outcome::Nothing => out.put_u8(VOID),
        }
    })
}

pub(super) fn cancel(id: &str) -> Bytes {
    frame(3, 5, |out| {
        put_no_headers(out);
        put_text(out, id);
    })
}

pub(super) fn close(error: Option<&str>, allow_reconnect: bool) -> Bytes {
    frame(3, 7, |out| {
        match error {
            Some(error) => put_text(out, error),
            None => out.put_u8(NIL),
        }
        out.put_u8(if allow_reconnect { TRUE } else { FALSE });
    })
}

/// An acknowledgment (8) or the announcement of a sequence (9).
pub(super) fn numbered(kind: u8, sequence: u64) -> Bytes {
    frame(2, kind, |out| {
        let _ = encode::write_uint(&mut out.writer(), sequence);
    })
}

/// The array of these values.
pub(super) fn array_of<'a>(values: impl ExactSizeIterator<Item = &'a [u8]>) -> Bytes {
    let mut out = BytesMut::new();
    put_array(&mut out, length(values.len()));
    for value in values {
        out.put_slice(value);
    }
    out.freeze()
}

/// The array of arguments with one more at its end. What is not an array stays as it is.
pub(super) fn with_argument(arguments: &[u8], last: &[u8]) -> Bytes {
    let mut rest = arguments;
    let Ok(length) = rmp::decode::read_array_len(&mut rest) else {
        return Bytes::copy_from_slice(arguments);
    };
    let mut out = BytesMut::with_capacity(arguments.len() + last.len() + 4);
    put_array(&mut out, length.saturating_add(1));
    out.put_slice(rest);
    out.put_slice(last);
    out.freeze()
}

const NIL: u8 = 0xc0;
const FALSE: u8 = 0xc2;
const TRUE: u8 = 0xc3;

// Writing into memory cannot fail, which is why the results below are dropped.

fn frame(elements: u32, kind: u8, write: impl FnOnce(&mut BytesMut)) -> Bytes {
    let mut body = BytesMut::new();
    put_array(&mut body, elements);
    body.put_u8(kind);
    write(&mut body);
    let mut out = BytesMut::with_capacity(body.len() + 5);
    put_varint(&mut out, body.len());
    out.put_slice(&body);
    out.freeze()
}

/// What has more elements than this was never in memory.
fn length(elements: usize) -> u32 {
    u32::try_from(elements).unwrap_or(u32::MAX)
}

fn put_array(out: &mut BytesMut, length: u32) {
    let _ = encode::write_array_len(&mut out.writer(), length);
}

fn put_text(out: &mut BytesMut, text: &str) {
    let _ = encode::write_str(&mut out.writer(), text);
}

fn put_no_headers(out: &mut BytesMut) {
    out.put_u8(0x80);
}

fn id(reader: &mut Reader<'_>, message: &str) -> Result<String, ProtocolError> {
    reader
        .text_or_nil("invocationId")?
        .filter(|id| !id.is_empty())
        .ok_or_else(|| missing_id(message))
}

fn missing_id(message: &str) -> ProtocolError {
    ProtocolError(format!(
        "Null or empty invocation ID for {message} message."
    ))
}

impl Reader<'_> {
    fn value(&mut self) -> Result<Value, ProtocolError> {
        self.skip().map(Value::MessagePack)
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
