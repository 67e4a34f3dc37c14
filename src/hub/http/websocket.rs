//! Attaches a WebSocket to a connection: one that HTTP/1.1 is upgraded to (RFC 6455), or a stream of
//! HTTP/2 (RFC 8441).

use std::{io::Cursor, sync::Arc};

use axum::{
    body::Body,
    http::{
        HeaderMap, Method, StatusCode, Version,
        header::{self, HeaderValue},
        request::Parts,
    },
    response::Response,
};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::{rt::TokioIo, server::conn::auto::upgrade::downcast};
use tokio::{io::AsyncReadExt, net::TcpStream};

use super::{Birth, Connection, Endpoint, Refusal, Visit, lists};
use crate::hub::{
    connection::Attached,
    transport::{
        InputEnd, Transport,
        websocket::{self, Ended},
    },
};

/// Whether a request asks to go on as a WebSocket.
pub(super) fn is_upgrade(headers: &HeaderMap) -> bool {
    lists(headers, &header::CONNECTION, "upgrade") && lists(headers, &header::UPGRADE, "websocket")
}

pub(super) fn upgrade(endpoint: &Arc<Endpoint>, visit: Visit) -> Result<Response, Refusal> {
    check_version(&visit.parts.headers)?;
    let accept = accept_key(&visit.parts.headers)?;
    open(endpoint, visit)?;
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    Ok(response)
}

/// Whether a request asks for a WebSocket as one stream of HTTP/2. A `CONNECT` that has a path, as this
/// one has or it would not be here, names a protocol; what does not mean WebSockets has no version of them.
pub(super) fn is_extended_connect(parts: &Parts) -> bool {
    parts.method == Method::CONNECT && parts.version > Version::HTTP_11
}

pub(super) fn connect(endpoint: &Arc<Endpoint>, visit: Visit) -> Result<Response, Refusal> {
    check_version(&visit.parts.headers)?;
    open(endpoint, visit)?;
    Ok(Response::new(Body::empty()))
}

/// Attaches the socket that comes of the request once it is answered.
fn open(endpoint: &Arc<Endpoint>, mut visit: Visit) -> Result<(), Refusal> {
    let upgrade = visit
        .parts
        .extensions
        .remove::<OnUpgrade>()
        .ok_or_else(|| bad("The connection cannot be upgraded."))?;
    if endpoint.lifecycle.is_closing() {
        return Err(Refusal(StatusCode::SERVICE_UNAVAILABLE, "".into()));
    }
    endpoint.offers(Transport::WebSockets)?;
    let connection = match visit.id {
        Some(_) => endpoint.find(&visit)?,
        // The client has skipped negotiation.
        None => endpoint.connections.create(
            &endpoint.node,
            &endpoint.options,
            Birth {
                user: visit.user.clone(),
                ..Birth::default()
            },
        ),
    };
    let (attached, reader) = connection.attach(Transport::WebSockets, visit.into_request())?;
    let this = endpoint.clone();
    endpoint.lifecycle.spawn(async move {
        match upgrade.await {
            Ok(upgraded) => {
                if let Some(reader) = reader {
                    this.serve(&connection, reader);
                }
                carry(&this, &connection, attached, upgraded).await;
            }
            Err(error) => {
                tracing::debug!(connection = %connection.id(), %error, "a client left before its upgrade");
                lost(&this, &connection, &attached);
            }
        }
    });
    Ok(())
}

/// Carries a connection over an upgraded socket, until the socket or the connection ends.
async fn carry(
    endpoint: &Endpoint,
    connection: &Arc<Connection>,
    attached: Attached,
    upgraded: Upgraded,
) {
    // A socket that this one replaces lets go first.
    let _turn = connection.turn.clone().lock_owned().await;
    if !attached.first
        && let Some(protocol) = connection.protocol()
    {
        connection.input().attached();
        connection
            .outbound()
            .rewind(|first| protocol.sequence(first));
    }
    let socket = websocket::Socket {
        input: connection.input(),
        outbound: connection.outbound(),
        replaced: &attached.replaced,
        send_timeout: endpoint.options.transport_send_timeout,
        close_timeout: endpoint.options.web_sockets_close_timeout,
    };
    // Without a protocol, or before it is chosen, whatever can be text is.
    let is_text = |unit: &[u8]| match connection.protocol() {
        Some(protocol) => protocol.is_text(),
        None => std::str::from_utf8(unit).is_ok(),
    };
    // The socket as `axum::serve` wraps it.
    let ended = match downcast::<TokioIo<TcpStream>>(upgraded) {
        Ok(parts) => {
            let stream = parts.io.into_inner();
            // Messages are small and each is written at once: waiting for the client to acknowledge the
            // one before it would cost 40 ms. A socket that refuses is only slower.
            let _ = stream.set_nodelay(true);
            let (read, write) = stream.into_split();
            let read = Cursor::new(parts.read_buf).chain(read);
            socket.run(read, write, is_text).await
        }
        // A stream of HTTP/2, behind TLS, or whatever else the application serves on.
        Err(upgraded) => {
            let (read, write) = tokio::io::split(TokioIo::new(upgraded));
            socket.run(read, write, is_text).await
        }
    };
    match ended {
        Ended::Replaced => {}
        Ended::Lost => lost(endpoint, connection, &attached),
        Ended::Closed => connection.left(InputEnd::Closed),
        Ended::Malformed => connection.left(InputEnd::Malformed),
    }
}

/// The socket broke without a word. The client may come back if that was agreed.
fn lost(endpoint: &Endpoint, connection: &Connection, attached: &Attached) {
    if connection.outbound().outlives_transport() {
        connection.input().detached();
        connection.detach(attached);
        return;
    }
    endpoint.connections.remove(connection);
    connection.left(InputEnd::Lost);
}

fn check_version(headers: &HeaderMap) -> Result<(), Refusal> {
    let version = headers.get(header::SEC_WEBSOCKET_VERSION);
    if version.is_some_and(|version| version == "13") {
        return Ok(());
    }
    Err(Refusal(
        StatusCode::UPGRADE_REQUIRED,
        "WebSocket version 13 is required.".into(),
    ))
}

/// The answer to the client's key, or why it cannot be upgraded (RFC 6455, section 4.2).
fn accept_key(headers: &HeaderMap) -> Result<HeaderValue, Refusal> {
    let key = headers
        .get(header::SEC_WEBSOCKET_KEY)
        .ok_or_else(|| bad("Sec-WebSocket-Key is missing."))?;
    HeaderValue::try_from(websocket::accept_key(key.as_bytes())).map_err(|_| bad(""))
}

fn bad(why: &'static str) -> Refusal {
    Refusal(StatusCode::BAD_REQUEST, why.into())
}
