//! [`ignore_case`]: paths as clients of ASP.NET Core are used to them.

use std::sync::Arc;

use axum::{
    Router,
    extract::Request,
    http::{Uri, uri::PathAndQuery},
    middleware,
};

/// Routes requests to `paths`, and to what stands directly below them, whatever the case of their
/// letters, as ASP.NET Core does. `paths` are written as they are in `app`; its other routes stay as
/// they are.
///
/// ```
/// # async fn app(hub: scaleout::hub::Hub) -> axum::Router {
/// let app = axum::Router::new().merge(hub.routes("/chat"));
/// // Now `/Chat/Negotiate` is `/chat/negotiate`.
/// scaleout::hub::ignore_case(app, ["/chat"])
/// # }
/// ```
pub fn ignore_case(app: Router, paths: impl IntoIterator<Item = impl Into<String>>) -> Router {
    let paths: Vec<String> = paths.into_iter().map(Into::into).collect();
    let paths: Arc<[String]> = paths.into();
    // A layer comes before routing only if what it wraps is another router's fallback.
    Router::new()
        .fallback_service(app)
        .layer(middleware::map_request(move |mut request: Request| {
            if let Some(uri) = respell(request.uri(), &paths) {
                *request.uri_mut() = uri;
            }
            std::future::ready(request)
        }))
}

/// The address in the application's own spelling; `None` if it is spelled that way already.
fn respell(uri: &Uri, paths: &[String]) -> Option<Uri> {
    let asked = uri.path();
    let path = paths.iter().find_map(|path| {
        let (head, rest) = asked.split_at_checked(path.len())?;
        if !head.eq_ignore_ascii_case(path) {
            return None;
        }
        match rest.trim_end_matches('/').strip_prefix('/') {
            None if rest.is_empty() || rest == "/" => Some(format!("{path}{rest}")),
            Some(below) if !below.contains('/') => {
                Some(format!("{path}{}", rest.to_ascii_lowercase()))
            }
            _ => None,
        }
    })?;
    if path == asked {
        return None;
    }
    let query = uri.query().map(|query| format!("?{query}"));
    let respelled = format!("{path}{}", query.unwrap_or_default());
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(respelled).ok()?);
    Uri::from_parts(parts).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_known_in_any_case() {
        let paths = ["/chat".to_owned(), "/Room".to_owned()];
        for (asked, expected) in [
            ("/CHAT", Some("/chat")),
            ("/Chat/", Some("/chat/")),
            ("/Chat/Negotiate?ID=A", Some("/chat/negotiate?ID=A")),
            ("/room?x", Some("/Room?x")),
            ("/chat/negotiate", None),
            ("/Chatter", None),
            ("/Chat/A/B", None),
            ("/é", None),
        ] {
            let respelled = respell(&asked.parse().unwrap(), &paths);
            assert_eq!(
                respelled.map(|uri| uri.to_string()).as_deref(),
                expected,
                "{asked}"
            );
        }
    }
}
