//! [`Reader`]: takes a message's array apart without building anything of it.

use bytes::Bytes;
use rmp::{
    Marker,
    decode::{self, NumValueReadError},
};

use crate::hub::protocol::ProtocolError;

/// Stands somewhere in a message.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    whole: &'a Bytes,
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(body: &'a Bytes) -> Self {
        Self {
            whole: body,
            rest: body,
        }
    }

    pub(super) fn array(&mut self, name: &str) -> Result<u32, ProtocolError> {
        decode::read_array_len(&mut self.rest)
            .map_err(|_| ProtocolError(format!("Reading array length for '{name}' failed.")))
    }

    pub(super) fn integer(&mut self, name: &str) -> Result<i64, ProtocolError> {
        decode::read_int(&mut self.rest).map_err(|_: NumValueReadError<_>| failed(name, "Int32"))
    }

    pub(super) fn sequence(&mut self) -> Result<u64, ProtocolError> {
        decode::read_int(&mut self.rest)
            .map_err(|_: NumValueReadError<_>| failed("sequenceId", "Int64"))
    }

    pub(super) fn text(&mut self, name: &str) -> Result<String, ProtocolError> {
        self.text_or_nil(name)?
            .ok_or_else(|| failed(name, "String"))
    }

    pub(super) fn text_or_nil(&mut self, name: &str) -> Result<Option<String>, ProtocolError> {
        if let [0xc0, rest @ ..] = self.rest {
            self.rest = rest;
            return Ok(None);
        }
        let (text, rest) =
            decode::read_str_from_slice(self.rest).map_err(|_| failed(name, "String"))?;
        self.rest = rest;
        Ok(Some(text.to_owned()))
    }

    /// Headers are of no use to the server, but wrong ones end the connection all the same.
    pub(super) fn headers(&mut self) -> Result<(), ProtocolError> {
        let count = decode::read_map_len(&mut self.rest)
            .map_err(|_| ProtocolError("Reading map length for 'headers' failed.".into()))?;
        for _ in 0..count {
            for name in ["headers[].Key", "headers[].Value"] {
                if self.text(name)?.is_empty() {
                    return Err(failed(name, "String"));
                }
            }
        }
        Ok(())
    }

    /// Steps over one value, whatever it is, and returns it.
    pub(super) fn skip(&mut self) -> Result<Bytes, ProtocolError> {
        let start = self.rest;
        // Not recursive: a client decides how deep its values are.
        let mut remaining = 1_u64;
        while remaining > 0 {
            remaining -= 1;
            let (bytes, values) = self.head()?;
            self.rest = usize::try_from(bytes)
                .ok()
                .and_then(|bytes| self.rest.get(bytes..))
                .ok_or_else(cut)?;
            remaining += values;
        }
        let value = &start[..start.len() - self.rest.len()];
        Ok(self.whole.slice_ref(value))
    }

    /// The next value's marker: how many bytes and how many values follow it.
    fn head(&mut self) -> Result<(u64, u64), ProtocolError> {
        let marker = decode::read_marker(&mut self.rest).map_err(|_| cut())?;
        Ok(match marker {
            Marker::Null
            | Marker::True
            | Marker::False
            | Marker::FixPos(_)
            | Marker::FixNeg(_)
            | Marker::Reserved => (0, 0),
            Marker::U8 | Marker::I8 => (1, 0),
            // An extension of fixed length has its type before it.
            Marker::U16 | Marker::I16 | Marker::FixExt1 => (2, 0),
            Marker::U32 | Marker::I32 | Marker::F32 => (4, 0),
            Marker::U64 | Marker::I64 | Marker::F64 => (8, 0),
            Marker::FixStr(length) => (u64::from(length), 0),
            Marker::Str8 | Marker::Bin8 => (self.number(1)?, 0),
            Marker::Str16 | Marker::Bin16 => (self.number(2)?, 0),
            Marker::Str32 | Marker::Bin32 => (self.number(4)?, 0),
            Marker::FixExt2 => (3, 0),
            Marker::FixExt4 => (5, 0),
            Marker::FixExt8 => (9, 0),
            Marker::FixExt16 => (17, 0),
            // Behind the length comes the type.
            Marker::Ext8 => (self.number(1)? + 1, 0),
            Marker::Ext16 => (self.number(2)? + 1, 0),
            Marker::Ext32 => (self.number(4)? + 1, 0),
            Marker::FixArray(count) => (0, u64::from(count)),
            Marker::Array16 => (0, self.number(2)?),
            Marker::Array32 => (0, self.number(4)?),
            Marker::FixMap(count) => (0, 2 * u64::from(count)),
            Marker::Map16 => (0, 2 * self.number(2)?),
            Marker::Map32 => (0, 2 * self.number(4)?),
        })
    }

    fn number(&mut self, bytes: usize) -> Result<u64, ProtocolError> {
        let (number, rest) = self.rest.split_at_checked(bytes).ok_or_else(cut)?;
        self.rest = rest;
        Ok(number
            .iter()
            .fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }
}

fn failed(name: &str, kind: &str) -> ProtocolError {
    ProtocolError(format!("Reading '{name}' as {kind} failed."))
}

fn cut() -> ProtocolError {
    ProtocolError("The message ends in the middle of a value.".into())
}
