//! Who a client is: [`User`], [`Credentials`] and [`AuthError`].

use std::{borrow::Cow, fmt, pin::Pin, sync::Arc, time::SystemTime};

use axum::http::{Extensions, HeaderMap, Uri, header, request::Parts};
use serde_json::{Map, Value};

/// Who a client is, as far as the application knows. Cheap to clone.
#[derive(Clone, Default)]
pub struct User {
    known: Option<Arc<Known>>,
}

#[derive(Clone, Debug, Default)]
struct Known {
    id: Option<String>,
    claims: Map<String, Value>,
    expires: Option<SystemTime>,
}

impl User {
    /// Nobody in particular.
    pub fn anonymous() -> Self {
        Self::default()
    }

    /// A user of this id. Ids are compared byte by byte;
    /// [`Clients::user`](super::Clients::user) sends to all connections of one.
    pub fn new(id: impl Into<String>) -> Self {
        let id = Some(id.into());
        Self {
            known: Some(Arc::new(Known {
                id,
                ..Known::default()
            })),
        }
    }

    /// Adds what is known of the user: a claim of a token, say.
    #[must_use]
    pub fn with_claim(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.edit().claims.insert(name.into(), value.into());
        self
    }

    /// Adds all of these.
    #[must_use]
    pub fn with_claims(mut self, claims: Map<String, Value>) -> Self {
        self.edit().claims.extend(claims);
        self
    }

    /// Until when the user counts as authenticated. The connection ends then if
    /// [`close_on_authentication_expiration`](super::HubOptions::close_on_authentication_expiration) is on.
    #[must_use]
    pub fn with_expiry(mut self, expires: SystemTime) -> Self {
        self.edit().expires = Some(expires);
        self
    }

    fn edit(&mut self) -> &mut Known {
        Arc::make_mut(self.known.get_or_insert_default())
    }

    /// The user's id.
    pub fn id(&self) -> Option<&str> {
        self.known.as_ref()?.id.as_deref()
    }

    /// Whether nothing is known of the client.
    pub fn is_anonymous(&self) -> bool {
        self.known.is_none()
    }

    /// What is known of the user under this name.
    pub fn claim(&self, name: &str) -> Option<&Value> {
        self.known.as_ref()?.claims.get(name)
    }

    /// Whether the claim `role` is this text, or an array that contains it.
    pub fn has_role(&self, role: &str) -> bool {
        match self.claim("role") {
            Some(Value::String(text)) => text == role,
            Some(Value::Array(roles)) => roles.iter().any(|one| one == role),
            _ => false,
        }
    }

    /// Until when the user counts as authenticated.
    pub fn expires(&self) -> Option<SystemTime> {
        self.known.as_ref()?.expires
    }
}

// Claims can be secrets.
impl fmt::Debug for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("User")
            .field("id", &self.id())
            .finish_non_exhaustive()
    }
}

/// What a request shows of who sent it.
#[non_exhaustive]
pub struct Credentials {
    /// The bearer token of the header `Authorization`, or, because browsers cannot set headers for
    /// WebSockets and server-sent events, of the query parameter `access_token`.
    pub token: Option<String>,
    /// All headers.
    pub headers: HeaderMap,
    /// Path and query.
    pub uri: Uri,
    /// What the application's middleware put into the request.
    pub extensions: Extensions,
}

impl Credentials {
    pub(super) fn of(parts: &Parts) -> Self {
        let bearer = parts
            .headers
            .get(header::AUTHORIZATION)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map(|(_, token)| Cow::from(token.trim()));
        let token = bearer.or_else(|| super::http::query(&parts.uri, "access_token"));
        Self {
            token: token.map(Cow::into_owned),
            headers: parts.headers.clone(),
            uri: parts.uri.clone(),
            extensions: parts.extensions.clone(),
        }
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("token", &self.token.as_ref().map(|_| "..."))
            .finish_non_exhaustive()
    }
}

/// Why a client is turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthError {
    /// It did not show who it is, or cannot prove it: 401.
    Unauthenticated,
    /// It is known, and not allowed here: 403.
    Forbidden,
}

impl fmt::Display for AuthError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unauthenticated => "the client is not authenticated",
            Self::Forbidden => "the client is not allowed here",
        })
    }
}

impl std::error::Error for AuthError {}

/// The application's way to tell who a client is.
pub(super) type Authenticate = Arc<
    dyn Fn(Credentials) -> Pin<Box<dyn Future<Output = Result<User, AuthError>> + Send>>
        + Send
        + Sync,
>;

/// Without one, the application's middleware may have put a [`User`] into the request.
pub(super) async fn authenticate(
    authenticate: Option<&Authenticate>,
    parts: &Parts,
) -> Result<User, AuthError> {
    match authenticate {
        Some(authenticate) => authenticate(Credentials::of(parts)).await,
        None => Ok(parts.extensions.get::<User>().cloned().unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use axum::http::Request;

    use super::*;

    fn token(uri: &str, authorization: Option<&str>) -> Option<String> {
        let mut request = Request::builder().uri(uri);
        if let Some(value) = authorization {
            request = request.header(header::AUTHORIZATION, value);
        }
        Credentials::of(&request.body(()).unwrap().into_parts().0).token
    }

    #[test]
    fn a_token_comes_in_the_header_or_in_the_query() {
        assert_eq!(token("/", Some("bearer a.b")), Some("a.b".into()));
        assert_eq!(token("/?access_token=c%2Bd", None), Some("c+d".into()));
        assert_eq!(
            token("/?access_token=c", Some("Bearer a")),
            Some("a".into())
        );
        assert_eq!(token("/", Some("Basic a")), None);
    }

    #[test]
    fn a_user_has_roles() {
        let user = User::new("ada").with_claim("role", vec!["admin", "author"]);
        assert!(user.has_role("admin") && !user.has_role("reader"));
        assert!(
            User::new("bob")
                .with_claim("role", "reader")
                .has_role("reader")
        );
    }

    #[test]
    fn claims_and_tokens_are_not_shown() {
        let user = User::new("ada").with_claim("secret", "xyzzy");
        let credentials = Credentials::of(&Request::new(()).into_parts().0);
        assert!(!format!("{user:?} {credentials:?}").contains("xyzzy"));
    }
}
