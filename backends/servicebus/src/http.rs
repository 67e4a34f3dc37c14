//! One HTTP client for entities and messages, and what answers mean.

use std::time::Duration;

use bytes::Bytes;
use reqwest::{
    Client, Method, Response, StatusCode, Url,
    header::{AUTHORIZATION, HeaderMap, HeaderValue, RETRY_AFTER},
    redirect::Policy,
};
use scaleout_core::{Error, ErrorKind, Result};

use crate::{config::Config, error::is_expired, sas::Credential, tls};

/// How much of a body is read of which nothing large is expected.
const MAX_TEXT: usize = 1 << 20;
/// How much of what the service says stands in an error.
const MAX_DETAIL: usize = 300;

/// The namespace over HTTP. Cheap to clone; connections are shared.
#[derive(Clone, Debug)]
pub(crate) struct Http {
    client: Client,
    /// With a slash at the end.
    base: Url,
    credential: Credential,
    timeout: Duration,
}

impl Http {
    pub(crate) fn new(config: &Config) -> Result<Self> {
        Self::with_idle(config, usize::MAX)
    }

    /// For a request now and then: one connection is kept, however many there were at a time.
    pub(crate) fn occasional(config: &Config) -> Result<Self> {
        Self::with_idle(config, 1)
    }

    fn with_idle(config: &Config, connections: usize) -> Result<Self> {
        let client = Client::builder()
            // Given even where there is no TLS: otherwise reqwest looks for a provider of the process.
            .use_preconfigured_tls(tls::client(config.ca_cert.as_deref())?)
            .connect_timeout(config.request_timeout)
            // The token is for this host and goes to no other; no proxy of the environment's sees it.
            .redirect(Policy::none())
            .no_proxy()
            .tcp_nodelay(true)
            .pool_idle_timeout(Duration::from_secs(60))
            .pool_max_idle_per_host(connections)
            .build()
            .map_err(|error| Error::new(ErrorKind::Unsupported, text(&error)))?;
        let base = Url::parse(&format!("{}/", config.http_base));
        Ok(Self {
            client,
            base: base.map_err(|_| crate::config::invalid("the namespace's name is no host"))?,
            credential: config.credential.clone(),
            timeout: config.request_timeout,
        })
    }

    /// The URL of what lies below the namespace: `path` as the service has it, without a slash in
    /// front, encoded where it has to be.
    pub(crate) fn url(&self, path: &str) -> Result<Url> {
        let url = self.base.join(path).ok();
        // A path that is none, such as another URL.
        url.filter(|url| url.as_str().starts_with(self.base.as_str()))
            .ok_or_else(|| crate::config::invalid(format!("{path:?} is no path in the namespace")))
    }

    /// How long an answer may usually take.
    pub(crate) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Sends a request and returns the answer, whatever its status, which may take until `limit`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unavailable`] and [`ErrorKind::Timeout`] if there was none. Their outcome is
    /// unknown unless the request certainly did not leave.
    pub(crate) async fn send(
        &self,
        method: Method,
        url: Url,
        mut headers: HeaderMap,
        body: Bytes,
        limit: Duration,
    ) -> Result<Response> {
        let token = self.credential.token(self.base.as_str()).await?;
        let mut token = HeaderValue::from_str(&token.header())
            .map_err(|_| Error::new(ErrorKind::Auth, "the credential's token is no text"))?;
        token.set_sensitive(true);
        headers.insert(AUTHORIZATION, token);
        let sent = self
            .client
            .request(method, url)
            .headers(headers)
            .body(body)
            .timeout(limit)
            .send();
        sent.await.map_err(|error| of_client(&error))
    }
}

/// The body of an answer that is not large.
pub(crate) async fn text_of(mut response: Response) -> Result<String> {
    let mut bytes = Vec::new();
    while let Some(part) = response.chunk().await.map_err(|error| of_client(&error))? {
        bytes.extend_from_slice(&part);
        if bytes.len() > MAX_TEXT {
            return Err(nonsense("an answer"));
        }
    }
    String::from_utf8(bytes).map_err(|_| nonsense("an answer"))
}

/// The error that an answer is, which it has to be.
pub(crate) async fn refusal(what: &str, response: Response) -> Error {
    let status = response.status();
    let retry = response.headers().get(RETRY_AFTER);
    let retry = retry
        .and_then(|value| value.to_str().ok())
        .map(str::to_owned);
    let body = text_of(response).await.unwrap_or_default();
    of_status(what, status, &body, retry.as_deref())
}

/// What a status means, for a request that was answered with it.
pub(crate) fn of_status(what: &str, status: StatusCode, body: &str, retry: Option<&str>) -> Error {
    let detail = detail(body);
    let kind = match status.as_u16() {
        // Service Bus says 403 for a quota, too.
        403 if detail.to_ascii_lowercase().contains("quota") => ErrorKind::Broker,
        // The next request has another token.
        401 if is_expired(&detail) => ErrorKind::Broker,
        401 | 403 => ErrorKind::Auth,
        413 => ErrorKind::TooLarge,
        // Throttled, or moving. Not `Unavailable`: the connection is as good as another would be, and
        // opening all of it again would be more load. It is tried again, with backoff.
        _ => ErrorKind::Broker,
    };
    let mut message = format!("servicebus: {what}: {}", status.as_u16());
    if !detail.is_empty() {
        message = format!("{message} {detail}");
    }
    if let Some(seconds) = retry.filter(|text| text.parse::<u32>().is_ok()) {
        message = format!("{message} (it asks to wait for {seconds} s)");
    }
    let error = Error::new(kind, message);
    // Refused because of load: certainly not done. Anything else of the kind happened on the way.
    if status.is_server_error() && status != StatusCode::SERVICE_UNAVAILABLE {
        return error.with_unknown_outcome();
    }
    error
}

/// An error of the client: there was no answer.
pub(crate) fn of_client(error: &reqwest::Error) -> Error {
    let refused = find::<rustls::Error>(error).map(tls::refusal);
    let (kind, what) = match refused {
        Some(refusal) => refusal,
        None if error.is_timeout() => (ErrorKind::Timeout, "no answer from servicebus"),
        None => (ErrorKind::Unavailable, "servicebus cannot be reached"),
    };
    let described = Error::new(kind, format!("{what}: {}", text(error)));
    if error.is_connect() || error.is_builder() || refused.is_some() {
        return described;
    }
    described.with_unknown_outcome()
}

pub(crate) fn nonsense(what: &str) -> Error {
    Error::new(
        ErrorKind::Broker,
        format!("servicebus: {what} makes no sense"),
    )
}

/// The causes of an error without the URL, in one line.
fn text(error: &reqwest::Error) -> String {
    let mut text = String::new();
    let mut cause: Option<&(dyn std::error::Error + 'static)> = std::error::Error::source(error);
    while let Some(error) = cause {
        let separator = if text.is_empty() { "" } else { ": " };
        text = format!("{text}{separator}{error}");
        cause = error.source();
    }
    if text.is_empty() {
        return "the request failed".to_owned();
    }
    text
}

/// The cause of that type. An I/O error has it within, and not as its source.
fn find<E: std::error::Error + 'static>(error: &reqwest::Error) -> Option<&E> {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(found) = error.downcast_ref::<E>() {
            return Some(found);
        }
        let io = error.downcast_ref::<std::io::Error>();
        if let Some(found) = io.and_then(|io| io.get_ref()?.downcast_ref::<E>()) {
            return Some(found);
        }
        cause = error.source();
    }
    None
}

/// What stands in the `Detail` of an error, or the beginning of whatever else there is.
fn detail(body: &str) -> String {
    let document = roxmltree::Document::parse(body.trim_start_matches('\u{feff}'));
    let detail = document.ok().and_then(|document| {
        let mut nodes = document.descendants();
        let node = nodes.find(|node| node.tag_name().name() == "Detail")?;
        node.text().map(str::to_owned)
    });
    let text = detail.unwrap_or_else(|| body.to_owned());
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match text.char_indices().nth(MAX_DETAIL) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}
