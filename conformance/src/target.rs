//! [`Target`]: what a backend lends the suite.

use std::{fmt, net::SocketAddr, sync::Arc, time::Duration};

use scaleout_core::{Connector, Error, ErrorKind, LogName, Namespace, Result};

use crate::{BoxFuture, Broker, Layer, Need, Setup, url};

/// Query parameters of a URL: names and values, which need no escaping.
pub type Params = Vec<(String, String)>;

/// What the suite runs against. Everything but the first two is optional: what is not offered is not
/// tested, and the report says so.
pub trait Target: fmt::Debug + Send + Sync + 'static {
    /// The broker's URL. The suite adds query parameters, the namespace among them, and never
    /// prints it.
    fn url(&self) -> String;

    /// Reads a URL, as the backend's own `connector` does.
    fn connector(&self, url: &str) -> Result<Connector>;

    /// `host:port` of the broker, if it is reached over TCP.
    fn addr(&self) -> Option<String> {
        None
    }

    /// The same URL with another address. The default replaces what stands between `//` (and user
    /// and password) and the path.
    fn url_via(&self, addr: SocketAddr) -> String {
        url::with_authority(&self.url(), &addr.to_string())
    }

    /// Whether its URLs name several addresses with commas between them, of which a node takes one
    /// that answers.
    fn takes_several_addresses(&self) -> bool {
        false
    }

    /// The query parameters that make a log keep this many frames and no more (approximately, if the
    /// backend says so). `None` where that cannot be set.
    fn retention_frames(&self, frames: usize) -> Option<Params> {
        let _ = frames;
        None
    }

    /// The query parameters that make a log keep frames for this long, whole seconds, and then drop
    /// them within some more, at least while others are appended. `None` where that cannot be set.
    fn retention_age(&self, age: Duration) -> Option<Params> {
        let _ = age;
        None
    }

    /// What can be done to the broker behind the backend's back.
    fn admin(&self) -> Option<&dyn Admin> {
        None
    }

    /// Whether [`broker`](Self::broker) can start one with the properties that `need` asks for
    /// ([`Need::Broker`] and those that follow it). Must not start it.
    fn offers_broker(&self, need: Need) -> bool {
        let _ = need;
        false
    }

    /// Starts a broker that the caller owns.
    fn broker(&self, setup: Setup) -> BoxFuture<'_, Result<Box<dyn Broker>>> {
        let _ = setup;
        Box::pin(std::future::ready(Err(not_offered("a broker of its own"))))
    }

    /// What stands between the cases and the node. Mutants only.
    fn layer(&self) -> Option<Arc<dyn Layer>> {
        None
    }
}

/// What can be done to a broker behind the backend's back: what an operator does, and what only the
/// broker can tell.
pub trait Admin: Send + Sync {
    /// Which of the operations work ([`Need::TrimToEmpty`], [`Need::DeleteLog`],
    /// [`Need::Subscriptions`], [`Need::Evict`]). The others are not called.
    fn offers(&self, need: Need) -> bool;

    /// Drops every frame of a log, and leaves the log: its epoch and head stay.
    fn trim_to_empty<'a>(&'a self, log: &'a LogName) -> BoxFuture<'a, Result<()>> {
        let _ = log;
        Box::pin(std::future::ready(Err(not_offered("trim to empty"))))
    }

    /// Removes a log with all that belongs to it.
    fn delete_log<'a>(&'a self, log: &'a LogName) -> BoxFuture<'a, Result<()>> {
        let _ = log;
        Box::pin(std::future::ready(Err(not_offered("delete log"))))
    }

    /// How many subscriptions of this log there are at the broker.
    fn subscriptions<'a>(&'a self, log: &'a LogName) -> BoxFuture<'a, Result<usize>> {
        let _ = log;
        Box::pin(std::future::ready(Err(not_offered("count subscriptions"))))
    }

    /// Throws away part `part` of what the broker keeps of a log, from 0, as a broker does that needs
    /// the memory. Returns whether there was such a part: `false` ends the list.
    fn evict<'a>(&'a self, log: &'a LogName, part: usize) -> BoxFuture<'a, Result<bool>> {
        let _ = (log, part);
        Box::pin(std::future::ready(Err(not_offered("evict"))))
    }

    /// Removes whatever a case left in its namespace, so that a shared broker does not fill up. The
    /// default leaves that to the broker's own expiry.
    fn clean<'a>(&'a self, namespace: &'a Namespace) -> BoxFuture<'a, Result<()>> {
        let _ = namespace;
        Box::pin(std::future::ready(Ok(())))
    }
}

pub(crate) fn not_offered(what: &str) -> Error {
    Error::new(
        ErrorKind::Unsupported,
        format!("the target does not offer: {what}"),
    )
}

/// A [`Target`] that is a URL and nothing more, as `scaleout check` uses it.
#[derive(Clone)]
pub struct UrlTarget {
    url: String,
    connector: fn(&str) -> Result<Connector>,
    retention: Option<fn(usize) -> Params>,
    remove: Option<Remove>,
}

/// Removes all that the namespace of a URL has at its broker.
type Remove = fn(String) -> BoxFuture<'static, Result<()>>;

impl UrlTarget {
    /// The broker at `url`, through the backend that `connector` makes.
    pub fn new(url: impl Into<String>, connector: fn(&str) -> Result<Connector>) -> Self {
        Self {
            url: url.into(),
            connector,
            retention: None,
            remove: None,
        }
    }

    /// Says which query parameters make a log keep a number of frames.
    #[must_use]
    pub fn with_retention(mut self, retention: fn(usize) -> Params) -> Self {
        self.retention = Some(retention);
        self
    }

    /// Says how to remove all that the namespace of a URL has at its broker, for brokers that do not
    /// do it by themselves.
    #[must_use]
    pub fn with_remove(mut self, remove: Remove) -> Self {
        self.remove = Some(remove);
        self
    }
}

impl fmt::Debug for UrlTarget {
    /// Without what may be a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UrlTarget")
            .field("scheme", &url::scheme(&self.url))
            .finish_non_exhaustive()
    }
}

impl Target for UrlTarget {
    fn url(&self) -> String {
        self.url.clone()
    }

    fn connector(&self, url: &str) -> Result<Connector> {
        (self.connector)(url)
    }

    fn addr(&self) -> Option<String> {
        url::authority(&self.url).map(str::to_owned)
    }

    fn retention_frames(&self, frames: usize) -> Option<Params> {
        self.retention.map(|retention| retention(frames))
    }

    fn admin(&self) -> Option<&dyn Admin> {
        self.remove.is_some().then_some(self as &dyn Admin)
    }
}

impl Admin for UrlTarget {
    fn offers(&self, _: Need) -> bool {
        false
    }

    fn clean<'a>(&'a self, namespace: &'a Namespace) -> BoxFuture<'a, Result<()>> {
        let namespace = [("namespace".to_owned(), namespace.to_string())];
        match self.remove {
            Some(remove) => remove(url::with_params(&self.url, &namespace)),
            None => Box::pin(std::future::ready(Ok(()))),
        }
    }
}
