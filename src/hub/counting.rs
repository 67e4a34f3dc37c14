//! [`Counting`]: which of a client's messages have arrived, when it can come back with another
//! transport and send some of them again. Without I/O and without a clock.

use super::protocol::ProtocolError;

/// The account of what one client has sent. Messages are numbered from 1.
#[derive(Debug)]
pub(super) struct Counting {
    /// The number of the next message.
    next: u64,
    /// The highest number that has arrived.
    latest: u64,
    /// What the client was told last.
    acknowledged: u64,
}

impl Default for Counting {
    fn default() -> Self {
        Self {
            next: 1,
            latest: 0,
            acknowledged: 0,
        }
    }
}

impl Counting {
    /// A counted message has arrived: whether for the first time.
    pub(super) fn is_new(&mut self) -> bool {
        let number = self.next;
        self.next = self.next.saturating_add(1);
        let new = number > self.latest;
        self.latest = self.latest.max(number);
        new
    }

    /// The client announces which number its next message has.
    pub(super) fn announced(&mut self, number: u64) -> Result<(), ProtocolError> {
        if number > self.next {
            return Err(ProtocolError(
                "Sequence ID greater than amount of messages we've received.".into(),
            ));
        }
        self.next = number;
        Ok(())
    }

    /// The number to acknowledge, if the client was not told it yet.
    pub(super) fn acknowledge(&mut self) -> Option<u64> {
        let news = self.latest > self.acknowledged;
        self.acknowledged = self.latest;
        news.then_some(self.latest)
    }

    /// The client has another transport. What the last one was to tell it may be lost.
    pub(super) fn attached(&mut self) {
        self.acknowledged = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_again_is_known() {
        let mut counting = Counting::default();
        assert!(counting.is_new() && counting.is_new() && counting.is_new());
        assert_eq!(counting.acknowledge(), Some(3));
        assert_eq!(counting.acknowledge(), None);
        counting.attached();
        assert_eq!(counting.acknowledge(), Some(3));
        assert_eq!(counting.announced(2), Ok(()));
        assert_eq!([(); 3].map(|()| counting.is_new()), [false, false, true]);
    }

    #[test]
    fn nobody_can_skip_messages() {
        let mut counting = Counting::default();
        assert_eq!(counting.announced(1), Ok(()));
        assert!(counting.announced(2).is_err());
    }
}
