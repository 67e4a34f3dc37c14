//! [`Capture`]: everything that a thread says: log lines, metrics, and what it is told to note.

use std::{
    error::Error as _,
    fmt::{self, Write as _},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use scaleout_core::Error;
use tracing::{
    Dispatch, Event, Subscriber,
    field::{Field, Visit},
    span,
};

/// Notes what is said on one thread. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Capture {
    said: Arc<Mutex<String>>,
    spans: Arc<AtomicU64>,
}

impl Capture {
    /// Runs something on this thread, and notes what it logs and counts.
    pub(crate) fn around<T>(&self, run: impl FnOnce() -> T) -> T {
        let dispatch = Dispatch::new(self.clone());
        tracing::dispatcher::with_default(&dispatch, || metrics::with_local_recorder(self, run))
    }

    /// Notes a text.
    pub(crate) fn say(&self, text: &str) {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        said.push_str(text);
        said.push('\n');
    }

    /// Notes all that an error shows.
    pub(crate) fn error(&self, error: &Error) {
        self.say(&format!("{error} {error:?} {error:#?}"));
        let mut source = error.source();
        while let Some(cause) = source {
            self.say(&format!("{cause} {cause:?}"));
            source = cause.source();
        }
    }

    /// All that was said.
    pub(crate) fn said(&self) -> String {
        self.said
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Subscriber for Capture {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, attributes: &span::Attributes<'_>) -> span::Id {
        let mut line = Line(attributes.metadata().name().to_owned());
        attributes.record(&mut line);
        self.say(&line.0);
        span::Id::from_u64(1 + self.spans.fetch_add(1, Ordering::Relaxed))
    }

    fn record(&self, _: &span::Id, values: &span::Record<'_>) {
        let mut line = Line(String::new());
        values.record(&mut line);
        self.say(&line.0);
    }

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(event.metadata().target().to_owned());
        event.record(&mut line);
        self.say(&line.0);
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

/// The fields of a log line.
struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a string does not fail.
        let _ = write!(self.0, " {field}={value:?}");
    }
}

impl Recorder for Capture {
    fn describe_counter(&self, key: KeyName, _: Option<Unit>, description: SharedString) {
        self.say(&format!("{key:?} {description}"));
    }

    fn describe_gauge(&self, key: KeyName, _: Option<Unit>, description: SharedString) {
        self.say(&format!("{key:?} {description}"));
    }

    fn describe_histogram(&self, key: KeyName, _: Option<Unit>, description: SharedString) {
        self.say(&format!("{key:?} {description}"));
    }

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        self.say(&format!("{key:?}"));
        Counter::noop()
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        self.say(&format!("{key:?}"));
        Gauge::noop()
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        self.say(&format!("{key:?}"));
        Histogram::noop()
    }
}

#[cfg(test)]
mod tests {
    use scaleout_core::ErrorKind;

    use super::*;

    #[test]
    fn lines_metrics_and_errors_are_noted() {
        let capture = Capture::default();
        capture.around(|| {
            tracing::info!(user = "u", "hello {}", "world");
            let _span = tracing::info_span!("connect", host = "h").entered();
            metrics::counter!("published", "backend" => "memory").increment(1);
        });
        let cause = std::io::Error::other("the cause");
        capture.error(&Error::new(ErrorKind::Unavailable, "lost").with_source(cause));
        let said = capture.said();
        for part in [
            "hello world",
            "\"u\"",
            "connect",
            "\"h\"",
            "published",
            "memory",
            "lost",
            "the cause",
        ] {
            assert!(said.contains(part), "{part} in {said}");
        }
    }
}
