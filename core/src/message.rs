//! [`Message`]: what an application publishes.

use bytes::Bytes;

/// What an application publishes: a payload of any bytes, and headers.
///
/// ```
/// # use scaleout_core::Message;
/// let message = Message::new("hello").with_header("content-type", "text/plain");
/// assert_eq!(message.payload(), "hello".as_bytes());
/// assert_eq!(message.header("content-type"), Some("text/plain"));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    payload: Bytes,
    headers: Vec<(String, String)>,
}

impl Message {
    /// A message without headers.
    pub fn new(payload: impl Into<Bytes>) -> Self {
        Self {
            payload: payload.into(),
            headers: Vec::new(),
        }
    }

    /// Adds a header. Any text is allowed, empty values too; order and repetitions are kept.
    #[must_use]
    pub fn with_header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    pub(crate) fn from_parts(payload: Bytes, headers: Vec<(String, String)>) -> Self {
        Self { payload, headers }
    }

    /// The payload.
    pub fn payload(&self) -> &Bytes {
        &self.payload
    }

    /// Takes the payload.
    pub fn into_payload(self) -> Bytes {
        self.payload
    }

    /// The value of the first header of that name. Names are compared byte by byte.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers()
            .find_map(|(key, value)| (key == name).then_some(value))
    }

    /// All headers, in the order they were added.
    pub fn headers(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        self.headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

impl<P: Into<Bytes>> From<P> for Message {
    fn from(payload: P) -> Self {
        Self::new(payload)
    }
}
