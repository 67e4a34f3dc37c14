//! The hub's HTTP side: which request is what, and the status codes that clients know.

use std::{io::Cursor, sync::Arc};

use axum::{
    Router,
    body::Body,
    extract::Request,
    http::{
        HeaderMap, Method, StatusCode,
        header::{self, HeaderValue},
        request::Parts,
    },
    response::Response,
    routing::any,
};
use hyper::upgrade::OnUpgrade;
use hyper_util::{rt::TokioIo, server::conn::auto::upgrade::downcast};
use tokio::{io::AsyncReadExt, net::TcpStream};

use super::{
    connection::{self, AttachError, Connection},
    dispatch,
    hub::{Hub, Shared},
    negotiate::negotiate,
    transport::{Transport, pipe, websocket},
};

const NO_ID: &str = "Connection ID required";
const UNKNOWN_ID: &str = "No Connection with that ID";

pub(super) fn routes<S: Clone + Send + Sync + 'static>(hub: &Hub, path: &str) -> Router<S> {
    let path = path.trim_end_matches('/');
    // The routers keep the hub alive, as its handles do.
    let connect = {
        let hub = hub.clone();
        any(move |request: Request| {
            let response = connect(hub.shared(), request);
            std::future::ready(response)
        })
    };
    let negotiate = {
        let hub = hub.clone();
        any(move |request: Request| std::future::ready(negotiation(hub.shared(), &request)))
    };
    Router::new()
        .route(if path.is_empty() { "/" } else { path }, connect.clone())
        .route(&format!("{path}/negotiate"), negotiate.clone())
        .route(&format!("{path}/negotiate/"), negotiate)
        .merge(if path.is_empty() {
            Router::new()
        } else {
            Router::new().route(&format!("{path}/"), connect)
        })
}

fn negotiation(shared: &Shared, request: &Request) -> Response {
    if request.method() != Method::POST {
        return reply(StatusCode::METHOD_NOT_ALLOWED, "");
    }
    if shared.is_closing() {
        return reply(StatusCode::SERVICE_UNAVAILABLE, "");
    }
    let version = query(request.uri().query(), "negotiateVersion");
    let mut response = Response::new(Body::from(negotiate(shared, version.as_deref())));
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}

fn connect(shared: &Arc<Shared>, request: Request) -> Response {
    let (mut parts, _) = request.into_parts();
    let id = query(parts.uri.query(), "id");
    match parts.method {
        Method::GET if is_websocket(&parts.headers) => {
            open_websocket(shared, &mut parts, id).unwrap_or_else(Refusal::into_response)
        }
        Method::GET => {
            let transport = if accepts_events(&parts.headers) {
                "ServerSentEvents"
            } else {
                "LongPolling"
            };
            no_transport(shared, id, transport)
        }
        Method::POST => match id {
            None => reply(StatusCode::BAD_REQUEST, NO_ID),
            Some(id) if shared.connections.find(&id).is_none() => {
                reply(StatusCode::NOT_FOUND, UNKNOWN_ID)
            }
            Some(_) => reply(
                StatusCode::METHOD_NOT_ALLOWED,
                "POST requests are not allowed for WebSocket connections.",
            ),
        },
        Method::DELETE => match id {
            None => reply(StatusCode::BAD_REQUEST, NO_ID),
            Some(id) if shared.connections.find(&id).is_none() => {
                reply(StatusCode::NOT_FOUND, UNKNOWN_ID)
            }
            Some(_) => reply(
                StatusCode::BAD_REQUEST,
                "Cannot terminate this connection using the DELETE endpoint.",
            ),
        },
        _ => reply(StatusCode::METHOD_NOT_ALLOWED, ""),
    }
}

/// The answer to a request for a transport that the hub does not offer.
fn no_transport(shared: &Shared, id: Option<String>, transport: &str) -> Response {
    match id {
        None => reply(StatusCode::BAD_REQUEST, NO_ID),
        Some(id) if shared.connections.find(&id).is_none() => {
            reply(StatusCode::NOT_FOUND, UNKNOWN_ID)
        }
        Some(_) => reply(
            StatusCode::NOT_FOUND,
            format!("{transport} transport not supported by this end point type"),
        ),
    }
}

fn open_websocket(
    shared: &Arc<Shared>,
    parts: &mut Parts,
    id: Option<String>,
) -> Result<Response, Refusal> {
    let accept = upgrade_key(&parts.headers)?;
    let upgrade = parts.extensions.remove::<OnUpgrade>().ok_or(Refusal(
        StatusCode::BAD_REQUEST,
        "The connection cannot be upgraded.",
    ))?;
    if shared.is_closing() {
        return Err(Refusal(StatusCode::SERVICE_UNAVAILABLE, ""));
    }
    let token: Arc<str> = match id {
        Some(id) => id.into(),
        // The client has skipped negotiation.
        None => {
            shared
                .connections
                .create(shared.lifetime.node(), &shared.options, false)
                .1
        }
    };
    let request = connection::Request {
        uri: std::mem::take(&mut parts.uri),
        headers: std::mem::take(&mut parts.headers),
    };
    let connection = shared
        .connections
        .attach(&token, Transport::WebSockets, request)?;
    shared.spawn(carry_websocket(shared.clone(), connection, token, upgrade));
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    Ok(response)
}

/// Carries a connection from the moment its socket is upgraded.
async fn carry_websocket(
    shared: Arc<Shared>,
    connection: Arc<Connection>,
    token: Arc<str>,
    upgrade: OnUpgrade,
) {
    let upgraded = match upgrade.await {
        Ok(upgraded) => upgraded,
        Err(error) => {
            tracing::debug!(connection = %connection.id(), %error, "a client left before its upgrade");
            shared.connections.remove(&token);
            return;
        }
    };
    let (input, received) = pipe(shared.options.application_max_buffer_size);
    shared.spawn(dispatch::serve(
        shared.clone(),
        connection.clone(),
        token,
        received,
    ));
    let limits = websocket::Limits {
        send_timeout: shared.options.transport_send_timeout,
        close_timeout: shared.options.web_sockets_close_timeout,
    };
    let is_text = || {
        let protocol = connection.protocol();
        protocol.is_none_or(|protocol| protocol.is_text())
    };
    let outbound = connection.outbound();
    // The socket as `axum::serve` wraps it.
    match downcast::<TokioIo<TcpStream>>(upgraded) {
        Ok(parts) => {
            let stream = parts.io.into_inner();
            // Messages are small and each is written at once: waiting for the client to acknowledge the
            // one before it would cost 40 ms. A socket that refuses is only slower.
            let _ = stream.set_nodelay(true);
            let (read, write) = stream.into_split();
            let read = Cursor::new(parts.read_buf).chain(read);
            websocket::run(read, write, input, outbound, is_text, limits).await;
        }
        // Behind TLS, or whatever else the application serves on.
        Err(upgraded) => {
            let (read, write) = tokio::io::split(TokioIo::new(upgraded));
            websocket::run(read, write, input, outbound, is_text, limits).await;
        }
    }
    // Nothing can be written any more, and running methods may want to know. What the client sent
    // before it left is still handled.
    connection.outbound().abort();
    connection.set_gone();
}

/// Why a request gets no transport.
struct Refusal(StatusCode, &'static str);

impl Refusal {
    fn into_response(self) -> Response {
        let mut response = reply(self.0, self.1);
        if self.0 == StatusCode::UPGRADE_REQUIRED {
            let version = HeaderValue::from_static("13");
            response
                .headers_mut()
                .insert(header::SEC_WEBSOCKET_VERSION, version);
        }
        response
    }
}

impl From<AttachError> for Refusal {
    fn from(error: AttachError) -> Self {
        match error {
            AttachError::Unknown => Self(StatusCode::NOT_FOUND, UNKNOWN_ID),
            AttachError::Busy => Self(StatusCode::CONFLICT, ""),
            AttachError::OtherTransport => Self(
                StatusCode::BAD_REQUEST,
                "Cannot change transports mid-connection",
            ),
            AttachError::Disposed => Self(StatusCode::NOT_FOUND, ""),
        }
    }
}

fn is_websocket(headers: &HeaderMap) -> bool {
    lists(headers, header::CONNECTION, "upgrade") && lists(headers, header::UPGRADE, "websocket")
}

/// The answer to the client's key, or why it cannot be upgraded (RFC 6455, section 4.2).
fn upgrade_key(headers: &HeaderMap) -> Result<HeaderValue, Refusal> {
    let version = headers.get(header::SEC_WEBSOCKET_VERSION);
    if version.is_none_or(|version| version != "13") {
        return Err(Refusal(
            StatusCode::UPGRADE_REQUIRED,
            "WebSocket version 13 is required.",
        ));
    }
    let bad = |why| Refusal(StatusCode::BAD_REQUEST, why);
    let key = headers
        .get(header::SEC_WEBSOCKET_KEY)
        .ok_or_else(|| bad("Sec-WebSocket-Key is missing."))?;
    HeaderValue::try_from(websocket::accept_key(key.as_bytes())).map_err(|_| bad(""))
}

/// Whether the client asks for server-sent events: the media type must stand there as it is.
fn accepts_events(headers: &HeaderMap) -> bool {
    lists(headers, header::ACCEPT, "text/event-stream")
}

/// Whether one of a header's comma-separated values is `wanted`, in any case.
fn lists(headers: &HeaderMap, name: header::HeaderName, wanted: &str) -> bool {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|value| value.trim().eq_ignore_ascii_case(wanted))
}

/// The first value of a query parameter. Names are compared without regard to case.
fn query(query: Option<&str>, name: &str) -> Option<String> {
    form_urlencoded::parse(query?.as_bytes())
        .find_map(|(key, value)| key.eq_ignore_ascii_case(name).then(|| value.into_owned()))
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
        assert_eq!(
            query(Some("a=1&NegotiateVERSION=0"), "negotiateVersion"),
            Some("0".into())
        );
        assert_eq!(query(Some("id=a%2Bb"), "id"), Some("a+b".into()));
        assert_eq!(query(None, "id"), None);
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
