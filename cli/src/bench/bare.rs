//! What the library is held against: the client library of the same broker, used directly.

#[cfg(feature = "memory")]
mod memory;
#[cfg(feature = "redis")]
mod redis;

use std::time::Duration;

use anyhow::bail;
use bytes::Bytes;

use super::{Load, round::Round};

/// How many messages a bare publisher may be ahead of a bare subscriber. Plain pub/sub has no flow
/// control: without this, Redis throws a subscriber out that lags by more than 8 MB for a minute or
/// by 32 MB, and a channel drops. It costs the bare client nothing while its subscriber keeps up.
const AHEAD: u64 = 16_384;

/// A bare client.
pub(super) enum Bare {
    #[cfg(feature = "memory")]
    Memory(memory::Channel),
    #[cfg(feature = "redis")]
    Redis(redis::Client),
}

/// A bare publisher and a bare subscriber on connections of their own.
pub(super) enum Pair {
    #[cfg(feature = "memory")]
    Memory(memory::Pair),
    #[cfg(feature = "redis")]
    Redis(Box<redis::Pair>),
}

impl Bare {
    /// The bare client for what `url` names.
    #[expect(clippy::unused_async, reason = "depends on the enabled features")]
    pub(super) async fn connect(url: &str) -> anyhow::Result<Self> {
        // Says what is wrong with the URL in the library's own words, without the password.
        let backend = scaleout::connector(url)?.backend;
        let name = scaleout::Backend::capabilities(&backend).name;
        match name {
            #[cfg(feature = "memory")]
            "memory" => Ok(Self::Memory(memory::Channel)),
            #[cfg(feature = "redis")]
            "redis" => Ok(Self::Redis(redis::Client::open(url)?)),
            _ => bail!("there is no bare client to hold {name} against"),
        }
    }

    /// The backend's name.
    pub(super) fn name(&self) -> &'static str {
        match self {
            #[cfg(feature = "memory")]
            Self::Memory(_) => "memory",
            #[cfg(feature = "redis")]
            Self::Redis(_) => "redis",
        }
    }

    /// How each measure uses the client: throughput, single messages.
    pub(super) fn manner(&self) -> [&'static str; 2] {
        match self {
            #[cfg(feature = "memory")]
            Self::Memory(_) => memory::MANNER,
            #[cfg(feature = "redis")]
            Self::Redis(_) => redis::MANNER,
        }
    }

    /// One channel, as fast as the client can.
    pub(super) async fn throughput(&self, channel: &str, load: &Load) -> anyhow::Result<Round> {
        match self {
            #[cfg(feature = "memory")]
            Self::Memory(_) => memory::round(1, load).await,
            #[cfg(feature = "redis")]
            Self::Redis(client) => client.throughput(channel, load).await,
        }
    }

    /// Many channels, one message of each in flight.
    pub(super) async fn single(
        &self,
        prefix: &str,
        channels: usize,
        load: &Load,
    ) -> anyhow::Result<Round> {
        match self {
            #[cfg(feature = "memory")]
            Self::Memory(_) => memory::round(channels, load).await,
            #[cfg(feature = "redis")]
            Self::Redis(client) => client.single(prefix, channels, load).await,
        }
    }

    /// For one message at a time.
    pub(super) async fn pair(&self, channel: &str) -> anyhow::Result<Pair> {
        match self {
            #[cfg(feature = "memory")]
            Self::Memory(_) => Ok(Pair::Memory(memory::Pair::new())),
            #[cfg(feature = "redis")]
            Self::Redis(client) => Ok(Pair::Redis(Box::new(client.pair(channel).await?))),
        }
    }
}

impl Pair {
    /// Sends one message and waits for it: the time from one to the other.
    pub(super) async fn send(&mut self, payload: &Bytes) -> anyhow::Result<Duration> {
        match self {
            #[cfg(feature = "memory")]
            Self::Memory(pair) => pair.send(payload).await,
            #[cfg(feature = "redis")]
            Self::Redis(pair) => pair.send(payload).await,
        }
    }
}
