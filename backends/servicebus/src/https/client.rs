//! What the Service Bus client sends its requests with: to our host, with our token.
//!
//! The client's own way with an answer fails where the topic's number is beyond 31 bits, where the body
//! is no text, and where a message has no id or time to live: after the message was locked. So the
//! properties reach us under another name, and the body in base64.

use std::{fmt, time::Duration};

use async_trait::async_trait;
use azure_core::{
    Body, BytesStream, Error as AzureError, HttpClient, Request, Response, StatusCode,
    error::ErrorKind as AzureKind, headers::Headers,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use scaleout_core::{Error, ErrorKind, Outcome};

use crate::http::{Http, of_client, refusal};

/// What the properties of a message are called on the wire, and what we are told them under.
const PROPERTIES: &str = "brokerproperties";
pub(super) const OURS: &str = "x-scaleout-properties";

/// What an answer has on top of the time that the service is asked to wait, which is whole seconds.
const LEAST: Duration = Duration::from_secs(1);

/// Sends the client's requests.
#[derive(Debug)]
pub(super) struct Client {
    http: Http,
    liveness: Duration,
}

impl Client {
    pub(super) fn new(http: Http, liveness: Duration) -> Self {
        Self { http, liveness }
    }

    async fn execute(&self, request: &Request) -> Result<Response, Failure> {
        // The path alone: the token must not go to another host, whatever an answer said.
        let mut path = request.url().path().trim_start_matches('/').to_owned();
        if let Some(query) = request.url().query() {
            path = format!("{path}?{query}");
        }
        let body = match request.body() {
            Body::Bytes(body) => STANDARD
                .decode(body)
                .map_err(|_| Error::new(ErrorKind::InvalidInput, "a body is not in base64"))?,
            Body::SeekableStream(_) => {
                return Err(Error::new(ErrorKind::InvalidInput, "a body is a stream").into());
            }
        };
        let mut headers = HeaderMap::new();
        for name in [CONTENT_TYPE, HeaderName::from_static(PROPERTIES)] {
            let value = request
                .headers()
                .get_optional_string(&name.as_str().to_owned().into());
            if let Some(value) = value.and_then(|value| HeaderValue::from_str(&value).ok()) {
                headers.insert(name, value);
            }
        }
        let method = reqwest::Method::from_bytes(request.method().as_ref().as_bytes())
            .map_err(|_| Error::new(ErrorKind::InvalidInput, "there is no such method"))?;
        let limit = self.limit_of(request);
        let url = self.http.url(&path)?;
        let response = self
            .http
            .send(method, url, headers, Bytes::from(body), limit)
            .await?;
        let status = response.status();
        if !status.is_success() {
            let missing = matches!(status.as_u16(), 404 | 410);
            let error = refusal("a message", response).await;
            return Err(Failure { missing, error });
        }
        let mut headers = Headers::new();
        for (name, value) in response.headers() {
            if let Ok(value) = value.to_str() {
                let name = match name.as_str() {
                    PROPERTIES => OURS,
                    other => other,
                };
                headers.insert(name.to_owned(), value.to_owned());
            }
        }
        let status = StatusCode::try_from(status.as_u16()).unwrap_or(StatusCode::Ok);
        let body = response.bytes().await.map_err(|error| of_client(&error))?;
        let stream = BytesStream::new(STANDARD.encode(body));
        Ok(Response::new(status, headers, Box::pin(stream)))
    }

    /// How long the answer may take. Of a request that the service is asked to wait with for a message, no longer
    /// than the liveness time, whatever others may take: that is how a dead connection shows.
    fn limit_of(&self, request: &Request) -> Duration {
        let mut query = request.url().query_pairs();
        let wait = query
            .find(|(name, _)| name == "timeout")
            .and_then(|(_, seconds)| seconds.parse().ok())
            .map_or(Duration::ZERO, Duration::from_secs);
        if wait.is_zero() {
            return self.http.timeout();
        }
        let rest = self.liveness.saturating_sub(wait).max(LEAST);
        wait + rest.min(self.http.timeout())
    }
}

#[async_trait]
impl HttpClient for Client {
    async fn execute_request(&self, request: &Request) -> azure_core::Result<Response> {
        let answer = self.execute(request).await;
        answer.map_err(|failure| AzureError::new(AzureKind::Io, failure))
    }
}

/// An error of ours on its way through the client.
#[derive(Debug)]
struct Failure {
    /// Whether the service says that there is no such thing.
    missing: bool,
    error: Error,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self {
            missing: false,
            error,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl std::error::Error for Failure {}

/// Whether there is no such entity, or no such lock any more.
pub(super) fn is_missing(error: &AzureError) -> bool {
    let failure = error.downcast_ref::<Failure>();
    failure.is_some_and(|failure| failure.missing)
}

/// What an error of the client is in our terms.
pub(super) fn failure(error: AzureError) -> Error {
    match error.into_downcast::<Failure>() {
        Ok(failure) => failure.error,
        // Its own, which it makes only of what it is given.
        Err(error) => Error::new(ErrorKind::Broker, format!("servicebus: {error}")),
    }
}

/// A request that is no publish has no outcome.
pub(super) fn without_outcome(error: AzureError) -> Error {
    let error = failure(error);
    match error.outcome() {
        Outcome::NotStored => error,
        _ => Error::new(error.kind(), error.to_string()),
    }
}
