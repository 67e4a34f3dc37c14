//! The chat page, and `/health`.

use std::time::UNIX_EPOCH;

use axum::{
    Json, Router,
    extract::State,
    http::{StatusCode, header},
    response::{Html, IntoResponse},
    routing::get,
};
use scaleout::Backplane;
use serde::Serialize;

const PAGE: &str = include_str!("chat.html");

/// The page needs its own inline style and script, and its own server; nothing else.
const POLICY: &str = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; \
     img-src data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

pub(super) fn routes(backplane: Backplane) -> Router {
    Router::new()
        .route("/", get(page))
        .route("/health", get(health))
        .with_state(backplane)
}

async fn page() -> impl IntoResponse {
    let headers = [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, Html(PAGE))
}

#[derive(Serialize)]
struct Health {
    /// `connecting`, `connected`, `interrupted` or `closed`.
    state: String,
    /// Since when, in milliseconds since 1970.
    since_ms: Option<u64>,
    /// What interrupted the connection, while it is interrupted.
    error: Option<String>,
    /// How often the connection was regained.
    reconnects: u64,
    backend: &'static str,
    node: String,
}

/// 200 while the node is connected to its broker, 503 otherwise, so that a load balancer understands.
async fn health(State(backplane): State<Backplane>) -> impl IntoResponse {
    let health = backplane.health();
    let status = match health.state {
        scaleout::State::Connected => StatusCode::OK,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    };
    let since = health.since.duration_since(UNIX_EPOCH).ok();
    let body = Health {
        state: health.state.to_string(),
        since_ms: since.and_then(|since| u64::try_from(since.as_millis()).ok()),
        error: health.last_error,
        reconnects: health.reconnects,
        backend: backplane.capabilities().name,
        node: backplane.node_id().to_string(),
    };
    (status, [(header::CACHE_CONTROL, "no-store")], Json(body))
}
