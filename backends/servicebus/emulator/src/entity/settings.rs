//! What can be set for queues, topics and subscriptions, with the service's defaults.

use std::time::Duration;

use serde::Deserialize;

/// Longer than anything lasts: the service's way to say "never".
pub const NEVER: Duration = Duration::from_secs(10_675_199 * 86_400);

/// How a queue, or a subscription's queue, treats its messages.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct QueueSettings {
    /// How long a message stays locked for the receiver that got it.
    pub lock_duration: Duration,
    /// How long a message may wait, whatever its sender said.
    pub time_to_live: Duration,
    /// How often a message is delivered before it goes to the dead-letter queue.
    pub max_delivery_count: u32,
    /// How long the entity may be unused before it is deleted.
    pub auto_delete_on_idle: Duration,
    /// Whether messages that waited too long go to the dead-letter queue instead of vanishing.
    pub dead_letter_on_expiration: bool,
    /// Whether messages whose rules could not be evaluated go to the dead-letter queue. Kept and told, as
    /// the rules here always can be evaluated.
    pub dead_letter_on_filter_error: bool,
    /// For how long the ids of messages are remembered in order to drop repetitions, if at all. Has no
    /// meaning for subscriptions.
    pub duplicates: Option<Duration>,
}

impl Default for QueueSettings {
    fn default() -> Self {
        Self {
            lock_duration: Duration::from_secs(60),
            time_to_live: NEVER,
            max_delivery_count: 10,
            auto_delete_on_idle: NEVER,
            dead_letter_on_expiration: false,
            dead_letter_on_filter_error: true,
            duplicates: None,
        }
    }
}

/// How a topic treats its messages.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TopicSettings {
    /// How long a message may wait in a subscription, whatever its sender said.
    pub time_to_live: Duration,
    /// How long the topic may be unused before it is deleted.
    pub auto_delete_on_idle: Duration,
    /// For how long the ids of messages are remembered in order to drop repetitions, if at all.
    pub duplicates: Option<Duration>,
    /// Whether its messages are spread over partitions. Their enqueue numbers then have the partition in the
    /// upper 16 bits, and are in no order.
    pub partitioned: bool,
}

impl Default for TopicSettings {
    fn default() -> Self {
        Self {
            time_to_live: NEVER,
            auto_delete_on_idle: NEVER,
            duplicates: None,
            partitioned: false,
        }
    }
}

/// The pricing tier, which decides how large a message may be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Tier {
    /// Messages up to 256 KiB.
    #[default]
    Standard,
    /// Messages up to 100 MiB.
    Premium,
}

impl Tier {
    /// Bytes that a message may have, its encoding included.
    #[must_use]
    pub const fn max_message_size(self) -> usize {
        match self {
            Self::Standard => 256 * 1024,
            Self::Premium => 100 * 1024 * 1024,
        }
    }
}
