//! Writes entries and feeds. Elements stand in the order of the service's schema, which some clients need.

use std::fmt::Write as _;

use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::{
    clock::Moment,
    entity::{
        Address, Correlation, Counts, Filter, Namespace, Property, QueueSettings, Rule,
        TopicSettings,
    },
};

use super::{super::answer::escape, span};

const CONNECT: &str = "http://schemas.microsoft.com/netservices/2010/10/servicebus/connect";
const COUNTS: &str = "http://schemas.microsoft.com/netservices/2011/06/servicebus";
const INSTANCE: &str = "http://www.w3.org/2001/XMLSchema-instance";
const SCHEMA: &str = "http://www.w3.org/2001/XMLSchema";
const ATOM: &str = "http://www.w3.org/2005/Atom";

/// What every entry of an answer has in common.
#[derive(Clone, Copy)]
pub(super) struct Page<'a> {
    /// Where ids begin: clients read names out of them as URLs.
    pub(super) base: &'a str,
    pub(super) now: Moment,
}

/// The entry of a queue, topic or subscription, if it is there.
pub(super) fn entity(
    page: Page<'_>,
    namespace: &mut Namespace,
    address: &Address,
) -> Option<String> {
    let created = namespace.created(address).ok()?;
    let (name, content) = if namespace.is_topic(address) {
        let (name, settings) = namespace.topic_settings(address).ok()?;
        let subscriptions = namespace.subscriptions(address).ok()?.len();
        (name, topic(created, &settings, subscriptions))
    } else {
        let (name, settings) = namespace.settings(address).ok()?;
        let counts = namespace.counts(address).ok()?;
        let content = if address.subscription.is_some() {
            subscription(created, &settings, counts)
        } else {
            queue(created, &settings, counts)
        };
        (name, content)
    };
    let path = match &address.subscription {
        Some(_) => subscription_path(namespace, address)?,
        None => name.clone(),
    };
    Some(entry(page, &name, &path, &content))
}

/// The entry of a rule.
pub(super) fn rule(
    page: Page<'_>,
    namespace: &mut Namespace,
    of: &Address,
    rule: &Rule,
) -> Option<String> {
    let filter = match &rule.filter {
        Filter::True => sql("TrueFilter", "1=1"),
        Filter::False => sql("FalseFilter", "1=0"),
        Filter::Sql(condition) => sql("SqlFilter", condition.text()),
        Filter::Correlation(filter) => correlation(filter),
    };
    let content = format!(
        "<RuleDescription xmlns=\"{CONNECT}\" xmlns:i=\"{INSTANCE}\">{filter}\
         <Action i:type=\"EmptyRuleAction\"/><CreatedAt>{}</CreatedAt><Name>{}</Name></RuleDescription>",
        date(page.now),
        escape(&rule.name)
    );
    let path = format!("{}/Rules/{}", subscription_path(namespace, of)?, rule.name);
    Some(entry(page, &rule.name, &path, &content))
}

/// The path of a subscription as the service writes it. The JavaScript SDK reads the names out of it, case and all.
fn subscription_path(namespace: &mut Namespace, address: &Address) -> Option<String> {
    let (name, _) = namespace.settings(address).ok()?;
    let (topic, _) = namespace.topic_settings(address).ok()?;
    Some(format!("{topic}/Subscriptions/{name}"))
}

/// A feed of entries.
pub(super) fn feed(title: &str, entries: &[String]) -> String {
    format!(
        "<feed xmlns=\"{ATOM}\"><title type=\"text\">{}</title>{}</feed>",
        escape(title),
        entries.concat()
    )
}

fn entry(page: Page<'_>, name: &str, path: &str, content: &str) -> String {
    let (name, path, date) = (escape(name), escape(path), date(page.now));
    let base = escape(page.base);
    format!(
        "<entry xmlns=\"{ATOM}\"><id>{base}/{path}</id><title type=\"text\">{name}</title>\
         <published>{date}</published><updated>{date}</updated><author><name>emulator</name></author>\
         <link rel=\"self\" href=\"{base}/{path}\"/><content type=\"application/xml\">{content}</content></entry>"
    )
}

fn queue(created: Moment, settings: &QueueSettings, counts: Counts) -> String {
    let window = settings.duplicates;
    let mut elements = Elements::of("QueueDescription");
    elements
        .put("LockDuration", span::write(settings.lock_duration))
        .put("MaxSizeInMegabytes", 1_024)
        .put("RequiresDuplicateDetection", window.is_some())
        .put("RequiresSession", false)
        .put(
            "DefaultMessageTimeToLive",
            span::write(settings.time_to_live),
        )
        .put(
            "DeadLetteringOnMessageExpiration",
            settings.dead_letter_on_expiration,
        )
        .put(
            "DuplicateDetectionHistoryTimeWindow",
            span::write(window.unwrap_or_default()),
        )
        .put("MaxDeliveryCount", settings.max_delivery_count)
        .put("EnableBatchedOperations", true)
        .put("SizeInBytes", counts.size)
        .put(
            "MessageCount",
            counts.active + counts.dead_letter + counts.scheduled,
        )
        .put("Status", "Active")
        .times(created)
        .counts(counts)
        .put(
            "AutoDeleteOnIdle",
            span::write(settings.auto_delete_on_idle),
        )
        .put("EnablePartitioning", false)
        .put("EntityAvailabilityStatus", "Available")
        .put("EnableExpress", false);
    elements.end()
}

fn topic(created: Moment, settings: &TopicSettings, subscriptions: usize) -> String {
    let window = settings.duplicates;
    let mut elements = Elements::of("TopicDescription");
    elements
        .put(
            "DefaultMessageTimeToLive",
            span::write(settings.time_to_live),
        )
        .put("MaxSizeInMegabytes", 1_024)
        .put("RequiresDuplicateDetection", window.is_some())
        .put(
            "DuplicateDetectionHistoryTimeWindow",
            span::write(window.unwrap_or_default()),
        )
        .put("EnableBatchedOperations", true)
        .put("SizeInBytes", 0)
        .put("Status", "Active")
        .times(created)
        .put("SupportOrdering", true)
        .counts(Counts::default())
        .put("SubscriptionCount", subscriptions)
        .put(
            "AutoDeleteOnIdle",
            span::write(settings.auto_delete_on_idle),
        )
        .put("EnablePartitioning", settings.partitioned)
        .put("EntityAvailabilityStatus", "Available")
        .put("EnableExpress", false);
    elements.end()
}

fn subscription(created: Moment, settings: &QueueSettings, counts: Counts) -> String {
    let mut elements = Elements::of("SubscriptionDescription");
    elements
        .put("LockDuration", span::write(settings.lock_duration))
        .put("RequiresSession", false)
        .put(
            "DefaultMessageTimeToLive",
            span::write(settings.time_to_live),
        )
        .put(
            "DeadLetteringOnMessageExpiration",
            settings.dead_letter_on_expiration,
        )
        .put(
            "DeadLetteringOnFilterEvaluationExceptions",
            settings.dead_letter_on_filter_error,
        )
        .put("MessageCount", counts.active + counts.dead_letter)
        .put("MaxDeliveryCount", settings.max_delivery_count)
        .put("EnableBatchedOperations", true)
        .put("Status", "Active")
        .times(created)
        .counts(counts)
        .put(
            "AutoDeleteOnIdle",
            span::write(settings.auto_delete_on_idle),
        )
        .put("EntityAvailabilityStatus", "Available");
    elements.end()
}

/// The elements of a description.
struct Elements {
    name: &'static str,
    text: String,
}

impl Elements {
    fn of(name: &'static str) -> Self {
        let text = format!("<{name} xmlns=\"{CONNECT}\" xmlns:i=\"{INSTANCE}\">");
        Self { name, text }
    }

    /// The value is a number, a flag or a word: nothing to escape.
    fn put(&mut self, name: &str, value: impl std::fmt::Display) -> &mut Self {
        // Writing to a string does not fail.
        let _ = write!(self.text, "<{name}>{value}</{name}>");
        self
    }

    /// Settings are not changed and reading leaves no trace, so the three are one.
    fn times(&mut self, created: Moment) -> &mut Self {
        let date = date(created);
        self.put("CreatedAt", &date)
            .put("UpdatedAt", &date)
            .put("AccessedAt", &date)
    }

    fn counts(&mut self, counts: Counts) -> &mut Self {
        let Counts {
            active,
            dead_letter,
            scheduled,
            ..
        } = counts;
        let _ = write!(
            self.text,
            "<CountDetails xmlns:d=\"{COUNTS}\"><d:ActiveMessageCount>{active}</d:ActiveMessageCount>\
             <d:DeadLetterMessageCount>{dead_letter}</d:DeadLetterMessageCount>\
             <d:ScheduledMessageCount>{scheduled}</d:ScheduledMessageCount>\
             <d:TransferMessageCount>0</d:TransferMessageCount>\
             <d:TransferDeadLetterMessageCount>0</d:TransferDeadLetterMessageCount></CountDetails>"
        );
        self
    }

    fn end(mut self) -> String {
        let _ = write!(self.text, "</{}>", self.name);
        self.text
    }
}

fn sql(kind: &str, condition: &str) -> String {
    let condition = escape(condition);
    format!(
        "<Filter i:type=\"{kind}\"><SqlExpression>{condition}</SqlExpression>\
         <CompatibilityLevel>20</CompatibilityLevel></Filter>"
    )
}

fn correlation(filter: &Correlation) -> String {
    let mut text = "<Filter i:type=\"CorrelationFilter\">".to_owned();
    for (name, value) in [
        ("CorrelationId", &filter.correlation_id),
        ("MessageId", &filter.message_id),
        ("To", &filter.to),
        ("ReplyTo", &filter.reply_to),
        ("Label", &filter.label),
        ("SessionId", &filter.session_id),
        ("ReplyToSessionId", &filter.reply_to_session_id),
        ("ContentType", &filter.content_type),
    ] {
        if let Some(value) = value {
            let _ = write!(text, "<{name}>{}</{name}>", escape(value));
        }
    }
    if !filter.properties.is_empty() {
        text.push_str("<Properties>");
        for (name, value) in &filter.properties {
            let (kind, value) = match value {
                Property::Int(value) => ("long", value.to_string()),
                Property::Float(value) => ("double", value.to_string()),
                Property::Bool(value) => ("boolean", value.to_string()),
                Property::Text(text) => ("string", escape(text)),
                Property::Time(at) => ("dateTime", date(*at)),
                Property::Null | Property::Binary(_) | Property::Uuid(_) => {
                    ("string", String::new())
                }
            };
            let _ = write!(
                text,
                "<KeyValueOfstringanyType><Key>{}</Key><Value xmlns:s=\"{SCHEMA}\" i:type=\"s:{kind}\">\
                 {value}</Value></KeyValueOfstringanyType>",
                escape(name)
            );
        }
        text.push_str("</Properties>");
    }
    text.push_str("</Filter>");
    text
}

fn date(at: Moment) -> String {
    let nanos = i128::from(at.millis()) * 1_000_000;
    let date =
        OffsetDateTime::from_unix_timestamp_nanos(nanos).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    date.format(&Rfc3339).unwrap_or_default()
}
