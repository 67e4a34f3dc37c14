//! The XML of entries.

use std::{fmt::Write as _, time::Duration};

use roxmltree::Document;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::TopicInfo;

const ATOM: &str = "http://www.w3.org/2005/Atom";
const CONNECT: &str = "http://schemas.microsoft.com/netservices/2010/10/servicebus/connect";

/// A topic to create. Elements stand in the order of the service's schema, on which it insists.
pub(super) fn topic(megabytes: u64, message_kilobytes: Option<usize>) -> String {
    let mut entry = Entry::of("TopicDescription");
    entry
        .put("MaxSizeInMegabytes", megabytes)
        .put("SupportOrdering", true)
        .put("EnablePartitioning", false);
    if let Some(kilobytes) = message_kilobytes {
        entry.put("MaxMessageSizeInKilobytes", kilobytes);
    }
    entry.end()
}

/// A subscription to create.
pub(super) fn subscription(
    lock: Duration,
    time_to_live: Duration,
    max_delivery_count: u32,
    auto_delete_on_idle: Duration,
) -> String {
    let mut entry = Entry::of("SubscriptionDescription");
    entry
        .put("LockDuration", Span(lock))
        .put("DefaultMessageTimeToLive", Span(time_to_live))
        .put("DeadLetteringOnMessageExpiration", false)
        .put("MaxDeliveryCount", max_delivery_count)
        .put("AutoDeleteOnIdle", Span(auto_delete_on_idle));
    entry.end()
}

/// Reads the answer to a look at a topic: an entry, or a feed without one if there is no topic.
pub(super) fn read_topic(text: &str) -> Result<Option<TopicInfo>, ()> {
    let document = parse(text)?;
    if !document.root_element().has_tag_name((ATOM, "entry")) {
        return Ok(None);
    }
    let mut nodes = document.descendants();
    let topic = nodes.find(|node| node.has_tag_name((CONNECT, "TopicDescription")));
    let topic = topic.ok_or(())?;
    let element = |name: &str| {
        let mut children = topic.children();
        let found = children.find(|node| node.has_tag_name((CONNECT, name)));
        found.and_then(|node| node.text()).map(str::trim)
    };
    let created = OffsetDateTime::parse(element("CreatedAt").ok_or(())?, &Rfc3339);
    let created = created.map_err(|_| ())?.unix_timestamp_nanos();
    Ok(Some(TopicInfo {
        created: created.try_into().map_err(|_| ())?,
        partitioned: element("EnablePartitioning") == Some("true"),
    }))
}

fn parse(text: &str) -> Result<Document<'_>, ()> {
    Document::parse(text.trim_start_matches('\u{feff}')).map_err(|_| ())
}

/// An entry that is being written.
struct Entry {
    name: &'static str,
    text: String,
}

impl Entry {
    fn of(name: &'static str) -> Self {
        let text = format!(
            "<entry xmlns=\"{ATOM}\"><content type=\"application/xml\"><{name} xmlns=\"{CONNECT}\">"
        );
        Self { name, text }
    }

    /// Values are numbers, flags and spans: nothing to escape.
    fn put(&mut self, name: &str, value: impl std::fmt::Display) -> &mut Self {
        // Writing to a string does not fail.
        let _ = write!(self.text, "<{name}>{value}</{name}>");
        self
    }

    fn end(self) -> String {
        format!("{}</{}></content></entry>", self.text, self.name)
    }
}

/// A span of time in ISO 8601.
struct Span(Duration);

impl std::fmt::Display for Span {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (seconds, millis) = (self.0.as_secs(), self.0.subsec_millis());
        write!(
            f,
            "P{}DT{}.{millis:03}S",
            seconds / 86_400,
            seconds % 86_400
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An entry as the service writes it.
    fn entry(content: &str) -> String {
        format!(
            "\u{feff}<entry xmlns=\"{ATOM}\"><id>x</id><title type=\"text\">x</title>\
             <content type=\"application/xml\"><TopicDescription xmlns=\"{CONNECT}\" \
             xmlns:i=\"http://www.w3.org/2001/XMLSchema-instance\">{content}</TopicDescription></content></entry>"
        )
    }

    #[test]
    fn a_topic_is_known_by_when_it_was_created() {
        let text = entry(
            "<EnablePartitioning>true</EnablePartitioning><CreatedAt>2024-02-29T12:00:00.1234567Z</CreatedAt>",
        );
        let info = read_topic(&text).unwrap().unwrap();
        assert_eq!(info.created, 1_709_208_000_123_456_700);
        assert!(info.partitioned);
    }

    #[test]
    fn a_feed_without_entries_is_no_topic() {
        let feed = format!(
            "<feed xmlns=\"{ATOM}\"><title type=\"text\">Publicly Listed Services</title></feed>"
        );
        assert_eq!(read_topic(&feed), Ok(None));
    }

    #[test]
    fn what_describes_no_topic_is_an_error() {
        for text in [
            String::new(),
            "<html>".to_owned(),
            entry(""),
            entry("<CreatedAt>yesterday</CreatedAt>"),
            entry("<CreatedAt>0001-01-01T00:00:00Z</CreatedAt>"),
            format!("<entry xmlns=\"{ATOM}\"/>"),
        ] {
            assert_eq!(read_topic(&text), Err(()), "{text}");
        }
    }

    #[test]
    fn spans_are_those_of_iso_8601() {
        let write = |millis| Span(Duration::from_millis(millis)).to_string();
        assert_eq!(write(60_000), "P0DT60.000S");
        assert_eq!(write(86_400_000 * 14 + 1_500), "P14DT1.500S");
    }

    #[test]
    fn elements_stand_in_the_order_of_the_schema() {
        let text = subscription(
            Duration::from_secs(60),
            Duration::from_secs(600),
            2_000,
            Duration::from_secs(300),
        );
        let document = parse(&text).unwrap();
        let root = document
            .descendants()
            .find(|node| node.has_tag_name((CONNECT, "SubscriptionDescription")));
        let names: Vec<_> = root
            .unwrap()
            .children()
            .map(|c| c.tag_name().name())
            .collect();
        assert_eq!(
            names,
            [
                "LockDuration",
                "DefaultMessageTimeToLive",
                "DeadLetteringOnMessageExpiration",
                "MaxDeliveryCount",
                "AutoDeleteOnIdle",
            ]
        );
        assert!(topic(5_120, Some(9_000)).contains("Partitioning><MaxMessageSizeInKilobytes>9000"));
    }
}
