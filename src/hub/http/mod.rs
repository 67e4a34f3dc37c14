//! The HTTP side of a connection: which request is what, and the status codes that clients know.
//!
//! `negotiate` creates connections; `websocket`, `events` and `polling` attach transports to them;
//! `send` takes what clients without a WebSocket send. What is done with a connection's bytes is the
//! [`Application`]'s affair: the hub, or [`RawEndpoint`](super::RawEndpoint).

mod case;
mod events;
mod negotiate;
mod polling;
mod send;
mod websocket;

use std::{borrow::Cow, pin::Pin, sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::Request,
    http::{
        HeaderMap, HeaderName, Method, StatusCode, Uri,
        header::{self, HeaderValue},
        request::Parts,
    },
    response::Response,
    routing::any,
};
use tokio::time::MissedTickBehavior;

pub use self::case::ignore_case;
use super::{
    auth::{self, AuthError, Authenticate, User},
    connection::{self, AttachError, Birth, Connection, Connections},
    id::NodeTag,
    lifecycle::Lifecycle,
    options::HubOptions,
    transport::{PipeReader, Transport},
};

const NO_ID: &str = "Connection ID required";
const UNKNOWN_ID: &str = "No Connection with that ID";

/// How often the table of connections is searched for those that nobody is attached to.
const SWEEP: Duration = Duration::from_secs(1);

/// What stands behind a path: connections, and who serves them.
pub(super) struct Endpoint {
    pub(super) options: HubOptions,
    pub(super) lifecycle: Arc<Lifecycle>,
    pub(super) authenticate: Option<Authenticate>,
    /// Part of the connections' ids.
    pub(super) node: NodeTag,
    pub(super) app: Box<dyn Application>,
    pub(super) connections: Connections,
}

/// Whoever serves connections.
pub(super) trait Application: Send + Sync + 'static {
    /// Serves one until it is over.
    fn serve(&self, connection: Arc<Connection>, input: PipeReader) -> Serving;
}

pub(super) type Serving = Pin<Box<dyn Future<Output = ()> + Send>>;

impl Endpoint {
    /// The routes. They own `keep`, for whatever it keeps alive.
    pub(super) fn routes<S, K>(self: &Arc<Self>, path: &str, keep: K) -> Router<S>
    where
        S: Clone + Send + Sync + 'static,
        K: Clone + Send + Sync + 'static,
    {
        let path = path.trim_end_matches('/');
        let connect = {
            let (endpoint, keep) = (self.clone(), keep.clone());
            any(move |request: Request| {
                let (endpoint, _keep) = (endpoint.clone(), keep.clone());
                async move { endpoint.answer(request).await }
            })
        };
        let negotiate = {
            let endpoint = self.clone();
            any(move |request: Request| {
                let (endpoint, _keep) = (endpoint.clone(), keep.clone());
                async move { endpoint.negotiation(request).await }
            })
        };
        let mut router = Router::new()
            .route(if path.is_empty() { "/" } else { path }, connect.clone())
            .route(&format!("{path}/negotiate"), negotiate.clone())
            .route(&format!("{path}/negotiate/"), negotiate);
        if !path.is_empty() {
            router = router.route(&format!("{path}/"), connect);
        }
        router
    }

    /// Ends the connections that nobody is attached to, for as long as the endpoint is open.
    pub(super) async fn sweep(self: Arc<Self>) {
        let mut tick = tokio::time::interval(SWEEP);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let sweeping = async {
            loop {
                tick.tick().await;
                self.connections.sweep(&self.options);
            }
        };
        tokio::select! {
            () = sweeping => {}
            () = self.lifecycle.closing() => {}
        }
    }

    async fn answer(self: Arc<Self>, request: Request) -> Response {
        let (parts, body) = request.into_parts();
        let user = match auth::authenticate(self.authenticate.as_ref(), &parts).await {
            Ok(user) => user,
            Err(error) => return Refusal::from(error).into_response(),
        };
        let visit = Visit {
            id: query(&parts.uri, "id").map(Cow::into_owned),
            parts,
            user,
        };
        let answer = match visit.parts.method {
            Method::GET if websocket::is_upgrade(&visit.parts.headers) => {
                websocket::upgrade(&self, visit)
            }
            _ if websocket::is_extended_connect(&visit.parts) => websocket::connect(&self, visit),
            Method::GET if accepts_events(&visit.parts.headers) => events::open(&self, visit),
            Method::GET => polling::poll(&self, visit).await,
            Method::POST => send::receive(&self, &visit, body).await,
            Method::DELETE => polling::end(&self, &visit),
            _ => Err(Refusal(StatusCode::METHOD_NOT_ALLOWED, "".into())),
        };
        answer.unwrap_or_else(Refusal::into_response)
    }

    async fn negotiation(self: Arc<Self>, request: Request) -> Response {
        if request.method() != Method::POST {
            return reply(StatusCode::METHOD_NOT_ALLOWED, "");
        }
        if self.lifecycle.is_closing() {
            return reply(StatusCode::SERVICE_UNAVAILABLE, "");
        }
        let (parts, _) = request.into_parts();
        match auth::authenticate(self.authenticate.as_ref(), &parts).await {
            Ok(user) => {
                let answer = negotiate::negotiate(&self, &parts.uri, user);
                let mut response = Response::new(Body::from(answer));
                let json = HeaderValue::from_static("application/json");
                response.headers_mut().insert(header::CONTENT_TYPE, json);
                response
            }
            Err(error) => Refusal::from(error).into_response(),
        }
    }

    fn offers(&self, transport: Transport) -> Result<(), Refusal> {
        if self.options.transports.contains(&transport) {
            return Ok(());
        }
        let text = format!("{transport} transport not supported by this end point type");
        Err(Refusal(StatusCode::NOT_FOUND, text.into()))
    }

    /// The connection that a request means, if the same user made it.
    fn find(&self, visit: &Visit) -> Result<Arc<Connection>, Refusal> {
        let id = visit
            .id
            .as_deref()
            .ok_or(Refusal(StatusCode::BAD_REQUEST, NO_ID.into()))?;
        let connection = self
            .connections
            .find(id)
            .ok_or(Refusal(StatusCode::NOT_FOUND, UNKNOWN_ID.into()))?;
        // A token that leaked is of no use to somebody else.
        if connection.user().id() != visit.user.id() {
            return Err(AuthError::Forbidden.into());
        }
        Ok(connection)
    }

    /// Begins to serve a connection that has got its first transport.
    fn serve(self: &Arc<Self>, connection: &Arc<Connection>, input: PipeReader) {
        let serving = self.clone().serving(connection.clone(), input);
        self.lifecycle.spawn(serving);
    }

    /// Serves a connection until it is over.
    pub(super) fn serving(
        self: Arc<Self>,
        connection: Arc<Connection>,
        input: PipeReader,
    ) -> impl Future<Output = ()> + Send {
        let endpoint = self;
        async move {
            endpoint.app.serve(connection.clone(), input).await;
            connection.outbound().finish();
            // With long polling, the client is told by its next poll.
            if connection.transport() != Some(Transport::LongPolling) {
                endpoint.connections.remove(&connection);
            }
        }
    }
}

/// A request on its way to its connection.
struct Visit {
    id: Option<String>,
    parts: Parts,
    user: User,
}

impl Visit {
    fn into_request(self) -> connection::Request {
        connection::Request {
            uri: self.parts.uri,
            headers: self.parts.headers,
            user: self.user,
        }
    }
}

/// Why a request is turned away.
struct Refusal(StatusCode, Cow<'static, str>);

impl Refusal {
    fn into_response(self) -> Response {
        let mut response = reply(self.0, self.1.into_owned());
        let headers = response.headers_mut();
        match self.0 {
            StatusCode::UPGRADE_REQUIRED => {
                let version = HeaderValue::from_static("13");
                headers.insert(header::SEC_WEBSOCKET_VERSION, version);
            }
            StatusCode::UNAUTHORIZED => {
                let scheme = HeaderValue::from_static("Bearer");
                headers.insert(header::WWW_AUTHENTICATE, scheme);
            }
            _ => {}
        }
        response
    }
}

impl From<AttachError> for Refusal {
    fn from(error: AttachError) -> Self {
        match error {
            AttachError::Busy => Self(StatusCode::CONFLICT, "".into()),
            AttachError::OtherTransport => Self(
                StatusCode::BAD_REQUEST,
                "Cannot change transports mid-connection".into(),
            ),
            AttachError::Disposed => Self(StatusCode::NOT_FOUND, "".into()),
        }
    }
}

impl From<AuthError> for Refusal {
    fn from(error: AuthError) -> Self {
        let status = match error {
            AuthError::Unauthenticated => StatusCode::UNAUTHORIZED,
            AuthError::Forbidden => StatusCode::FORBIDDEN,
        };
        Self(status, "".into())
    }
}

/// Whether the client asks for server-sent events: the media type must stand there as it is.
fn accepts_events(headers: &HeaderMap) -> bool {
    lists(headers, &header::ACCEPT, "text/event-stream")
}

/// Whether one of a header's comma-separated values is `wanted`, in any case.
fn lists(headers: &HeaderMap, name: &HeaderName, wanted: &str) -> bool {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|value| value.trim().eq_ignore_ascii_case(wanted))
}

/// The first value of a query parameter. Names are compared without regard to case.
pub(super) fn query<'u>(uri: &'u Uri, name: &str) -> Option<Cow<'u, str>> {
    form_urlencoded::parse(uri.query()?.as_bytes())
        .find_map(|(key, value)| key.eq_ignore_ascii_case(name).then_some(value))
}

fn reply(status: StatusCode, text: impl Into<Body>) -> Response {
    let mut response = Response::new(text.into());
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameter_names_have_no_case() {
        let value =
            |uri: &'static str, name| query(&Uri::from_static(uri), name).map(Cow::into_owned);
        assert_eq!(
            value("/?a=1&NegotiateVERSION=0", "negotiateVersion"),
            Some("0".into())
        );
        assert_eq!(value("/?id=a%2Bb", "id"), Some("a+b".into()));
        assert_eq!(value("/", "id"), None);
    }

    #[test]
    fn events_are_asked_for_by_their_exact_media_type() {
        let accepts = |value: &'static str| {
            let accept = (header::ACCEPT, HeaderValue::from_static(value));
            accepts_events(&HeaderMap::from_iter([accept]))
        };
        assert!(accepts("text/html, Text/Event-Stream"));
        assert!(!accepts("text/event-stream;q=0.9"));
    }
}
