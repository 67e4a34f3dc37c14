//! [`Retained`]: what a client has not acknowledged yet.

use std::collections::VecDeque;

use bytes::Bytes;

/// The messages that a client that can come back has not acknowledged, numbered from 1.
#[derive(Debug, Default)]
pub(super) struct Retained {
    messages: VecDeque<Bytes>,
    bytes: usize,
    acknowledged: u64,
}

impl Retained {
    pub(super) fn push(&mut self, message: Bytes) {
        self.bytes += message.len();
        self.messages.push_back(message);
    }

    /// Drops everything up to message `sequence`.
    pub(super) fn acknowledge(&mut self, sequence: u64) {
        while self.acknowledged < sequence
            && let Some(message) = self.messages.pop_front()
        {
            self.bytes -= message.len();
            self.acknowledged += 1;
        }
    }

    /// The number of the first message that is not acknowledged, or of the next one that there will be.
    pub(super) fn first(&self) -> u64 {
        self.acknowledged + 1
    }

    pub(super) fn messages(&self) -> impl Iterator<Item = &Bytes> {
        self.messages.iter()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_acknowledgment_of_what_was_never_sent_is_one_of_all_that_was() {
        let mut retained = Retained::default();
        retained.push(Bytes::from_static(b"a"));
        retained.acknowledge(9);
        retained.push(Bytes::from_static(b"b"));
        assert_eq!((retained.first(), retained.bytes()), (2, 1));
        retained.acknowledge(1);
        assert_eq!(retained.messages().count(), 1);
    }
}
