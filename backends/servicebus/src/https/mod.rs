//! Messages over HTTPS: a request for each, several under way at once. For where nothing but port 443
//! is open; AMQP does the same with a fraction of the requests.

use std::sync::{Arc, Mutex, PoisonError};

use azure_messaging_servicebus::{
    prelude::TopicClient,
    service_bus::{SendMessageOptions, SettableBrokerProperties},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use reqwest::{Method, header::HeaderMap};
use scaleout_core::{Error, ErrorKind, Result};
use tokio::time::{Duration, Instant};

use crate::{
    config::Config,
    http::{Http, refusal},
    transport::{Outgoing, Sent, Transport},
};

mod client;
mod receiver;

#[cfg(test)]
mod tests;

use self::{client::Client, receiver::Puller};

/// A message that nobody has, of an entity that there need not be: asking for it changes nothing.
const NOTHING: &str = "scaleout/messages/0/00000000-0000-0000-0000-000000000000";

/// The namespace over HTTPS.
pub(crate) struct Https {
    /// Nothing once it was closed: connections end with the last that uses them.
    open: Mutex<Option<Open>>,
    liveness: Duration,
}

#[derive(Clone)]
struct Open {
    http: Http,
    client: Arc<Client>,
}

impl Https {
    pub(crate) fn new(config: &Config, http: Http) -> Self {
        let client = Arc::new(Client::new(http.clone(), config.liveness));
        Self {
            open: Mutex::new(Some(Open { http, client })),
            liveness: config.liveness,
        }
    }

    fn open(&self) -> Result<Open> {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.clone().ok_or_else(Error::closed)
    }

    fn topic(&self, topic: &str) -> Result<TopicClient> {
        // It would put the host together itself, and sign with the key, which the client does better:
        // it is told neither.
        TopicClient::new(self.open()?.client, "namespace", topic, "", String::new())
            .map_err(client::failure)
    }
}

impl Transport for Https {
    type Receiver = Puller;

    async fn probe(&self) -> Result<()> {
        let http = self.open()?.http;
        let url = http.url(NOTHING)?;
        let asked = http.send(
            Method::POST,
            url,
            HeaderMap::new(),
            Bytes::new(),
            http.timeout(),
        );
        let response = asked.await?;
        match response.status().as_u16() {
            // There is none, as was to be expected. Whether this policy may receive shows first.
            404 | 410 => Ok(()),
            status if (200..300).contains(&status) => Ok(()),
            _ => Err(refusal("looking at the namespace", response).await),
        }
    }

    async fn send(&self, topic: &str, message: Outgoing) -> Result<Sent> {
        let properties = SettableBrokerProperties {
            message_id: Some(message.id),
            ..SettableBrokerProperties::default()
        };
        let options = SendMessageOptions {
            content_type: Some("application/octet-stream".to_owned()),
            broker_properties: Some(properties),
            ..SendMessageOptions::default()
        };
        // It takes text. The client makes bytes of it again, so that nodes with AMQP read them too.
        let body = STANDARD.encode(&message.body);
        let sender = self.topic(topic)?.topic_sender();
        match sender.send_message(&body, Some(options)).await {
            Ok(()) => Ok(Sent::Stored),
            Err(error) if client::is_missing(&error) => Ok(Sent::NoTopic),
            Err(error) => Err(client::failure(error)),
        }
    }

    async fn receive(&self, topic: &str, subscription: &str) -> Result<Option<Puller>> {
        let receiver = self.topic(topic)?.subscription_receiver(subscription);
        Puller::open(receiver, self.liveness).await
    }

    async fn close(&self, _: Instant) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        *open = None;
    }
}

/// An answer that is no message.
fn no_message(what: &str) -> Error {
    Error::new(ErrorKind::Broker, format!("servicebus: a message {what}"))
}
