//! Where a frame stands, as a notification carries it: epoch (16 bytes), first sequence (8), number
//! of messages (4), all big-endian, and the frame if it fits.

use base64::Engine;
use bytes::Bytes;
use scaleout_core::{Epoch, Sequence, StoredFrame};

const HEADER: usize = 28;

/// What a notification says. A frame without bytes was too large to ride along.
pub(crate) fn decode(payload: &str) -> Option<(Epoch, StoredFrame)> {
    // The server breaks the lines of Base64.
    let text: Vec<u8> = payload.bytes().filter(|byte| *byte != b'\n').collect();
    let bytes = base64::engine::general_purpose::STANDARD
        .decode(text)
        .ok()?;
    let header: [u8; HEADER] = *bytes.first_chunk()?;
    let epoch = epoch(&header[..16])?;
    let first = u64::from_be_bytes(*header[16..].first_chunk()?);
    let len = u32::from_be_bytes(*header[24..].first_chunk()?);
    let frame = StoredFrame {
        first: Sequence::new(first),
        len,
        bytes: Bytes::from(bytes).slice(HEADER..),
    };
    (len > 0).then_some((epoch, frame))
}

pub(crate) fn epoch(bytes: &[u8]) -> Option<Epoch> {
    bytes
        .try_into()
        .ok()
        .map(|bytes| Epoch::new(u128::from_be_bytes(bytes)))
}

/// A sequence as the database keeps it. It never gives more than `i64::MAX`.
pub(crate) fn number(sequence: Sequence) -> i64 {
    i64::try_from(sequence.get()).unwrap_or(i64::MAX)
}

pub(crate) fn sequence(number: i64) -> Option<Sequence> {
    u64::try_from(number).ok().map(Sequence::new)
}
