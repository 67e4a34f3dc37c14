//! What the library is held against: the client library of the same broker, used directly.

#[cfg(feature = "memory")]
pub(super) mod memory;
#[cfg(feature = "postgres")]
pub(super) mod postgres;
#[cfg(feature = "rabbitmq")]
pub(super) mod rabbitmq;
#[cfg(feature = "redis")]
pub(super) mod redis;
#[cfg(feature = "servicebus")]
pub(super) mod servicebus;

use std::time::Duration;

use bytes::Bytes;
#[cfg(any(feature = "postgres", feature = "rabbitmq", feature = "servicebus"))]
use scaleout::Epoch;

use super::{Load, round::Round};

/// How many messages a bare publisher may be ahead of a bare subscriber. Plain pub/sub has no flow
/// control: without this, Redis throws a subscriber out that lags by more than 8 MB for a minute or
/// by 32 MB, and a channel drops. It costs the bare client nothing while its subscriber keeps up.
const AHEAD: u64 = 16_384;

/// The URL with a namespace of its own, unless it names one, which is to be removed afterwards.
#[cfg(any(feature = "postgres", feature = "rabbitmq", feature = "servicebus"))]
pub(super) fn with_namespace(url: &str) -> String {
    if url.contains("namespace=") {
        return url.to_owned();
    }
    let mark = if url.contains('?') { '&' } else { '?' };
    format!("{url}{mark}namespace=bench-{}", Epoch::random())
}

/// A bare client at its best.
pub(super) trait Bare {
    /// The backend that it is held against.
    const BACKEND: &'static str;
    /// How it sends where throughput counts.
    const THROUGHPUT: &'static str;
    /// How it sends single messages.
    const SINGLE: &'static str;
    /// A publisher and a subscriber.
    type Pair: Pair;

    /// One channel, as fast as the client can.
    async fn throughput(&self, channel: &str, load: &Load) -> anyhow::Result<Round>;

    /// Many channels, one message of each in flight.
    async fn single(&self, prefix: &str, channels: usize, load: &Load) -> anyhow::Result<Round>;

    /// For one message at a time.
    async fn pair(&self, channel: &str) -> anyhow::Result<Self::Pair>;
}

/// A bare publisher and a bare subscriber, on connections of their own.
pub(super) trait Pair {
    /// Sends one message and waits for it: the time from one to the other.
    async fn send(&mut self, payload: &Bytes) -> anyhow::Result<Duration>;
}
