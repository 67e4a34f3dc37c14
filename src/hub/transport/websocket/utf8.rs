//! [`Utf8`]: checks text that arrives in pieces.

/// What is known of a text so far.
#[derive(Debug, Default)]
pub(super) struct Utf8 {
    /// The beginning of a character of which the rest has not arrived.
    partial: [u8; 4],
    length: usize,
}

/// It is not UTF-8.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Invalid;

impl Utf8 {
    /// Checks the next piece, which is the `last` one or not.
    pub(super) fn check(&mut self, mut piece: &[u8], last: bool) -> Result<(), Invalid> {
        while self.length > 0
            && let [byte, rest @ ..] = piece
        {
            // A character has at most four bytes, so a fifth one is never asked for.
            self.partial[self.length] = *byte;
            self.length += 1;
            piece = rest;
            match std::str::from_utf8(&self.partial[..self.length]) {
                Ok(_) => self.length = 0,
                Err(error) if error.error_len().is_some() => return Err(Invalid),
                Err(_) => {}
            }
        }
        if let Err(error) = std::str::from_utf8(piece) {
            if error.error_len().is_some() {
                return Err(Invalid);
            }
            let partial = &piece[error.valid_up_to()..];
            self.length = partial.len();
            self.partial[..self.length].copy_from_slice(partial);
        }
        if last && self.length > 0 {
            return Err(Invalid);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn is_valid(bytes: &[u8], piece: usize) -> bool {
        let mut utf8 = Utf8::default();
        bytes
            .chunks(piece)
            .all(|piece| utf8.check(piece, false).is_ok())
            && utf8.check(b"", true).is_ok()
    }

    #[test]
    fn a_character_may_be_cut() {
        assert!(is_valid("aö€💬".as_bytes(), 1));
        assert!(!is_valid(&"💬".as_bytes()[..3], 1));
    }

    proptest! {
        #[test]
        fn pieces_are_judged_as_the_whole(
            mut bytes in any::<String>().prop_map(String::into_bytes),
            noise in proptest::option::of((any::<usize>(), any::<u8>())),
            piece in 1_usize..9,
        ) {
            if let Some((at, byte)) = noise && !bytes.is_empty() {
                let at = at % bytes.len();
                bytes[at] = byte;
            }
            prop_assert_eq!(is_valid(&bytes, piece), std::str::from_utf8(&bytes).is_ok());
        }
    }
}
