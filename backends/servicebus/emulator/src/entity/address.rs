//! The names by which clients reach entities.

use std::fmt;

/// Where a link or a request goes: an entity, one of its subqueues, or its management node.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    /// Queue or topic, in lower case: names are case-insensitive.
    pub entity: String,
    /// Subscription of the topic, in lower case.
    pub subscription: Option<String>,
    /// Whether the dead-letter queue is meant.
    pub dead_letter: bool,
    /// Whether the management node is meant.
    pub management: bool,
}

impl Address {
    /// Reads an address such as `orders`, `topic/Subscriptions/name/$DeadLetterQueue`,
    /// `orders/$management` or `amqps://host:5671/orders`. `None` if it names no entity.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let path = path(text).to_ascii_lowercase();
        let mut parts: Vec<&str> = path.split('/').collect();
        let management = parts.pop_if(|part| *part == "$management").is_some();
        let dead_letter = parts
            .pop_if(|part| matches!(*part, "$deadletterqueue" | "$transfer/$deadletterqueue"))
            .is_some();
        let subscription = match parts.len() {
            3.. if parts[parts.len() - 2] == "subscriptions" => {
                let name = parts.pop().map(str::to_owned);
                parts.pop();
                name
            }
            _ => None,
        };
        let entity = parts.join("/");
        if !is_name(&entity, MAX_ENTITY_NAME)
            || entity.split('/').any(|part| part == "subscriptions")
            || subscription
                .as_deref()
                .is_some_and(|name| !is_name(name, MAX_SUBSCRIPTION_NAME))
        {
            return None;
        }
        Some(Self {
            entity,
            subscription,
            dead_letter,
            management,
        })
    }

    /// The same without management node.
    #[must_use]
    pub fn entity(&self) -> Self {
        Self {
            management: false,
            ..self.clone()
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.entity)?;
        if let Some(subscription) = &self.subscription {
            write!(f, "/subscriptions/{subscription}")?;
        }
        if self.dead_letter {
            f.write_str("/$deadletterqueue")?;
        }
        if self.management {
            f.write_str("/$management")?;
        }
        Ok(())
    }
}

/// The path of an address that may have scheme and host, without slashes around it.
#[must_use]
pub fn path(text: &str) -> &str {
    let path = match text.split_once("://") {
        Some((_, rest)) => rest.split_once('/').map_or("", |(_, path)| path),
        None => text,
    };
    path.trim_matches('/')
}

/// Bytes that the name of a queue or topic may have (from the service's documentation).
const MAX_ENTITY_NAME: usize = 260;

/// Bytes that the name of a subscription may have (from the service's documentation).
const MAX_SUBSCRIPTION_NAME: usize = 50;

fn is_name(name: &str, max: usize) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "._-/~".contains(c);
    !name.is_empty()
        && name.len() <= max
        && name.chars().all(allowed)
        && name.split('/').all(|part| !part.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Option<String> {
        Address::parse(text).map(|address| address.to_string())
    }

    #[test]
    fn every_form_of_address_is_read() {
        assert_eq!(shown("Orders").as_deref(), Some("orders"));
        assert_eq!(shown("/a/b/").as_deref(), Some("a/b"));
        assert_eq!(
            shown("amqps://host:5671/T/Subscriptions/S").as_deref(),
            Some("t/subscriptions/s")
        );
        assert_eq!(
            shown("t/subscriptions/s/$DeadLetterQueue/$management").as_deref(),
            Some("t/subscriptions/s/$deadletterqueue/$management")
        );
    }

    #[test]
    fn what_names_no_entity_is_refused() {
        for text in [
            "",
            "/",
            "amqp://host",
            "a//b",
            "$cbs",
            "a b",
            "t/subscriptions/",
            "ä",
        ] {
            assert_eq!(shown(text), None, "{text}");
        }
    }
}
