//! Finds where an encoded AMQP value ends, without building it.
//!
//! It serves two ends. Sections of a message are cut apart and passed on as they came. And what a peer sends is
//! measured before the decoder sees it: depth, sizes and counts that would exhaust stack or memory stop here.

use std::fmt;

/// How deep values may be nested. Clients need about six.
const MAX_DEPTH: usize = 32;

/// Elements that one list, map or array may have.
const MAX_ELEMENTS: u64 = 65_536;

/// The value's encoding is not valid, or not reasonable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed(pub(crate) &'static str);

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for Malformed {}

/// Bytes that the value at the beginning takes.
pub(crate) fn length(bytes: &[u8]) -> Result<usize, Malformed> {
    let mut walker = Walker { bytes, at: 0 };
    walker.value(0)?;
    Ok(walker.at)
}

/// If a described value with a numeric descriptor stands at the beginning, the descriptor and where the
/// described value begins.
pub(crate) fn descriptor(bytes: &[u8]) -> Option<(u64, usize)> {
    match *bytes {
        [0, 0x53, code, ..] => Some((code.into(), 3)),
        [0, 0x44, ..] => Some((0, 2)),
        [0, 0x80, a, b, c, d, e, f, g, h, ..] => {
            Some((u64::from_be_bytes([a, b, c, d, e, f, g, h]), 10))
        }
        _ => None,
    }
}

struct Walker<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Walker<'_> {
    fn value(&mut self, depth: usize) -> Result<(), Malformed> {
        let code = self.byte()?;
        self.content(code, depth)
    }

    fn content(&mut self, code: u8, depth: usize) -> Result<(), Malformed> {
        if depth > MAX_DEPTH {
            return Err(Malformed("a value is nested too deep"));
        }
        match code {
            0x00 => {
                self.value(depth + 1)?;
                self.value(depth + 1)
            }
            0x40..=0x45 => Ok(()),
            0x50..=0x56 => self.skip(1),
            0x60 | 0x61 => self.skip(2),
            0x70..=0x74 => self.skip(4),
            0x80..=0x84 => self.skip(8),
            0x94 | 0x98 => self.skip(16),
            0xa0 | 0xa1 | 0xa3 => {
                let size = self.number(1)?;
                self.skip(size)
            }
            0xb0 | 0xb1 | 0xb3 => {
                let size = self.number(4)?;
                self.skip(size)
            }
            0xc0 | 0xc1 => self.compound(1, depth),
            0xd0 | 0xd1 => self.compound(4, depth),
            0xe0 => self.array(1, depth),
            0xf0 => self.array(4, depth),
            _ => Err(Malformed("a format code is not known")),
        }
    }

    fn compound(&mut self, width: usize, depth: usize) -> Result<(), Malformed> {
        let (end, count) = self.sized(width)?;
        for _ in 0..count {
            self.value(depth + 1)?;
        }
        self.must_be_at(end)
    }

    fn array(&mut self, width: usize, depth: usize) -> Result<(), Malformed> {
        let (end, count) = self.sized(width)?;
        let mut code = self.byte()?;
        // The elements of an array may be described, all by the one descriptor.
        let mut nested = depth + 1;
        while code == 0 {
            self.value(nested)?;
            nested += 1;
            code = self.byte()?;
            if nested > MAX_DEPTH {
                return Err(Malformed("a value is nested too deep"));
            }
        }
        for _ in 0..count {
            self.content(code, nested)?;
        }
        self.must_be_at(end)
    }

    /// The end and the number of elements of a list, map or array.
    fn sized(&mut self, width: usize) -> Result<(usize, u64), Malformed> {
        let size = self.number(width)?;
        let end = self
            .at
            .checked_add(size)
            .filter(|end| *end <= self.bytes.len());
        let end = end.ok_or(Malformed("a value ends too early"))?;
        let count = self.number(width)? as u64;
        if count > MAX_ELEMENTS {
            return Err(Malformed("a value has too many elements"));
        }
        Ok((end, count))
    }

    fn must_be_at(&self, end: usize) -> Result<(), Malformed> {
        if self.at == end {
            return Ok(());
        }
        Err(Malformed("a value has another size than it says"))
    }

    fn number(&mut self, width: usize) -> Result<usize, Malformed> {
        let mut number = 0;
        for _ in 0..width {
            number = number << 8 | usize::from(self.byte()?);
        }
        Ok(number)
    }

    fn byte(&mut self) -> Result<u8, Malformed> {
        let byte = self
            .bytes
            .get(self.at)
            .ok_or(Malformed("a value ends too early"))?;
        self.at += 1;
        Ok(*byte)
    }

    fn skip(&mut self, count: usize) -> Result<(), Malformed> {
        let at = self
            .at
            .checked_add(count)
            .filter(|at| *at <= self.bytes.len());
        self.at = at.ok_or(Malformed("a value ends too early"))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_amqp::{Value, from_slice, to_vec};

    use super::*;

    #[test]
    fn deep_nesting_and_absurd_counts_are_malformed() {
        let mut deep = vec![];
        for _ in 0..1_000 {
            deep.extend_from_slice(&[0x00, 0x40]);
        }
        assert!(length(&deep).is_err());
        assert!(length(&[0xd0, 0, 0, 0, 4, 0xff, 0xff, 0xff, 0xff]).is_err());
        assert!(length(&[0xf0, 0, 0, 0, 5, 0xff, 0xff, 0xff, 0xff, 0x40]).is_err());
        assert!(length(&[0xb0, 0xff, 0xff, 0xff, 0xff]).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_or_the_decoder_after_it_panic(bytes: Vec<u8>) {
            if let Ok(length) = length(&bytes) {
                prop_assert!(length <= bytes.len());
                let _ = from_slice::<Value>(&bytes[..length]);
            }
        }

        #[test]
        fn it_agrees_with_the_encoder(
            map: std::collections::BTreeMap<String, i64>, list: Vec<u32>, bytes: Vec<u8>,
        ) {
            for encoded in [to_vec(&map), to_vec(&list), to_vec(&serde_bytes_of(bytes))] {
                let mut encoded = encoded.unwrap();
                let expected = encoded.len();
                encoded.extend_from_slice(b"rest");
                prop_assert_eq!(length(&encoded), Ok(expected));
            }
        }
    }

    fn serde_bytes_of(bytes: Vec<u8>) -> Value {
        Value::Binary(serde_amqp::primitives::Binary::from(bytes))
    }
}
