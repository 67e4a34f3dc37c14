//! What is stored in a stream and published on a channel: a small header, then the frame.
//!
//! ```text
//! [u8; 16]  epoch
//! decimal   sequence of the first message
//! -
//! decimal   number of messages
//! space
//! the frame
//! ```
//!
//! The header begins with the log's *state* as the hash keeps it, epoch and next sequence, so that
//! the script need not format a number where the node has guessed it right.

use bytes::{Buf, Bytes};
use scaleout_core::{Epoch, Sequence, StoredFrame};

/// The epoch and the sequence that the next message will have, as the hash keeps them.
pub(crate) fn state(epoch: Epoch, next: Sequence) -> Vec<u8> {
    let mut state = Vec::with_capacity(36);
    state.extend(epoch.get().to_be_bytes());
    state.extend(next.to_string().as_bytes());
    state
}

/// Reads an epoch with the sequence after it, if there is one.
pub(crate) fn read_state(bytes: &[u8]) -> Option<(Epoch, Option<Sequence>)> {
    let (epoch, sequence) = bytes.split_first_chunk::<16>()?;
    let epoch = Epoch::new(u128::from_be_bytes(*epoch));
    if sequence.is_empty() {
        return Some((epoch, None));
    }
    Some((epoch, Some(Sequence::new(number(sequence)?))))
}

/// Takes the header off a stored or published value.
pub(crate) fn decode(value: Vec<u8>) -> Option<(Epoch, StoredFrame)> {
    // Two numbers of at most 20 digits: the space is near, or it is not a header.
    let header = value
        .iter()
        .take(16 + 42)
        .skip(16)
        .position(|&b| b == b' ')?
        + 16;
    let dash = value[16..header].iter().position(|&b| b == b'-')? + 16;
    let (epoch, first) = read_state(&value[..dash])?;
    let len = number(&value[dash + 1..header])?;
    let mut bytes = Bytes::from(value);
    bytes.advance(header + 1);
    let frame = StoredFrame {
        first: first?,
        len: u32::try_from(len).ok().filter(|&len| len > 0)?,
        bytes,
    };
    Some((epoch, frame))
}

/// Reads a stream's entry id, `<last>-<len>`: the sequences that the entry covers.
pub(crate) fn read_id(id: &[u8]) -> Option<(Sequence, u32)> {
    let dash = id.iter().position(|&b| b == b'-')?;
    let last = number(&id[..dash])?;
    let len = number(&id[dash + 1..])?;
    let first = last.checked_sub(len.checked_sub(1)?)?;
    Some((Sequence::new(first), u32::try_from(len).ok()?))
}

fn number(digits: &[u8]) -> Option<u64> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_comes_apart_into_header_and_frame() {
        let mut value = state(Epoch::new(7), Sequence::new(41));
        value.extend(b"-2 a frame");
        let (epoch, frame) = decode(value).unwrap();
        assert_eq!(epoch, Epoch::new(7));
        assert_eq!((frame.first.get(), frame.len), (41, 2));
        assert_eq!(frame.bytes, "a frame");
    }

    #[test]
    fn what_is_not_a_value_is_refused() {
        for bad in [
            "",
            "short",
            "0123456789abcdef",
            "0123456789abcdef1-0 f",
            "0123456789abcdefx-1 f",
        ] {
            assert_eq!(decode(bad.into()), None, "{bad:?}");
        }
        assert_eq!(decode(vec![b'1'; 1_000]), None);
    }

    #[test]
    fn an_entry_id_tells_what_it_covers() {
        assert_eq!(read_id(b"12-3"), Some((Sequence::new(10), 3)));
        assert_eq!(read_id(b"1-1"), Some((Sequence::FIRST, 1)));
        for bad in ["", "5", "-", "2-3-4", "5-0", "x-1"] {
            assert_eq!(read_id(bad.as_bytes()), None, "{bad:?}");
        }
    }
}
