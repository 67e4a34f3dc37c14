//! The chat page, and `/health`.

use std::{sync::Arc, time::UNIX_EPOCH};

use axum::{
    Json, Router,
    extract::State,
    http::{StatusCode, Uri, header},
    response::{Html, IntoResponse},
    routing::get,
};
use scaleout::Backplane;
use serde::Serialize;

const PAGE: &str = include_str!("chat.html");

/// The routes of one server. `servers` are the origins of all servers of the chat, this one included.
pub(super) fn routes(backplane: Backplane, servers: &[String]) -> Router {
    let policy: Arc<str> = policy(servers).into();
    let servers = servers.to_vec();
    Router::new()
        .route("/", get(move || async move { page(&policy) }))
        .route("/servers", get(move || async move { Json(servers) }))
        .route("/health", get(health))
        .with_state(backplane)
}

/// Takes the origin of a server: scheme, host and port, as `http://127.0.0.1:5002`.
pub(super) fn origin(text: &str) -> Result<String, String> {
    let uri: Option<Uri> = text.parse().ok();
    match uri
        .as_ref()
        .map(|uri| (uri.scheme_str(), uri.authority(), uri.path()))
    {
        Some((Some(scheme @ ("http" | "https")), Some(authority), "/")) => {
            Ok(format!("{scheme}://{authority}"))
        }
        _ => Err("use scheme, host and port, as http://127.0.0.1:5002".to_owned()),
    }
}

/// The page needs its own inline style and script, and the chat's servers; nothing else.
fn policy(servers: &[String]) -> String {
    let sockets = servers
        .iter()
        .map(|origin| origin.replacen("http", "ws", 1));
    let servers: Vec<String> = servers.iter().cloned().chain(sockets).collect();
    format!(
        "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:; \
         connect-src 'self' {}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        servers.join(" ")
    )
}

fn page(policy: &str) -> impl IntoResponse + use<> {
    let headers = [
        (header::CONTENT_SECURITY_POLICY, policy.to_owned()),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
        (header::CACHE_CONTROL, "no-cache".to_owned()),
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
    // Pages of the chat's other servers show it too, and it holds no secret.
    let headers = [
        (header::CACHE_CONTROL, "no-store"),
        (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
    ];
    (status, headers, Json(body))
}
