//! [`InputBuffer`]: what a client has sent and nobody has read yet.

use bytes::{Bytes, BytesMut};

use super::{ProtocolError, varint};

/// Ends every record of the handshake and of the JSON protocol.
pub(super) const RECORD_SEPARATOR: u8 = 0x1e;

/// A client's byte stream, cut into whole records. Where transport units begin and end is of no
/// meaning: a record may be spread over many of them, and one may hold thousands.
#[derive(Debug, Default)]
pub(crate) struct InputBuffer {
    bytes: BytesMut,
    /// How much of `bytes` is known to hold no separator, so that a record that arrives byte by byte
    /// is not searched again from its beginning each time.
    searched: usize,
}

impl InputBuffer {
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Takes the next record, without its separator; `None` until it is whole.
    ///
    /// # Errors
    ///
    /// If the record is longer than `limit` bytes, its separator included, as soon as that is known.
    pub(crate) fn next_record(
        &mut self,
        limit: Option<usize>,
    ) -> Result<Option<Bytes>, ProtocolError> {
        let end = memchr::memchr(RECORD_SEPARATOR, &self.bytes[self.searched..])
            .map(|offset| self.searched + offset);
        // Without a separator yet, the record is at least one byte longer than what is here.
        let size = end.unwrap_or(self.bytes.len()) + 1;
        if let Some(limit) = limit
            && size > limit
        {
            return Err(ProtocolError::too_large(limit));
        }
        let Some(end) = end else {
            self.searched = self.bytes.len();
            return Ok(None);
        };
        let mut record = self.split_to(end + 1);
        record.truncate(end);
        Ok(Some(record))
    }

    /// Takes the next message that begins with its length, without that; `None` until it is whole.
    ///
    /// # Errors
    ///
    /// If the message is longer than `limit` bytes, its length's bytes included, as soon as that is
    /// known.
    pub(crate) fn next_frame(
        &mut self,
        limit: Option<usize>,
    ) -> Result<Option<Bytes>, ProtocolError> {
        let Some(prefix) = varint::prefix(&self.bytes)? else {
            return Ok(None);
        };
        let size = prefix.size + prefix.length;
        if let Some(limit) = limit
            && size > limit
        {
            return Err(ProtocolError::too_large(limit));
        }
        if self.bytes.len() < size {
            return Ok(None);
        }
        let frame = self.split_to(size);
        Ok(Some(frame.slice(prefix.size..)))
    }

    /// Forgets an unfinished record: it will be sent again.
    pub(crate) fn clear(&mut self) {
        self.bytes = BytesMut::new();
        self.searched = 0;
    }

    fn split_to(&mut self, size: usize) -> Bytes {
        let record = self.bytes.split_to(size);
        self.searched = 0;
        if self.bytes.is_empty() {
            // An idle connection holds on to no memory for what it might send some day.
            self.bytes = BytesMut::new();
        }
        record.freeze()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn buffer(bytes: &[u8]) -> InputBuffer {
        let mut buffer = InputBuffer::default();
        buffer.push(bytes);
        buffer
    }

    #[test]
    fn a_record_of_the_limit_passes_and_one_byte_more_does_not() {
        let record = |len: usize| [vec![b'x'; len - 1], vec![RECORD_SEPARATOR]].concat();
        let pass = buffer(&record(8)).next_record(Some(8));
        assert_eq!(pass.unwrap().unwrap().len(), 7);
        assert!(buffer(&record(9)).next_record(Some(8)).is_err());
    }

    #[test]
    fn a_record_that_cannot_fit_is_refused_before_it_ends() {
        assert_eq!(buffer(b"1234567").next_record(Some(8)), Ok(None));
        assert!(buffer(b"12345678").next_record(Some(8)).is_err());
    }

    #[test]
    fn a_batch_may_be_larger_than_the_limit_of_one_record() {
        let mut buffer = buffer(&b"abc\x1e".repeat(1_000));
        for _ in 0..1_000 {
            assert_eq!(buffer.next_record(Some(4)).unwrap().unwrap(), "abc");
        }
        assert!(buffer.is_empty());
    }

    #[test]
    fn a_frame_of_the_limit_passes_and_one_byte_more_does_not() {
        let pass = buffer(b"\x03abc").next_frame(Some(4));
        assert_eq!(pass.unwrap().unwrap(), "abc");
        assert!(buffer(b"\x04").next_frame(Some(4)).is_err());
        assert_eq!(buffer(b"\x03ab").next_frame(Some(4)), Ok(None));
    }

    proptest! {
        #[test]
        fn how_the_bytes_were_split_does_not_matter(
            bytes in proptest::collection::vec(prop_oneof![Just(RECORD_SEPARATOR), any::<u8>()], 0..200),
            size in 1_usize..9,
        ) {
            let all = |buffer: &mut InputBuffer| {
                std::iter::from_fn(|| buffer.next_record(None).unwrap()).collect::<Vec<_>>()
            };
            let mut in_pieces = InputBuffer::default();
            let mut records = Vec::new();
            for piece in bytes.chunks(size) {
                in_pieces.push(piece);
                records.extend(all(&mut in_pieces));
            }
            prop_assert_eq!(records, all(&mut buffer(&bytes)));
        }
    }
}
