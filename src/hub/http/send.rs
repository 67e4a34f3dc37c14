//! What a client sends by requests, because its transport goes one way.

use axum::{body::Body, http::StatusCode, response::Response};
use futures_util::StreamExt;

use super::{Endpoint, Refusal, Visit, reply};
use crate::hub::transport::Transport;

/// Hands the body on as it arrives, no faster than it is read.
pub(super) async fn receive(
    endpoint: &Endpoint,
    visit: &Visit,
    body: Body,
) -> Result<Response, Refusal> {
    let connection = endpoint.find(visit)?;
    if connection.transport() == Some(Transport::WebSockets) {
        return Err(Refusal(
            StatusCode::METHOD_NOT_ALLOWED,
            "POST requests are not allowed for WebSocket connections.".into(),
        ));
    }
    let _order = connection.sending.lock().await;
    let mut body = body.into_data_stream();
    while let Some(bytes) = body.next().await {
        let bytes = bytes.map_err(|_| Refusal(StatusCode::BAD_REQUEST, "".into()))?;
        if !connection.input().write(bytes).await {
            return Err(Refusal(StatusCode::NOT_FOUND, "".into()));
        }
    }
    Ok(reply(StatusCode::OK, ""))
}
