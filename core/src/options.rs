//! [`Options`]: everything about a node that does not depend on the broker, with its defaults.

use std::{num::NonZeroU16, time::Duration};

use crate::{Namespace, Query, Result};

/// How topics map to logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Partitioning {
    /// Every topic has a log of its own.
    PerTopic,
    /// All topics of a namespace share this many logs. All nodes must use the same number.
    Shared(NonZeroU16),
}

/// What a publish does when its log's queue is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenFull {
    /// Wait for room, as long as the publish timeout allows.
    Wait,
    /// Fail at once with [`ErrorKind::Busy`](crate::ErrorKind::Busy).
    Reject,
}

/// Settings of a node that do not depend on the broker.
///
/// Each is also a query parameter of the URL that [`connect`](https://docs.rs/scaleout) takes, under
/// its field's name. Durations are written with a unit: `250ms`, `10s`, `5m`, `24h`.
///
/// ```
/// # use {scaleout_core::Options, std::time::Duration};
/// let options = Options::new().with_publish_timeout(Duration::from_secs(3));
/// assert_eq!(options.queue_messages, 65_536);
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// Nodes see each other only within one namespace. Default: `scaleout`.
    pub namespace: Namespace,
    /// How topics map to logs; `None` is the backend's own choice. In a URL, `partitioning=topic` or
    /// `partitioning=16`. All nodes of a namespace must agree. Default: `None`.
    pub partitioning: Option<Partitioning>,
    /// From the call of publish to its end, waiting for room and retries included. Default: 10 s.
    pub publish_timeout: Duration,
    /// How long a single request to the broker, or an attempt to connect, may take. Default: 5 s.
    pub request_timeout: Duration,
    /// How soon a dead or half-open connection is noticed without traffic. Default: 10 s.
    pub liveness: Duration,
    /// The first wait before reconnecting; it doubles from try to try, and every wait is jittered
    /// to between half and all of it. Default: 100 ms.
    pub backoff_min: Duration,
    /// The longest wait before reconnecting. Default: 5 s.
    pub backoff_max: Duration,
    /// Messages that may wait in one log's publish queue. Default: 65,536.
    pub queue_messages: usize,
    /// Payload bytes that may wait in one log's publish queue. Default: 64 MiB.
    pub queue_bytes: usize,
    /// What a publish does when the queue is full: `wait` or `reject`. Default: wait.
    pub when_full: WhenFull,
    /// The most messages in one frame. Default: 1,024.
    pub frame_messages: u32,
    /// The most bytes that natural batching puts into one frame; a larger single message or batch
    /// still travels, up to what the backend takes. Default: 256 KiB.
    pub frame_bytes: usize,
    /// Frames that a node keeps of a log for subscriptions that have not read them yet. Default: 1,024.
    pub window_frames: usize,
    /// Bytes of frames that a node keeps of a log for subscriptions that have not read them yet.
    /// Default: 4 MiB.
    pub window_bytes: usize,
    /// How many messages a read of history asks for at a time. Default: 1,000.
    pub page_messages: usize,
    /// How often an idle log is compared with the broker, so that a wiped broker is noticed without
    /// traffic. Default: 30 s.
    pub recheck: Duration,
    /// How long a frame that is missing from a log without readable history is waited for before a
    /// gap is reported. Default: 5 s.
    pub hole_timeout: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            namespace: Namespace::default(),
            partitioning: None,
            publish_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(5),
            liveness: Duration::from_secs(10),
            backoff_min: Duration::from_millis(100),
            backoff_max: Duration::from_secs(5),
            queue_messages: 65_536,
            queue_bytes: 64 << 20,
            when_full: WhenFull::Wait,
            frame_messages: 1_024,
            frame_bytes: 256 << 10,
            window_frames: 1_024,
            window_bytes: 4 << 20,
            page_messages: 1_000,
            recheck: Duration::from_secs(30),
            hole_timeout: Duration::from_secs(5),
        }
    }
}

macro_rules! with {
    ($($(#[$doc:meta])* $with:ident $field:ident: $type:ty,)*) => {$(
        $(#[$doc])*
        #[must_use]
        pub fn $with(mut self, $field: $type) -> Self {
            self.$field = $field;
            self
        }
    )*};
}

impl Options {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    with! {
        /// Sets [`namespace`](Self::namespace).
        with_namespace namespace: Namespace,
        /// Sets [`partitioning`](Self::partitioning).
        with_partitioning partitioning: Option<Partitioning>,
        /// Sets [`publish_timeout`](Self::publish_timeout).
        with_publish_timeout publish_timeout: Duration,
        /// Sets [`request_timeout`](Self::request_timeout).
        with_request_timeout request_timeout: Duration,
        /// Sets [`liveness`](Self::liveness).
        with_liveness liveness: Duration,
        /// Sets [`backoff_min`](Self::backoff_min).
        with_backoff_min backoff_min: Duration,
        /// Sets [`backoff_max`](Self::backoff_max).
        with_backoff_max backoff_max: Duration,
        /// Sets [`queue_messages`](Self::queue_messages).
        with_queue_messages queue_messages: usize,
        /// Sets [`queue_bytes`](Self::queue_bytes).
        with_queue_bytes queue_bytes: usize,
        /// Sets [`when_full`](Self::when_full).
        with_when_full when_full: WhenFull,
        /// Sets [`frame_messages`](Self::frame_messages).
        with_frame_messages frame_messages: u32,
        /// Sets [`frame_bytes`](Self::frame_bytes).
        with_frame_bytes frame_bytes: usize,
        /// Sets [`window_frames`](Self::window_frames).
        with_window_frames window_frames: usize,
        /// Sets [`window_bytes`](Self::window_bytes).
        with_window_bytes window_bytes: usize,
        /// Sets [`page_messages`](Self::page_messages).
        with_page_messages page_messages: usize,
        /// Sets [`recheck`](Self::recheck).
        with_recheck recheck: Duration,
        /// Sets [`hole_timeout`](Self::hole_timeout).
        with_hole_timeout hole_timeout: Duration,
    }

    /// Takes the common options out of a URL's query.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) if a value cannot be read or is
    /// out of range.
    pub fn from_query(query: &mut Query) -> Result<Self> {
        let mut options = Self::default();
        query.take("namespace", &mut options.namespace)?;
        query.take("partitioning", &mut options.partitioning)?;
        query.take("publish_timeout", &mut options.publish_timeout)?;
        query.take("request_timeout", &mut options.request_timeout)?;
        query.take("liveness", &mut options.liveness)?;
        query.take("backoff_min", &mut options.backoff_min)?;
        query.take("backoff_max", &mut options.backoff_max)?;
        query.take("queue_messages", &mut options.queue_messages)?;
        query.take("queue_bytes", &mut options.queue_bytes)?;
        query.take("when_full", &mut options.when_full)?;
        query.take("frame_messages", &mut options.frame_messages)?;
        query.take("frame_bytes", &mut options.frame_bytes)?;
        query.take("window_frames", &mut options.window_frames)?;
        query.take("window_bytes", &mut options.window_bytes)?;
        query.take("page_messages", &mut options.page_messages)?;
        query.take("recheck", &mut options.recheck)?;
        query.take("hole_timeout", &mut options.hole_timeout)?;
        Ok(options)
    }

    /// Checks what only makes sense together.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) naming the option that is zero or
    /// contradicts another.
    pub fn validate(&self) -> Result<()> {
        let at_least_one = [
            ("queue_messages", self.queue_messages),
            ("queue_bytes", self.queue_bytes),
            ("frame_messages", self.frame_messages as usize),
            ("frame_bytes", self.frame_bytes),
            ("window_frames", self.window_frames),
            ("window_bytes", self.window_bytes),
            ("page_messages", self.page_messages),
        ];
        for (name, value) in at_least_one {
            if value == 0 {
                return Err(invalid(format!("option {name} must be at least 1")));
            }
        }
        let not_zero = [
            ("publish_timeout", self.publish_timeout),
            ("request_timeout", self.request_timeout),
            ("liveness", self.liveness),
            ("backoff_min", self.backoff_min),
            ("recheck", self.recheck),
        ];
        for (name, value) in not_zero {
            if value.is_zero() {
                return Err(invalid(format!("option {name} must be longer than 0")));
            }
        }
        if self.backoff_max < self.backoff_min {
            return Err(invalid(format!(
                "option backoff_max ({:?}) must not be shorter than backoff_min ({:?})",
                self.backoff_max, self.backoff_min
            )));
        }
        Ok(())
    }
}

fn invalid(message: String) -> crate::Error {
    crate::Error::new(crate::ErrorKind::InvalidInput, message)
}
