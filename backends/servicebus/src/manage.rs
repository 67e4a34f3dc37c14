//! Topics and subscriptions: created, looked at and deleted over HTTP, as Atom entries.

use std::time::Duration;

use bytes::Bytes;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::{
    Method, Response, StatusCode,
    header::{CONTENT_TYPE, HeaderMap, HeaderValue},
};
use scaleout_core::{Error, ErrorKind, Result};

use crate::{
    config::{Config, Tier},
    http::{Http, nonsense, refusal, text_of},
};

mod atom;

/// The version of the interface that the SDKs use.
const VERSION: &str = "2021-05";
/// What may stand in the path of an entity as it is.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'/');
/// What a topic may hold for all its subscriptions: the most that every tier takes.
const MAX_MEGABYTES: u64 = 5_120;
/// A topic of the premium tier takes this unless it is told to take more.
const USUAL_MESSAGE_KILOBYTES: usize = 1_024;
/// How often a message is delivered before it goes to the dead-letter queue, where nobody would look
/// for it: the most that the service takes.
const MAX_DELIVERY_COUNT: u32 = 2_000;

/// The entities of a namespace.
#[derive(Clone, Debug)]
pub(crate) struct Manager {
    http: Http,
    lock_duration: Duration,
    subscription_ttl: Duration,
    auto_delete_on_idle: Duration,
    /// Of the messages that a topic is to take, if it has to be told.
    message_kilobytes: Option<usize>,
}

/// What is to be known of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TopicInfo {
    /// When it was created, in nanoseconds since 1970. A topic of the same name that was created again
    /// has another one.
    pub(crate) created: u64,
    /// Whether its messages are spread over partitions, so that their numbers are in no order.
    pub(crate) partitioned: bool,
}

impl Manager {
    pub(crate) fn new(config: &Config, http: Http) -> Self {
        let kilobytes = config.max_frame_bytes.div_ceil(1_024) + 4;
        Self {
            http,
            lock_duration: config.lock_duration,
            subscription_ttl: config.subscription_ttl,
            auto_delete_on_idle: config.auto_delete_on_idle,
            message_kilobytes: (config.tier == Tier::Premium
                && kilobytes > USUAL_MESSAGE_KILOBYTES)
                .then_some(kilobytes),
        }
    }

    /// Looks at a topic. `None` if there is none.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Auth`] if the policy may not; else what went wrong on the way.
    pub(crate) async fn topic(&self, name: &str) -> Result<Option<TopicInfo>> {
        let response = self.call(Method::GET, name, None).await?;
        match response.status() {
            StatusCode::NOT_FOUND => Ok(None),
            StatusCode::OK => {
                let text = text_of(response).await?;
                atom::read_topic(&text)
                    .map_err(|()| nonsense(&format!("the entry of topic {name}")))
            }
            _ => Err(refused("looking at", name, response).await),
        }
    }

    /// Creates a topic, unless it is there.
    pub(crate) async fn create_topic(&self, name: &str) -> Result<()> {
        let entry = atom::topic(MAX_MEGABYTES, self.message_kilobytes);
        self.create(name, entry).await
    }

    /// Creates a subscription that gets everything from now on, unless it is there.
    pub(crate) async fn create_subscription(&self, topic: &str, name: &str) -> Result<()> {
        let entry = atom::subscription(
            self.lock_duration,
            self.subscription_ttl,
            MAX_DELIVERY_COUNT,
            self.auto_delete_on_idle,
        );
        self.create(&subscription(topic, name), entry).await
    }

    /// Deletes a subscription, if it is there.
    pub(crate) async fn delete_subscription(&self, topic: &str, name: &str) -> Result<()> {
        self.delete(&subscription(topic, name)).await
    }

    /// Deletes a topic with its subscriptions, if it is there.
    pub(crate) async fn delete_topic(&self, name: &str) -> Result<()> {
        self.delete(name).await
    }

    async fn delete(&self, path: &str) -> Result<()> {
        let response = self.call(Method::DELETE, path, None).await?;
        match response.status() {
            status if status.is_success() => Ok(()),
            StatusCode::NOT_FOUND => Ok(()),
            _ => Err(refused("deleting", path, response).await),
        }
    }

    async fn create(&self, path: &str, entry: String) -> Result<()> {
        let response = self.call(Method::PUT, path, Some(entry)).await?;
        match response.status() {
            StatusCode::CREATED | StatusCode::OK | StatusCode::CONFLICT => Ok(()),
            _ => Err(refused("creating", path, response).await),
        }
    }

    async fn call(&self, method: Method, path: &str, entry: Option<String>) -> Result<Response> {
        let path = utf8_percent_encode(path, PLAIN);
        let url = self.http.url(&format!("{path}?api-version={VERSION}"))?;
        let mut headers = HeaderMap::new();
        if entry.is_some() {
            let entry = HeaderValue::from_static("application/atom+xml;type=entry;charset=utf-8");
            headers.insert(CONTENT_TYPE, entry);
        }
        let body = entry.map(Bytes::from).unwrap_or_default();
        let limit = self.http.timeout();
        self.http.send(method, url, headers, body, limit).await
    }
}

fn subscription(topic: &str, name: &str) -> String {
    format!("{topic}/subscriptions/{name}")
}

/// Why an entity could not be managed; of missing rights, which are missing.
async fn refused(what: &str, path: &str, response: Response) -> Error {
    let error = refusal(&format!("{what} {path}"), response).await;
    if error.kind() != ErrorKind::Auth {
        return error;
    }
    Error::new(
        ErrorKind::Auth,
        format!(
            "{error}; the policy needs the rights Manage, Send and Listen on the namespace, an identity \
             the role Azure Service Bus Data Owner"
        ),
    )
}

#[cfg(test)]
mod tests;
