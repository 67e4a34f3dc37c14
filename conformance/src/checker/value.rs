use std::fmt;

use bytes::Bytes;

/// What a recorded publish carries: unique in the run, and in the broker's whole life.
///
/// As a payload it is text, `<run>/<publisher>/<counter>` in hexadecimal, followed by spaces up to
/// the size wanted, so that a failing run can be read with the broker's own tools.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Value {
    /// The run.
    pub run: u64,
    /// The publisher within the run.
    pub publisher: u32,
    /// Which publish of that publisher, from 0.
    pub counter: u64,
}

impl Value {
    /// The payload, at least `size` bytes long.
    pub fn to_payload(self, size: usize) -> Bytes {
        format!("{:<size$}", self.to_string()).into()
    }

    /// Reads a payload; `None` if it is not one.
    pub fn from_payload(payload: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(payload).ok()?.trim_end_matches(' ');
        let mut parts = text.split('/');
        let value = Self {
            run: u64::from_str_radix(parts.next()?, 16).ok()?,
            publisher: u32::from_str_radix(parts.next()?, 16).ok()?,
            counter: u64::from_str_radix(parts.next()?, 16).ok()?,
        };
        // Only the one way to write it counts: a cut or altered payload must not pass for another.
        (value.to_string() == text).then_some(value)
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:016x}/{:x}/{:x}",
            self.run, self.publisher, self.counter
        )
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}/{:x}", self.publisher, self.counter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_comes_back_whatever_its_size() {
        let value = Value {
            run: 7,
            publisher: 0xab,
            counter: 1_000_000,
        };
        for size in [0, 1, 24, 200, 5_000] {
            let payload = value.to_payload(size);
            assert!(payload.len() >= size);
            assert_eq!(Value::from_payload(&payload), Some(value));
        }
    }

    #[test]
    fn what_was_cut_or_altered_is_not_a_value() {
        for bad in [
            "",
            "x",
            "1/2/3",
            "0000000000000007/ab/",
            "0000000000000007/AB/1",
            "0000000000000007/ab/1/2",
        ] {
            assert_eq!(Value::from_payload(bad.as_bytes()), None, "{bad}");
        }
    }
}
