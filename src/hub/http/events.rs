//! Attaches server-sent events to a connection.

use std::sync::Arc;

use axum::{
    body::Body,
    http::{
        StatusCode,
        header::{self, HeaderValue},
    },
    response::Response,
};

use super::{Connection, Endpoint, NO_ID, Refusal, Visit};
use crate::hub::transport::{InputEnd, Outbound, Transport, events};

pub(super) fn open(endpoint: &Arc<Endpoint>, visit: Visit) -> Result<Response, Refusal> {
    if visit.id.is_none() {
        return Err(Refusal(StatusCode::BAD_REQUEST, NO_ID.into()));
    }
    let connection = endpoint.find(&visit)?;
    endpoint.offers(Transport::ServerSentEvents)?;
    let (_, reader) = connection.attach(Transport::ServerSentEvents, visit.into_request())?;
    let listening = Listening {
        endpoint: endpoint.clone(),
        connection: connection.clone(),
    };
    if let Some(reader) = reader {
        endpoint.serve(&connection, reader);
    }
    let mut response = Response::new(Body::from_stream(events::body(Arc::new(listening))));
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-cache,no-store"),
        (header::PRAGMA, "no-cache"),
        (header::CONTENT_ENCODING, "identity"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    Ok(response)
}

/// Lives for as long as the client listens. The server drops the response when the client is gone.
struct Listening {
    endpoint: Arc<Endpoint>,
    connection: Arc<Connection>,
}

impl AsRef<Outbound> for Listening {
    fn as_ref(&self) -> &Outbound {
        self.connection.outbound()
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.endpoint.connections.remove(&self.connection);
        self.connection.left(InputEnd::Lost);
    }
}
