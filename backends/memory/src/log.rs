//! [`Log`]: one log, from its first use until it expires.

use std::collections::VecDeque;

use scaleout_core::{EncodedFrame, Epoch, ListenerSender, Sequence, StoredFrame};
use tokio::time::Instant;

use crate::{config::Config, publishers::Publishers};

/// A log and who listens to it. Listeners outlive the log's [`Life`], as they do at a real broker:
/// after a wipe they get frames of the new epoch.
#[derive(Debug)]
pub(crate) struct Log {
    pub(crate) life: Life,
    pub(crate) listeners: Vec<Subscriber>,
    expires: Option<Instant>,
}

/// A listener's place in a log.
#[derive(Debug)]
pub(crate) struct Subscriber {
    pub(crate) id: u64,
    pub(crate) node: u64,
    pub(crate) sender: ListenerSender,
}

/// One epoch of a log.
#[derive(Debug)]
pub(crate) struct Life {
    pub(crate) epoch: Epoch,
    pub(crate) head: Sequence,
    pub(crate) publishers: Publishers,
    frames: VecDeque<Kept>,
    bytes: usize,
}

/// A frame and when it is too old to be kept, by the retention of the node that appended it.
#[derive(Debug)]
struct Kept {
    frame: StoredFrame,
    expires: Option<Instant>,
}

impl Log {
    pub(crate) fn new() -> Self {
        Self {
            life: Life::new(),
            listeners: Vec::new(),
            expires: None,
        }
    }

    /// Somebody uses the log `now`, and that keeps it until `expires`, unless a node with a longer
    /// expiry used it before.
    pub(crate) fn use_until(&mut self, now: Instant, expires: Instant) {
        self.life.drop_aged(now);
        self.expires = self.expires.max(Some(expires));
    }

    /// Whether nobody used the log for so long that it may go.
    pub(crate) fn is_expired(&self, now: Instant) -> bool {
        self.listeners.is_empty() && self.expires.is_some_and(|expires| expires <= now)
    }
}

impl Life {
    /// An empty log with an identity that no other had.
    pub(crate) fn new() -> Self {
        Self {
            epoch: Epoch::random(),
            head: Sequence::ZERO,
            publishers: Publishers::default(),
            frames: VecDeque::new(),
            bytes: 0,
        }
    }

    /// Adds a frame at the end and drops at the front what the retention does not keep. The newest
    /// frame always stays.
    pub(crate) fn push(
        &mut self,
        frame: &EncodedFrame,
        config: &Config,
        now: Instant,
    ) -> StoredFrame {
        let stored = StoredFrame {
            first: self.head.next(),
            len: frame.len(),
            bytes: frame.bytes().clone(),
        };
        self.head = stored.last();
        self.bytes += stored.bytes.len();
        self.frames.push_back(Kept {
            frame: stored.clone(),
            expires: config.retention_age.map(|age| now + age),
        });
        while self.frames.len() > config.retention_frames
            || self.bytes > config.retention_bytes && self.frames.len() > 1
        {
            self.drop_oldest();
        }
        stored
    }

    /// Drops the oldest frames until `keep` are left. The head stays.
    pub(crate) fn trim(&mut self, keep: usize) {
        while self.frames.len() > keep {
            self.drop_oldest();
        }
        self.frames.shrink_to(keep);
    }

    /// Drops what is too old.
    pub(crate) fn drop_aged(&mut self, now: Instant) {
        let aged = |kept: &Kept| kept.expires.is_some_and(|expires| expires <= now);
        while self.frames.front().is_some_and(aged) {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        if let Some(kept) = self.frames.pop_front() {
            self.bytes -= kept.frame.bytes.len();
        }
    }

    /// Sequence of the oldest message that is kept; one past the head if none is.
    pub(crate) fn floor(&self) -> Sequence {
        self.frames
            .front()
            .map_or(self.head.next(), |oldest| oldest.frame.first)
    }

    /// The frames that have a message past `sequence`, in order.
    pub(crate) fn after(&self, sequence: Sequence) -> impl Iterator<Item = &StoredFrame> {
        let from = self
            .frames
            .partition_point(|kept| kept.frame.last() <= sequence);
        self.frames.range(from..).map(|kept| &kept.frame)
    }
}
