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

/// The URL with a namespace that nobody else has, in place of one that it may name: this one is removed
/// afterwards.
#[cfg(any(feature = "postgres", feature = "rabbitmq", feature = "servicebus"))]
pub(super) fn own_namespace(url: &str) -> String {
    let (base, query) = url.split_once('?').unwrap_or((url, ""));
    let others: String = query
        .split('&')
        .filter(|pair| !pair.is_empty() && !pair.starts_with("namespace="))
        .map(|pair| format!("{pair}&"))
        .collect();
    format!("{base}?{others}namespace=bench-{}", Epoch::random())
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

#[cfg(all(
    test,
    any(feature = "postgres", feature = "rabbitmq", feature = "servicebus")
))]
mod tests {
    use super::own_namespace;

    /// The namespaces that a URL names.
    fn namespaces(url: &str) -> Vec<&str> {
        let pairs = url.split(['?', '&']);
        pairs.filter_map(|p| p.strip_prefix("namespace=")).collect()
    }

    #[test]
    fn what_is_removed_afterwards_is_never_the_namespace_of_an_application() {
        for url in [
            "postgres://host/db",
            "postgres://host/db?",
            "postgres://host/db?namespace=chat",
            "amqp://host/?a=b&namespace=chat&c=d",
            "Endpoint=sb://host;SharedAccessKeyName=n;SharedAccessKey=k=?namespace=chat",
        ] {
            let own = own_namespace(url);
            let [named] = namespaces(&own)[..] else {
                panic!("{own}");
            };
            assert!(named.starts_with("bench-"), "{own}");
            assert_eq!(own.contains("a=b"), url.contains("a=b"));
            assert_eq!(own.contains("c=d"), url.contains("c=d"));
        }
    }
}
