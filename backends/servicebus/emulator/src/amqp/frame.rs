//! Frames: cutting them out of the stream, and putting them in.

use bytes::{BufMut, Bytes, BytesMut};
use serde::Serialize;

use super::shape::Malformed;

/// Bytes that a frame of a client may have. The service takes as much.
pub(crate) const MAX_FRAME_SIZE: u32 = 65_536;

/// A frame of AMQP, or of the SASL layer before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) sasl: bool,
    pub(crate) channel: u16,
    /// Nothing in a frame that only shows that the peer is there.
    pub(crate) body: Bytes,
}

/// Takes the next whole frame out of the buffer.
pub(crate) fn next(buffer: &mut BytesMut) -> Result<Option<Frame>, Malformed> {
    let Some(&[a, b, c, d, offset, kind, high, low]) = buffer.first_chunk() else {
        return Ok(None);
    };
    let size = u32::from_be_bytes([a, b, c, d]);
    if size > MAX_FRAME_SIZE {
        return Err(Malformed("a frame is larger than allowed"));
    }
    let (size, begin) = (size as usize, usize::from(offset) * 4);
    if begin < 8 || begin > size || kind > 1 {
        return Err(Malformed("a frame has an impossible header"));
    }
    if buffer.len() < size {
        return Ok(None);
    }
    let body = buffer.split_to(size).freeze().slice(begin..);
    Ok(Some(Frame {
        sasl: kind == 1,
        channel: u16::from_be_bytes([high, low]),
        body,
    }))
}

/// Adds a frame: a performative, and what follows it.
pub(crate) fn put(
    output: &mut BytesMut,
    sasl: bool,
    channel: u16,
    body: &impl Serialize,
    payload: &[u8],
) {
    // Only types of the codec are given, which it can all encode.
    let body = serde_amqp::to_vec(body).expect("performatives can be encoded");
    let size = u32::try_from(8 + body.len() + payload.len()).unwrap_or(u32::MAX);
    output.reserve(size as usize);
    output.put_u32(size);
    output.put_slice(&[2, sasl.into()]);
    output.put_u16(channel);
    output.put_slice(&body);
    output.put_slice(payload);
}

/// Adds a frame that only shows that we are there.
pub(crate) fn put_empty(output: &mut BytesMut) {
    output.put_slice(&[0, 0, 0, 8, 2, 0, 0, 0]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_taken_when_it_is_whole() {
        let mut whole = BytesMut::new();
        put(&mut whole, false, 7, &1_u32, b"rest");
        put_empty(&mut whole);
        let mut buffer = BytesMut::new();
        let mut frames = Vec::new();
        for byte in whole {
            buffer.put_u8(byte);
            frames.extend(next(&mut buffer).unwrap());
        }
        assert_eq!(frames[0].channel, 7);
        assert!(frames[0].body.ends_with(b"rest"));
        assert!(frames[1].body.is_empty());
    }

    #[test]
    fn impossible_headers_are_malformed() {
        for header in [
            [0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0],
            [0, 0, 0, 4, 2, 0, 0, 0],
            [0, 0, 0, 8, 1, 0, 0, 0],
            [0, 0, 0, 8, 3, 0, 0, 0],
            [0, 0, 0, 8, 2, 2, 0, 0],
        ] {
            assert!(
                next(&mut BytesMut::from(&header[..])).is_err(),
                "{header:?}"
            );
        }
    }
}
