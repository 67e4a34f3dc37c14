//! Rules of a subscription: which of the topic's messages it gets.

use std::collections::BTreeMap;

use crate::entity::{Message, Property, sql::Condition};

/// A named filter of a subscription.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// The name, as it was given.
    pub name: String,
    /// Which messages it lets through.
    pub filter: Filter,
}

impl Rule {
    /// The name of the rule that every new subscription has, which lets everything through.
    pub const DEFAULT: &'static str = "$Default";

    /// The rule of that name.
    #[must_use]
    pub fn everything() -> Self {
        Self {
            name: Self::DEFAULT.into(),
            filter: Filter::True,
        }
    }
}

/// Which messages a rule lets through.
#[derive(Clone, Debug, PartialEq)]
pub enum Filter {
    /// All.
    True,
    /// None.
    False,
    /// Those whose properties equal all that are given.
    Correlation(Box<Correlation>),
    /// Those that an SQL condition holds for.
    Sql(Condition),
}

/// What a correlation filter compares. What is absent is not compared.
#[derive(Clone, Debug, Default, PartialEq)]
#[expect(missing_docs, reason = "each is the Service Bus property of its name")]
pub struct Correlation {
    pub correlation_id: Option<String>,
    pub message_id: Option<String>,
    pub to: Option<String>,
    pub reply_to: Option<String>,
    pub label: Option<String>,
    pub session_id: Option<String>,
    pub reply_to_session_id: Option<String>,
    pub content_type: Option<String>,
    pub properties: BTreeMap<String, Property>,
}

impl Filter {
    /// Whether the message gets through.
    #[must_use]
    pub fn matches(&self, message: &Message) -> bool {
        match self {
            Self::True => true,
            Self::False => false,
            Self::Correlation(correlation) => correlation.matches(message),
            Self::Sql(condition) => condition.holds(message),
        }
    }
}

impl Correlation {
    fn matches(&self, message: &Message) -> bool {
        let system = &message.system;
        let equal = |wanted: &Option<String>, is: &Option<String>| wanted.is_none() || wanted == is;
        equal(&self.correlation_id, &system.correlation_id)
            && equal(&self.message_id, &system.message_id)
            && equal(&self.to, &system.to)
            && equal(&self.reply_to, &system.reply_to)
            && equal(&self.label, &system.label)
            && equal(&self.session_id, &system.session_id)
            && equal(&self.reply_to_session_id, &system.reply_to_session_id)
            && equal(&self.content_type, &system.content_type)
            && self
                .properties
                .iter()
                .all(|(name, value)| message.properties.get(name) == Some(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_correlation_filter_wants_everything_it_names() {
        let filter = Filter::Correlation(Box::new(Correlation {
            label: Some("red".into()),
            properties: [("size".to_owned(), Property::Int(3))].into(),
            ..Correlation::default()
        }));
        let mut message = Message::default();
        message.system.label = Some("red".into());
        assert!(!filter.matches(&message));
        message.properties.insert("size".into(), Property::Int(3));
        assert!(filter.matches(&message));
        message.system.label = Some("Red".into());
        assert!(
            !filter.matches(&message),
            "values are compared with their case"
        );
    }
}
