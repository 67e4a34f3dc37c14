//! What the suites expect around the hubs: redirects, tokens, cookies, and any origin.

use std::collections::HashMap;

use axum::{
    Json, Router,
    extract::{Path, Query, Request, State},
    http::{
        HeaderMap, HeaderName, HeaderValue, Method, StatusCode,
        header::{
            ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS,
            ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
            ACCESS_CONTROL_REQUEST_HEADERS, HOST, LOCATION, ORIGIN, SET_COOKIE, VARY,
        },
    },
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{any, get, post},
};
use scaleout::hub::{ClientError, HubContext};
use serde_json::json;

pub(crate) fn routes(hubs: [HubContext; 2]) -> Router {
    Router::new()
        .route("/generatejwttoken", get(async || crate::jwt::generate()))
        .route("/redirect/negotiate", post(redirect))
        .route(
            "/bad-negotiate/negotiate",
            post(async || (StatusCode::BAD_REQUEST, "Some response from server")),
        )
        .route("/clientresult/{id}", get(client_result))
        .route("/echoredirect", any(echo_redirect))
        .route("/echoredirect/negotiate", any(echo_redirect))
        .with_state(hubs)
}

async fn redirect(
    Query(query): Query<HashMap<String, String>>,
    headers: HeaderMap,
) -> impl IntoResponse {
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    let base = match query.get("baseUrl") {
        Some(base) => base.clone(),
        None => format!("http://{}", host.unwrap_or("127.0.0.1")),
    };
    let number = query
        .get("numRedirects")
        .and_then(|number| number.parse::<u32>().ok());
    let next = number.unwrap_or(0) + 1;
    Json(json!({"url": format!("{base}/testHub?numRedirects={next}")}))
}

async fn echo_redirect(request: Request) -> impl IntoResponse {
    let location = request
        .uri()
        .to_string()
        .replacen("echoredirect", "echo", 1);
    (StatusCode::TEMPORARY_REDIRECT, [(LOCATION, location)])
}

/// Asks the client, on whichever of the hubs it is.
async fn client_result(State(hubs): State<[HubContext; 2]>, Path(id): Path<String>) -> String {
    let mut answer = String::new();
    for hub in hubs {
        match hub
            .clients()
            .client(id.as_str())
            .invoke::<i32>("Result", ())
            .await
        {
            Ok(number) => return number.to_string(),
            Err(error) => {
                answer = error.to_string();
                if !matches!(error, ClientError::Unknown(_)) {
                    break;
                }
            }
        }
    }
    answer
}

pub(crate) fn with_cors_and_cookies(app: Router) -> Router {
    app.layer(middleware::from_fn(around))
}

async fn around(request: Request, next: Next) -> Response {
    let origin = request.headers().get(ORIGIN).cloned();
    let wanted = request
        .headers()
        .get(ACCESS_CONTROL_REQUEST_HEADERS)
        .cloned();
    let negotiates = request
        .uri()
        .path()
        .trim_end_matches('/')
        .to_ascii_lowercase()
        .ends_with("/negotiate");
    let preflight = request.method() == Method::OPTIONS && origin.is_some();
    let mut response = if preflight {
        StatusCode::NO_CONTENT.into_response()
    } else {
        next.run(request).await
    };
    let headers = response.headers_mut();
    let mut set = |name: HeaderName, value: HeaderValue| headers.append(name, value);
    if let Some(origin) = origin {
        set(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        set(
            ACCESS_CONTROL_ALLOW_CREDENTIALS,
            HeaderValue::from_static("true"),
        );
        set(VARY, HeaderValue::from_static("Origin"));
    }
    if let Some(wanted) = wanted {
        let methods = HeaderValue::from_static("GET, POST, DELETE, PUT");
        set(ACCESS_CONTROL_ALLOW_METHODS, methods);
        set(ACCESS_CONTROL_ALLOW_HEADERS, wanted);
    }
    if negotiates {
        for cookie in [
            "testCookie=testValue; path=/",
            "testCookie2=testValue2; path=/",
            "expiredCookie=doesntmatter; expires=Thu, 01 Jan 1970 00:00:00 GMT; path=/",
        ] {
            set(SET_COOKIE, HeaderValue::from_static(cookie));
        }
    }
    response
}
