//! What the messages of a log's topic hold: a letter that says what it is, and that.

use bytes::{Buf, Bytes};

const FRAME: u8 = b'F';
const MARK: u8 = b'M';
/// The letter, and how many messages the frame holds.
const HEADER: usize = 5;

/// What a topic's message is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Body {
    /// A frame of `len` messages.
    Frame { len: u32, bytes: Bytes },
    /// Nothing: whoever wrote it wants to see it come, and to know that all before it has come.
    Mark,
    /// Something else wrote it.
    Foreign,
}

impl Body {
    /// Reads a message's body.
    pub(crate) fn decode(mut body: Bytes) -> Self {
        match body.first() {
            Some(&FRAME) if body.len() >= HEADER => {
                body.advance(1);
                let len = body.get_u32();
                Self::Frame { len, bytes: body }
            }
            Some(&MARK) if body.len() == 1 + size_of::<u128>() => Self::Mark,
            _ => Self::Foreign,
        }
    }
}

/// The body that carries a frame.
pub(crate) fn frame(len: u32, bytes: &[u8]) -> Bytes {
    let mut body = Vec::with_capacity(HEADER + bytes.len());
    body.push(FRAME);
    body.extend_from_slice(&len.to_be_bytes());
    body.extend_from_slice(bytes);
    body.into()
}

/// The body of a mark.
pub(crate) fn mark(id: u128) -> Bytes {
    let mut body = vec![MARK];
    body.extend_from_slice(&id.to_be_bytes());
    body.into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let bytes = Bytes::from_static(b"frame");
        let body = frame(3, &bytes);
        assert_eq!(Body::decode(body), Body::Frame { len: 3, bytes });
        assert_eq!(Body::decode(mark(7)), Body::Mark);
        assert_eq!(Body::decode(Bytes::new()), Body::Foreign);
    }

    proptest! {
        #[test]
        fn whatever_somebody_writes_is_read_as_something(body: Vec<u8>) {
            Body::decode(body.into());
        }
    }
}
