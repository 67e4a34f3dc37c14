//! Lengths in little-endian base 128: the high bit of a byte says that more follow. Before a message
//! there are at most five.

use bytes::BufMut;

use super::ProtocolError;

/// A message's length, and how many bytes told it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Prefix {
    pub(crate) size: usize,
    pub(crate) length: usize,
}

/// Reads a length; `None` until it is whole.
pub(crate) fn prefix(bytes: &[u8]) -> Result<Option<Prefix>, ProtocolError> {
    let mut length = 0_usize;
    for (index, byte) in bytes.iter().take(5).enumerate() {
        length |= usize::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            if index == 4 && *byte > 7 {
                break;
            }
            let size = index + 1;
            return Ok(Some(Prefix { size, length }));
        }
    }
    if bytes.len() < 5 {
        return Ok(None);
    }
    Err(ProtocolError(
        "Messages over 2GB in size are not supported.".into(),
    ))
}

/// Writes a length.
pub(crate) fn put_varint(out: &mut impl BufMut, length: usize) {
    let mut rest = length as u64;
    while rest >= 0x80 {
        out.put_u8((rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    out.put_u8((rest & 0x7f) as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_has_at_most_31_bits() {
        let read = |bytes: &[u8]| prefix(bytes).map(|p| p.map(|p| (p.size, p.length)));
        assert_eq!(read(b""), Ok(None));
        assert_eq!(read(b"\x80"), Ok(None));
        assert_eq!(read(b"\x00"), Ok(Some((1, 0))));
        assert_eq!(read(b"\x80\x01x"), Ok(Some((2, 128))));
        assert_eq!(read(b"\xff\xff\xff\xff\x07"), Ok(Some((5, 0x7fff_ffff))));
        assert!(read(b"\xff\xff\xff\xff\x08").is_err());
        assert!(read(b"\xff\xff\xff\xff\x87").is_err());
    }

    #[test]
    fn what_is_written_is_read() {
        for length in [0, 1, 127, 128, 16_383, 16_384, 0x7fff_ffff] {
            let mut out = Vec::new();
            put_varint(&mut out, length);
            let size = out.len();
            assert_eq!(prefix(&out), Ok(Some(Prefix { size, length })));
        }
    }
}
