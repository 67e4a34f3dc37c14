//! What an emulator is started with: by code, or from a file.

use std::{net::SocketAddr, path::Path, time::Duration};

use serde::Deserialize;

use crate::{
    duration,
    entity::{Address, QueueSettings, Tier, TopicSettings},
    sas::Rights,
};

/// The policy that the printed connection string names.
pub const POLICY: &str = "RootManageSharedAccessKey";

/// The key of that policy unless another one is set: the one that the vendor's emulator has.
pub const KEY: &str = "SAS_KEY_VALUE";

/// What an emulator is started with.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Config {
    /// Where it listens. Port 0 takes a free one.
    pub listen: SocketAddr,
    /// The tier, which says how large messages may be.
    pub tier: Tier,
    /// The key of the policy `RootManageSharedAccessKey`, which may do everything.
    pub key: String,
    /// Further policies.
    pub policies: Vec<PolicyConfig>,
    /// Queues that are there from the beginning.
    pub queues: Vec<QueueConfig>,
    /// Topics that are there from the beginning.
    pub topics: Vec<TopicConfig>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            tier: Tier::default(),
            key: KEY.into(),
            policies: Vec::new(),
            queues: Vec::new(),
            topics: Vec::new(),
        }
    }
}

/// A policy with its key.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyConfig {
    /// Its name.
    pub name: String,
    /// Its key.
    pub key: String,
    /// What it may do: `manage`, `send` and `listen`, separated by `+`.
    pub rights: String,
}

/// A queue, or a subscription.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct QueueConfig {
    /// Its name.
    pub name: String,
    /// How long a message stays locked: `30s`, `1m`. Default one minute.
    #[serde(deserialize_with = "duration::deserialize")]
    pub lock_duration: Option<Duration>,
    /// How long a message may wait. Default for ever.
    #[serde(deserialize_with = "duration::deserialize")]
    pub time_to_live: Option<Duration>,
    /// How often a message is delivered. Default 10.
    pub max_delivery_count: Option<u32>,
    /// How long it may be unused before it is deleted. Default for ever.
    #[serde(deserialize_with = "duration::deserialize")]
    pub auto_delete_on_idle: Option<Duration>,
    /// Whether messages that waited too long are dead-lettered.
    pub dead_letter_on_expiration: bool,
    /// For how long repetitions are recognised. Default not at all.
    #[serde(deserialize_with = "duration::deserialize")]
    pub duplicates: Option<Duration>,
    /// Of a subscription: an SQL condition that messages have to fulfil. Default all.
    pub filter: Option<String>,
}

/// A topic with its subscriptions.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct TopicConfig {
    /// Its name.
    pub name: String,
    /// How long a message may wait. Default for ever.
    #[serde(deserialize_with = "duration::deserialize")]
    pub time_to_live: Option<Duration>,
    /// How long it may be unused before it is deleted. Default for ever.
    #[serde(deserialize_with = "duration::deserialize")]
    pub auto_delete_on_idle: Option<Duration>,
    /// For how long repetitions are recognised. Default not at all.
    #[serde(deserialize_with = "duration::deserialize")]
    pub duplicates: Option<Duration>,
    /// Whether its messages are spread over partitions.
    pub partitioned: bool,
    /// Its subscriptions.
    pub subscriptions: Vec<QueueConfig>,
}

impl Config {
    /// Reads a file: JSON if its name ends so, TOML otherwise.
    ///
    /// # Errors
    ///
    /// One line that names the file and what is wrong with it.
    pub fn read(path: &Path) -> Result<Self, String> {
        let named = |error: &dyn std::fmt::Display| {
            let text = error.to_string();
            let text: Vec<_> = text.split_whitespace().collect();
            format!("{}: {}", path.display(), text.join(" "))
        };
        let text = std::fs::read_to_string(path).map_err(|error| named(&error))?;
        if path
            .extension()
            .is_some_and(|extension| extension == "json")
        {
            serde_json::from_str(&text).map_err(|error| named(&error))
        } else {
            toml::from_str(&text).map_err(|error| named(&error))
        }
    }

    /// Adds an entity by its path: `queue`, `topic/` or `topic/subscriptions/name`. What is needed above it is added,
    /// too.
    ///
    /// # Errors
    ///
    /// One line if it is no path of an entity.
    pub fn add(&mut self, path: &str) -> Result<(), String> {
        let wrong = || {
            format!("'{path}' is no entity: give 'queue', 'topic/' or 'topic/subscriptions/name'")
        };
        let address =
            Address::parse(path).filter(|address| !address.dead_letter && !address.management);
        let address = address.ok_or_else(wrong)?;
        if address.subscription.is_none() && !path.ends_with('/') {
            let name = path.into();
            self.queues.push(QueueConfig {
                name,
                ..QueueConfig::default()
            });
            return Ok(());
        }
        let known = self
            .topics
            .iter()
            .position(|topic| topic.name.eq_ignore_ascii_case(&address.entity));
        let at = known.unwrap_or_else(|| {
            let name = address.entity.clone();
            self.topics.push(TopicConfig {
                name,
                ..TopicConfig::default()
            });
            self.topics.len() - 1
        });
        if let Some(name) = address.subscription {
            self.topics[at].subscriptions.push(QueueConfig {
                name,
                ..QueueConfig::default()
            });
        }
        Ok(())
    }
}

impl PolicyConfig {
    /// Reads `NAME:KEY:RIGHTS`.
    ///
    /// # Errors
    ///
    /// One line that does not show the key.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut parts = text.splitn(3, ':').map(str::to_owned);
        match (parts.next(), parts.next(), parts.next()) {
            (Some(name), Some(key), Some(rights)) if Rights::parse(&rights).is_some() => {
                Ok(Self { name, key, rights })
            }
            _ => Err("a policy is NAME:KEY:RIGHTS, with rights such as send+listen".into()),
        }
    }
}

impl QueueConfig {
    pub(crate) fn settings(&self) -> QueueSettings {
        let usual = QueueSettings::default();
        QueueSettings {
            lock_duration: self.lock_duration.unwrap_or(usual.lock_duration),
            time_to_live: self.time_to_live.unwrap_or(usual.time_to_live),
            max_delivery_count: self.max_delivery_count.unwrap_or(usual.max_delivery_count),
            auto_delete_on_idle: self
                .auto_delete_on_idle
                .unwrap_or(usual.auto_delete_on_idle),
            dead_letter_on_expiration: self.dead_letter_on_expiration,
            duplicates: self.duplicates,
            ..usual
        }
    }
}

impl TopicConfig {
    pub(crate) fn settings(&self) -> TopicSettings {
        let usual = TopicSettings::default();
        TopicSettings {
            time_to_live: self.time_to_live.unwrap_or(usual.time_to_live),
            auto_delete_on_idle: self
                .auto_delete_on_idle
                .unwrap_or(usual.auto_delete_on_idle),
            duplicates: self.duplicates,
            partitioned: self.partitioned,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_says_what_code_can_say() {
        let text = r#"
            tier = "premium"
            [[queues]]
            name = "orders"
            lock_duration = "30s"
            [[topics]]
            name = "news"
            [[topics.subscriptions]]
            name = "red"
            filter = "color = 'red'"
        "#;
        let config: Config = toml::from_str(text).unwrap();
        assert_eq!(config.tier, Tier::Premium);
        assert_eq!(
            config.queues[0].settings().lock_duration,
            Duration::from_secs(30)
        );
        assert_eq!(
            config.topics[0].subscriptions[0].filter.as_deref(),
            Some("color = 'red'")
        );
        assert!(toml::from_str::<Config>("unknown = 1").is_err());
        assert!(
            serde_json::from_str::<Config>(r#"{"queues":[{"name":"a","duplicates":"1h"}]}"#)
                .is_ok()
        );
    }

    #[test]
    fn the_example_is_what_the_readme_shows() {
        let example = include_str!("../examples/entities.toml");
        assert!(include_str!("../README.md").contains(&format!("```toml\n{example}```")));
        assert!(toml::from_str::<Config>(example).is_ok());
    }

    #[test]
    fn entities_are_added_by_their_paths() {
        let mut config = Config::default();
        for path in ["q", "t/", "T/subscriptions/a", "t/subscriptions/b"] {
            config.add(path).unwrap();
        }
        assert_eq!((config.queues.len(), config.topics.len()), (1, 1));
        assert_eq!(config.topics[0].subscriptions.len(), 2);
        assert!(config.add("a b").is_err());
    }

    #[test]
    fn a_bad_policy_is_refused_without_its_key() {
        let error = PolicyConfig::parse("name:secret:fly").unwrap_err();
        assert!(!error.contains("secret"));
        assert!(PolicyConfig::parse("name:se=cret:send+listen").is_ok());
    }
}
