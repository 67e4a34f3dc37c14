//! Reads what clients describe.

use std::{collections::BTreeMap, time::Duration};

use roxmltree::{Document, Node, ParsingOptions};

use crate::entity::{
    Condition, Correlation, Filter, Property, QueueSettings, Refusal, Rule, TopicSettings,
};

use super::span;

/// Nodes that a document may have: more than any description needs.
const MAX_NODES: u32 = 10_000;

pub(super) enum Described {
    Queue(Settings),
    Topic(Settings),
    Subscription(Settings, Rule),
}

/// What a description sets. The rest stays as it is.
#[derive(Default)]
pub(super) struct Settings {
    lock_duration: Option<Duration>,
    time_to_live: Option<Duration>,
    max_delivery_count: Option<u32>,
    auto_delete_on_idle: Option<Duration>,
    dead_letter_on_expiration: Option<bool>,
    dead_letter_on_filter_error: Option<bool>,
    detects_duplicates: Option<bool>,
    duplicates: Option<Duration>,
    partitioned: Option<bool>,
}

/// For how long repetitions are recognised if a description says only that they are.
const DUPLICATES: Duration = Duration::from_secs(600);

pub(super) trait Over<T> {
    fn over(self, settings: T) -> T;
}

impl Settings {
    fn window(&self, before: Option<Duration>) -> Option<Duration> {
        match self.detects_duplicates {
            Some(true) => self.duplicates.or(before).or(Some(DUPLICATES)),
            Some(false) => None,
            None => before,
        }
    }
}

impl Over<QueueSettings> for Settings {
    fn over(self, settings: QueueSettings) -> QueueSettings {
        QueueSettings {
            lock_duration: self.lock_duration.unwrap_or(settings.lock_duration),
            time_to_live: self.time_to_live.unwrap_or(settings.time_to_live),
            max_delivery_count: self
                .max_delivery_count
                .unwrap_or(settings.max_delivery_count),
            auto_delete_on_idle: self
                .auto_delete_on_idle
                .unwrap_or(settings.auto_delete_on_idle),
            dead_letter_on_expiration: self
                .dead_letter_on_expiration
                .unwrap_or(settings.dead_letter_on_expiration),
            dead_letter_on_filter_error: self
                .dead_letter_on_filter_error
                .unwrap_or(settings.dead_letter_on_filter_error),
            duplicates: self.window(settings.duplicates),
        }
    }
}

impl Over<TopicSettings> for Settings {
    fn over(self, settings: TopicSettings) -> TopicSettings {
        TopicSettings {
            time_to_live: self.time_to_live.unwrap_or(settings.time_to_live),
            auto_delete_on_idle: self
                .auto_delete_on_idle
                .unwrap_or(settings.auto_delete_on_idle),
            duplicates: self.window(settings.duplicates),
            partitioned: self.partitioned.unwrap_or(settings.partitioned),
        }
    }
}

pub(super) fn entity(body: &[u8]) -> Result<Described, Refusal> {
    let text = text(body)?;
    let document = parse(text)?;
    for node in document.descendants() {
        match node.tag_name().name() {
            "QueueDescription" => return Ok(Described::Queue(settings(node)?)),
            "TopicDescription" => return Ok(Described::Topic(settings(node)?)),
            "SubscriptionDescription" => {
                let rule = match child(node, "DefaultRuleDescription") {
                    Some(rule) => read_rule(rule, None)?,
                    None => Rule::everything(),
                };
                return Ok(Described::Subscription(settings(node)?, rule));
            }
            _ => {}
        }
    }
    Err(Refusal::Invalid(
        "the entry describes no queue, topic or subscription".into(),
    ))
}

pub(super) fn rule(body: &[u8], name: &str) -> Result<Rule, Refusal> {
    let text = text(body)?;
    let document = parse(text)?;
    let mut nodes = document.descendants();
    let node = nodes.find(|node| node.tag_name().name() == "RuleDescription");
    let node = node.ok_or_else(|| Refusal::Invalid("the entry describes no rule".into()))?;
    read_rule(node, Some(name))
}

fn text(body: &[u8]) -> Result<&str, Refusal> {
    str::from_utf8(body).map_err(|_| Refusal::Invalid("the body is not UTF-8".into()))
}

fn parse(text: &str) -> Result<Document<'_>, Refusal> {
    let options = ParsingOptions {
        nodes_limit: MAX_NODES,
        ..ParsingOptions::default()
    };
    Document::parse_with_options(text.trim_start_matches('\u{feff}'), options)
        .map_err(|error| Refusal::Invalid(format!("the body is not the XML of an entry: {error}")))
}

fn settings(node: Node<'_, '_>) -> Result<Settings, Refusal> {
    let mut settings = Settings::default();
    for child in node.children().filter(Node::is_element) {
        let name = child.tag_name().name();
        let text = child.text().unwrap_or_default().trim();
        let invalid = || Refusal::Invalid(format!("{name} cannot be '{text}'"));
        let span = || span::read(text).map(Some).ok_or_else(invalid);
        let flag = || text.parse().map(Some).map_err(|_| invalid());
        match name {
            "LockDuration" => settings.lock_duration = span()?,
            "DefaultMessageTimeToLive" => settings.time_to_live = span()?,
            "AutoDeleteOnIdle" => settings.auto_delete_on_idle = span()?,
            "DuplicateDetectionHistoryTimeWindow" => settings.duplicates = span()?,
            "MaxDeliveryCount" => {
                settings.max_delivery_count = Some(text.parse().map_err(|_| invalid())?);
            }
            "DeadLetteringOnMessageExpiration" => settings.dead_letter_on_expiration = flag()?,
            "DeadLetteringOnFilterEvaluationExceptions" => {
                settings.dead_letter_on_filter_error = flag()?;
            }
            "RequiresDuplicateDetection" => settings.detects_duplicates = flag()?,
            "EnablePartitioning" => settings.partitioned = flag()?,
            "RequiresSession" if text == "true" => {
                return Err(Refusal::Invalid(
                    "message sessions are not supported".into(),
                ));
            }
            "ForwardTo" | "ForwardDeadLetteredMessagesTo" if !text.is_empty() => {
                return Err(Refusal::Invalid(format!("{name} is not supported")));
            }
            // What has no effect in one process, such as the size in megabytes.
            _ => {}
        }
    }
    Ok(settings)
}

fn read_rule(node: Node<'_, '_>, name: Option<&str>) -> Result<Rule, Refusal> {
    let kind = |node: Node<'_, '_>| {
        node.attributes()
            .find(|a| a.name() == "type")
            .map(|a| a.value().to_owned())
    };
    if let Some(action) = child(node, "Action")
        && kind(action).is_some_and(|kind| kind.ends_with("SqlRuleAction"))
    {
        return Err(Refusal::Invalid(
            "actions of rules are not supported".into(),
        ));
    }
    let told = child(node, "Name").and_then(|name| name.text());
    let name = name.or(told).unwrap_or(Rule::DEFAULT).to_owned();
    let Some(filter) = child(node, "Filter") else {
        return Ok(Rule {
            name,
            filter: Filter::True,
        });
    };
    let kind = kind(filter).unwrap_or_default();
    let filter = match kind.rsplit(':').next().unwrap_or_default() {
        "TrueFilter" => Filter::True,
        "FalseFilter" => Filter::False,
        "CorrelationFilter" => Filter::Correlation(Box::new(correlation(filter)?)),
        "SqlFilter" => {
            let expression = child(filter, "SqlExpression").and_then(|node| node.text());
            Filter::Sql(Condition::parse(expression.unwrap_or_default())?)
        }
        other => {
            return Err(Refusal::Invalid(format!(
                "the filter '{other}' is not supported"
            )));
        }
    };
    Ok(Rule { name, filter })
}

fn correlation(node: Node<'_, '_>) -> Result<Correlation, Refusal> {
    let get = |name| {
        child(node, name)
            .and_then(|node| node.text())
            .map(str::to_owned)
    };
    let mut properties = BTreeMap::new();
    for pair in child(node, "Properties")
        .into_iter()
        .flat_map(|node| node.children())
    {
        let (Some(key), Some(value)) = (child(pair, "Key"), child(pair, "Value")) else {
            continue;
        };
        let name = key.text().unwrap_or_default().to_owned();
        properties.insert(name, property(value)?);
    }
    Ok(Correlation {
        correlation_id: get("CorrelationId"),
        message_id: get("MessageId"),
        to: get("To"),
        reply_to: get("ReplyTo"),
        label: get("Label"),
        session_id: get("SessionId"),
        reply_to_session_id: get("ReplyToSessionId"),
        content_type: get("ContentType"),
        properties,
    })
}

fn property(node: Node<'_, '_>) -> Result<Property, Refusal> {
    let text = node.text().unwrap_or_default();
    let invalid = || Refusal::Invalid(format!("the value '{text}' is not of its type"));
    let kind = node
        .attributes()
        .find(|a| a.name() == "type")
        .map_or("string", |a| a.value());
    Ok(match kind.rsplit(':').next().unwrap_or_default() {
        "int" | "long" | "short" | "byte" => Property::Int(text.parse().map_err(|_| invalid())?),
        "double" | "float" | "decimal" => Property::Float(text.parse().map_err(|_| invalid())?),
        "boolean" => Property::Bool(text.parse().map_err(|_| invalid())?),
        _ => Property::Text(text.into()),
    })
}

fn child<'a, 'i>(node: Node<'a, 'i>, name: &str) -> Option<Node<'a, 'i>> {
    node.children()
        .find(|child| child.tag_name().name() == name)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_rule_of_the_python_sdk_is_read() {
        let body = r#"<?xml version='1.0' encoding='utf-8'?>
            <ns0:entry xmlns:ns0="http://www.w3.org/2005/Atom"><ns0:content type="application/xml">
            <RuleDescription xmlns="http://schemas.microsoft.com/netservices/2010/10/servicebus/connect"
              xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">
              <Filter xsi:type="CorrelationFilter"><Label>red</Label><Properties>
              <KeyValueOfstringanyType><Key>size</Key><Value xmlns:d="x" xsi:type="d:int">3</Value>
              </KeyValueOfstringanyType></Properties></Filter>
              <Action xsi:type="EmptyRuleAction" /><Name>ignored</Name>
            </RuleDescription></ns0:content></ns0:entry>"#;
        let rule = rule(body.as_bytes(), "named").unwrap();
        assert_eq!(rule.name, "named");
        let Filter::Correlation(filter) = rule.filter else {
            panic!("{rule:?}");
        };
        assert_eq!(filter.label.as_deref(), Some("red"));
        assert_eq!(filter.properties["size"], Property::Int(3));
    }

    #[test]
    fn deep_xml_is_refused() {
        let deep = "<a>".repeat(100_000);
        assert!(entity(deep.as_bytes()).is_err());
        let closed = format!("{}{}", "<a>".repeat(9_000), "</a>".repeat(9_000));
        assert!(entity(closed.as_bytes()).is_err());
    }

    proptest! {
        #[test]
        fn no_body_makes_it_panic(
            text in "(<|>|/|=|\"|QueueDescription|LockDuration|Filter|PT1M|&|;|a| |xmlns|\\PC)*",
        ) {
            let _ = entity(text.as_bytes());
            let _ = rule(format!("<RuleDescription>{text}</RuleDescription>").as_bytes(), "x");
        }
    }
}
