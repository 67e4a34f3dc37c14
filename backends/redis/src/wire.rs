//! What the scripts and this code tell each other, in bytes.
//!
//! A value, as it is stored in a stream and published on a channel, is a header and the frame; the
//! header is epoch (16 bytes), sequence of the first message (8), number of messages (4), all
//! big-endian. What a log's state is stands in `lua/life.lua`.

use bytes::{Buf, Bytes};
use scaleout_core::{EncodedFrame, Epoch, Position, Sequence, StoredFrame};

pub(crate) const HEADER: usize = 28;

/// Which run of the server, and which slice of time: a log's state with another mark is looked at
/// anew.
pub(crate) type Mark = [u8; 12];

/// The header of a frame that begins there.
pub(crate) fn header(first: Position, len: u32) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    header[..16].copy_from_slice(&first.epoch.get().to_be_bytes());
    header[16..24].copy_from_slice(&first.sequence.get().to_be_bytes());
    header[24..].copy_from_slice(&len.to_be_bytes());
    header
}

/// A log's state as it is when a frame was its last one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct State([u8; 64]);

impl State {
    /// The state after `frame`, whose first message stands there.
    pub(crate) fn after(mark: Mark, first: Position, frame: &EncodedFrame) -> Self {
        let next = first.sequence.plus(frame.len().into());
        let mut state = [0; 64];
        state[..12].copy_from_slice(&mark);
        state[12..28].copy_from_slice(&first.epoch.get().to_be_bytes());
        state[28..44].copy_from_slice(frame.publisher().as_bytes());
        state[44..52].copy_from_slice(&frame.counter().to_be_bytes());
        state[52..60].copy_from_slice(&next.get().to_be_bytes());
        state[60..].copy_from_slice(&frame.len().to_be_bytes());
        Self(state)
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether the log, if this is its state, takes the frame without a further look: nothing else has
    /// become of it, and the frame is a later one of the same publisher.
    pub(crate) fn admits(&self, mark: Mark, frame: &EncodedFrame) -> bool {
        self.0[..12] == mark
            && self.0[28..44] == frame.publisher().as_bytes()[..]
            && self.0[44..52] < frame.counter().to_be_bytes()[..]
    }

    /// Where the next frame begins.
    pub(crate) fn next(&self) -> Position {
        // The ranges are as long as the numbers.
        let (mut epoch, mut next) = ([0; 16], [0; 8]);
        epoch.copy_from_slice(&self.0[12..28]);
        next.copy_from_slice(&self.0[52..60]);
        Position::new(
            Epoch::new(u128::from_be_bytes(epoch)),
            Sequence::new(u64::from_be_bytes(next)),
        )
    }
}

/// Reads an epoch with the sequence after it, if there is one.
pub(crate) fn read_position(bytes: &[u8]) -> Option<(Epoch, Option<Sequence>)> {
    let (epoch, sequence) = bytes.split_first_chunk::<16>()?;
    let epoch = Epoch::new(u128::from_be_bytes(*epoch));
    if sequence.is_empty() {
        return Some((epoch, None));
    }
    let sequence = u64::from_be_bytes(sequence.try_into().ok()?);
    Some((epoch, Some(Sequence::new(sequence))))
}

/// Takes the header off a stored or published value.
pub(crate) fn decode(value: Vec<u8>) -> Option<(Epoch, StoredFrame)> {
    let (position, rest) = value.split_at_checked(24)?;
    let (epoch, first) = read_position(position)?;
    let len = u32::from_be_bytes(*rest.first_chunk()?);
    let mut bytes = Bytes::from(value);
    bytes.advance(HEADER);
    let frame = StoredFrame {
        first: first?,
        len: Some(len).filter(|&len| len > 0)?,
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
    use scaleout_core::{FrameBuilder, Message, PublisherId};

    use super::*;

    #[test]
    fn a_value_comes_apart_into_header_and_frame() {
        let first = Position::new(Epoch::new(7), Sequence::new(41));
        let mut value = header(first, 2).to_vec();
        value.extend(b"a frame");
        let (epoch, frame) = decode(value).unwrap();
        assert_eq!(epoch, Epoch::new(7));
        assert_eq!((frame.first.get(), frame.len), (41, 2));
        assert_eq!(frame.bytes, "a frame");
    }

    #[test]
    fn what_is_not_a_value_is_refused() {
        for bad in [vec![], vec![1; 27], vec![0; 28]] {
            assert_eq!(decode(bad.clone()), None, "{bad:?}");
        }
    }

    #[test]
    fn a_state_tells_where_the_next_frame_begins_and_admits_no_repetition() {
        let frame = |publisher, counter| {
            let mut frame = FrameBuilder::new();
            frame.push(None, &Message::new("a"));
            frame.push(None, &Message::new("b"));
            frame.finish(PublisherId::new([publisher; 16]), counter)
        };
        let first = Position::new(Epoch::new(7), Sequence::new(41));
        let state = State::after([9; 12], first, &frame(3, 255));
        assert_eq!(
            state.next(),
            Position::new(Epoch::new(7), Sequence::new(43))
        );
        assert!(state.admits([9; 12], &frame(3, 256)));
        assert!(!state.admits([8; 12], &frame(3, 256)));
        assert!(!state.admits([9; 12], &frame(3, 255)));
        assert!(!state.admits([9; 12], &frame(4, 256)));
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
