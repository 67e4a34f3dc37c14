//! The two forms in which `tail` prints: lines for people, and one JSON object per line.

use std::{
    io::{self, Write},
    time::UNIX_EPOCH,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use scaleout::{Cursor, Entry, Event, Health, ResetReason, Topic};
use serde::Serialize;

use crate::output::printable;

#[derive(Clone, Copy)]
pub(super) enum Format {
    Text,
    Json,
}

/// One line of `tail --json`. Sequences are numbers up to 2^63; epochs are hexadecimal text.
#[derive(Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Line<'a> {
    Subscribed {
        topic: &'a str,
        cursor: String,
    },
    Message {
        topic: &'a str,
        sequence: u64,
        epoch: String,
        cursor: String,
        /// The publisher's clock, in milliseconds since 1970.
        published_at_ms: Option<u64>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        headers: Vec<(&'a str, &'a str)>,
        #[serde(flatten)]
        payload: Payload<'a>,
    },
    Gap {
        topic: &'a str,
        epoch: String,
        first: u64,
        last: u64,
    },
    Reset {
        topic: &'a str,
        epoch: String,
        reason: &'static str,
    },
    Unreadable {
        topic: &'a str,
        epoch: String,
        first: u64,
        last: u64,
        reason: String,
    },
    Closed {
        topic: &'a str,
        error: Option<String>,
    },
    State {
        state: String,
        error: Option<&'a str>,
    },
    /// An event that a later version of the library added.
    Other {
        topic: &'a str,
        debug: String,
    },
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Payload<'a> {
    Payload(&'a str),
    PayloadBase64(String),
}

impl Format {
    pub(super) fn subscribed(
        self,
        out: &mut impl Write,
        topic: &Topic,
        cursor: &Cursor,
    ) -> io::Result<()> {
        match self {
            Self::Json => json(
                out,
                &Line::Subscribed {
                    topic: topic.as_str(),
                    cursor: cursor.to_string(),
                },
            ),
            Self::Text => aside(
                out,
                format_args!("{} subscribed", printable(topic.as_str())),
            ),
        }
    }

    pub(super) fn state(self, out: &mut impl Write, health: &Health) -> io::Result<()> {
        let error = health.last_error.as_deref();
        match self {
            Self::Json => json(
                out,
                &Line::State {
                    state: health.state.to_string(),
                    error,
                },
            ),
            Self::Text => match error {
                None => aside(out, format_args!("{}", health.state)),
                Some(error) => aside(out, format_args!("{}: {}", health.state, printable(error))),
            },
        }
    }

    pub(super) fn event(
        self,
        out: &mut impl Write,
        topic: &Topic,
        event: &Event,
    ) -> io::Result<()> {
        match self {
            Self::Json => json(out, &line(topic, event)),
            Self::Text => text(out, topic, event),
        }
    }
}

/// What is not part of the stream goes to standard error, so that standard output can be piped.
fn aside(out: &mut impl Write, what: std::fmt::Arguments<'_>) -> io::Result<()> {
    out.flush()?;
    writeln!(io::stderr(), "-- {what}")
}

fn json(out: &mut impl Write, line: &Line<'_>) -> io::Result<()> {
    serde_json::to_writer(&mut *out, line)?;
    out.write_all(b"\n")
}

fn line<'a>(topic: &'a Topic, event: &'a Event) -> Line<'a> {
    let topic = topic.as_str();
    match event {
        Event::Message(entry) => Line::Message {
            topic,
            sequence: entry.sequence().get(),
            epoch: entry.epoch().to_string(),
            cursor: entry.cursor().to_string(),
            published_at_ms: published_at_ms(entry),
            headers: entry.message().headers().collect(),
            payload: match std::str::from_utf8(entry.payload()) {
                Ok(text) => Payload::Payload(text),
                Err(_) => Payload::PayloadBase64(STANDARD.encode(entry.payload())),
            },
        },
        Event::Gap(gap) => Line::Gap {
            topic,
            epoch: gap.epoch.to_string(),
            first: gap.first.get(),
            last: gap.last.get(),
        },
        Event::Reset(reset) => Line::Reset {
            topic,
            epoch: reset.epoch.to_string(),
            reason: match reset.reason {
                ResetReason::EpochChanged => "epoch_changed",
                ResetReason::AheadOfHead => "ahead_of_head",
                _ => "other",
            },
        },
        Event::Unreadable(skipped) => Line::Unreadable {
            topic,
            epoch: skipped.epoch.to_string(),
            first: skipped.first.get(),
            last: skipped.last.get(),
            reason: skipped.reason.to_string(),
        },
        Event::Closed(error) => Line::Closed {
            topic,
            error: error.as_ref().map(ToString::to_string),
        },
        other => Line::Other {
            topic,
            debug: format!("{other:?}"),
        },
    }
}

fn text(out: &mut impl Write, topic: &Topic, event: &Event) -> io::Result<()> {
    let topic = printable(topic.as_str());
    match event {
        Event::Message(entry) => {
            write!(out, "{topic} #{} ", entry.sequence())?;
            for (name, value) in entry.message().headers() {
                write!(out, "[{}: {}] ", printable(name), printable(value))?;
            }
            match std::str::from_utf8(entry.payload()) {
                Ok(text) => writeln!(out, "{}", printable(text)),
                Err(_) => writeln!(out, "{}", entry.payload().escape_ascii()),
            }
        }
        Event::Gap(gap) => writeln!(
            out,
            "{topic} GAP #{} to #{} can no longer be delivered",
            gap.first, gap.last
        ),
        Event::Reset(reset) => writeln!(
            out,
            "{topic} RESET to epoch {}: {}",
            reset.epoch,
            match reset.reason {
                ResetReason::EpochChanged => "the broker lost or recreated the log",
                ResetReason::AheadOfHead => "the broker fell back to older data",
                _ => "the sequence starts anew",
            }
        ),
        Event::Unreadable(skipped) => writeln!(
            out,
            "{topic} UNREADABLE #{} to #{}: {}",
            skipped.first, skipped.last, skipped.reason
        ),
        Event::Closed(None) => writeln!(out, "{topic} CLOSED"),
        Event::Closed(Some(error)) => {
            writeln!(out, "{topic} CLOSED: {}", printable(&error.to_string()))
        }
        other => writeln!(out, "{topic} {}", printable(&format!("{other:?}"))),
    }
}

fn published_at_ms(entry: &Entry) -> Option<u64> {
    let since = entry.published_at().duration_since(UNIX_EPOCH).ok()?;
    u64::try_from(since.as_millis()).ok()
}
