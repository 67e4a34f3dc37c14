//! Long polling: each poll is a transport for as long as it is open.

use std::sync::Arc;

use axum::{
    body::Body,
    http::{
        StatusCode,
        header::{self, HeaderValue},
    },
    response::Response,
};
use tokio::{select, time::timeout};

use super::{Connection, Endpoint, NO_ID, Refusal, Visit, reply};
use crate::hub::{
    connection::Attached,
    context::DisconnectReason,
    transport::{InputEnd, Next, Transport},
};

/// Answers a poll: at once if it is the first one, else when there is something to tell.
pub(super) async fn poll(endpoint: &Arc<Endpoint>, visit: Visit) -> Result<Response, Refusal> {
    let response = answer(endpoint, visit).await;
    response.map(|mut response| {
        let headers = response.headers_mut();
        for (name, value) in [
            (header::CACHE_CONTROL, "no-cache, no-store"),
            (header::PRAGMA, "no-cache"),
            (header::EXPIRES, "Thu, 01 Jan 1970 00:00:00 GMT"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        response
    })
}

async fn answer(endpoint: &Arc<Endpoint>, visit: Visit) -> Result<Response, Refusal> {
    if visit.id.is_none() {
        return Err(Refusal(StatusCode::BAD_REQUEST, NO_ID.into()));
    }
    let connection = endpoint.find(&visit)?;
    endpoint.offers(Transport::LongPolling)?;
    let (attached, reader) = connection.attach(Transport::LongPolling, visit.into_request())?;
    let poll = Poll {
        connection,
        attached,
    };
    if let Some(reader) = reader {
        endpoint.serve(&poll.connection, reader);
        return Ok(data(Body::empty()));
    }
    let over = || reply(StatusCode::NO_CONTENT, "");
    // A poll that this one has replaced is answered first.
    let turn = poll.connection.turn.clone();
    let _turn = select! {
        turn = turn.lock() => turn,
        () = poll.attached.replaced.cancelled() => return Ok(over()),
    };
    let wait = timeout(
        endpoint.options.long_polling_poll_timeout,
        poll.connection.outbound().next(),
    );
    let next = select! {
        biased;
        () = poll.attached.replaced.cancelled() => return Ok(over()),
        next = wait => next,
    };
    Ok(match next {
        Ok(Next::Unit(unit)) => data(Body::from(unit)),
        Ok(Next::Finish | Next::Abort) => {
            endpoint.connections.remove(&poll.connection);
            poll.connection.left(InputEnd::Closed);
            over()
        }
        Err(_) => reply(StatusCode::OK, ""),
    })
}

/// Ends a connection because its client says so.
pub(super) fn end(endpoint: &Endpoint, visit: &Visit) -> Result<Response, Refusal> {
    let connection = endpoint.find(visit)?;
    if connection.transport() != Some(Transport::LongPolling) {
        return Err(Refusal(
            StatusCode::BAD_REQUEST,
            "Cannot terminate this connection using the DELETE endpoint.".into(),
        ));
    }
    endpoint.connections.remove(&connection);
    connection.end(DisconnectReason::Closed { error: None });
    connection.left(InputEnd::Closed);
    Ok(reply(StatusCode::ACCEPTED, ""))
}

/// An open poll. When it ends, the connection is without a transport until the next one.
struct Poll {
    connection: Arc<Connection>,
    attached: Attached,
}

impl Drop for Poll {
    fn drop(&mut self) {
        self.connection.detach(&self.attached);
    }
}

fn data(body: Body) -> Response {
    let mut response = Response::new(body);
    let bytes = HeaderValue::from_static("application/octet-stream");
    response.headers_mut().insert(header::CONTENT_TYPE, bytes);
    response
}
