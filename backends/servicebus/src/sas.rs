//! Who we are for the service: a shared access key, of which tokens are made here, or a credential of
//! the application's, which gets them from Entra ID.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use scaleout_core::{Error, ErrorKind, Result, Secret};
use sha2::Sha256;
use tokio::sync::Mutex;

/// What tokens of Entra ID are asked for with: the service has this one scope, in all clouds.
const SCOPE: &str = "https://servicebus.azure.net/.default";
/// How long a token that is made here is good for.
const LIFE: Duration = Duration::from_secs(3_600);
/// How long before its end a token is replaced, unless it does not live long.
const MARGIN: Duration = Duration::from_secs(5 * 60);
/// What stands in a token without being encoded.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// Gets tokens for the namespace, for example from Entra ID for a managed identity.
///
/// The identity needs the role *Azure Service Bus Data Owner* on the namespace, since nodes create and
/// delete their subscriptions.
///
/// ```ignore
/// use std::time::{Duration, SystemTime};
///
/// use scaleout_servicebus::{AccessToken, TokenCredential, connector_with_credential};
///
/// #[derive(Debug)]
/// struct Identity;
///
/// impl TokenCredential for Identity {
///     async fn token(&self, scope: &str) -> scaleout_core::Result<AccessToken> {
///         // What an SDK for identities returns for `scope`.
///         # let _ = scope;
///         let text = "eyJ0eXAiOiJKV1QiLCJhbGciOiJ...";
///         Ok(AccessToken::new(text, SystemTime::now() + Duration::from_secs(3_600)))
///     }
/// }
///
/// let connector = connector_with_credential("servicebus://my-namespace?namespace=chat", Identity)?;
/// // Then `Backplane::connect(connector)`.
/// # let _ = connector;
/// # Ok::<(), scaleout_core::Error>(())
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot get tokens for Azure Service Bus",
    note = "implement `scaleout_servicebus::TokenCredential`"
)]
pub trait TokenCredential: Send + Sync + 'static {
    /// A token for `scope`, which is `https://servicebus.azure.net/.default`.
    ///
    /// It is asked for once, and again five minutes before the token expires; it is called by one task
    /// at a time.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Auth`] if there will be none, [`ErrorKind::Unavailable`] if it is worth trying
    /// again. Errors must not show secrets.
    fn token(&self, scope: &str) -> impl Future<Output = Result<AccessToken>> + Send;
}

/// A token that a [`TokenCredential`] got: a JWT. It does not show.
#[derive(Clone, Debug)]
pub struct AccessToken {
    text: Secret,
    expires: SystemTime,
}

impl AccessToken {
    /// A token with the time at which it expires.
    pub fn new(text: impl Into<String>, expires: SystemTime) -> Self {
        Self {
            text: Secret::new(text),
            expires,
        }
    }
}

/// What the service is shown.
#[derive(Clone, Debug)]
pub(crate) struct Token {
    pub(crate) text: Secret,
    pub(crate) kind: TokenKind,
    pub(crate) expires: SystemTime,
    renew: SystemTime,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TokenKind {
    Sas,
    Jwt,
}

impl TokenKind {
    /// What `$cbs` calls it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Sas => "servicebus.windows.net:sastoken",
            Self::Jwt => "jwt",
        }
    }
}

impl Token {
    fn new(text: Secret, kind: TokenKind, now: SystemTime, expires: SystemTime) -> Self {
        let life = expires.duration_since(now).unwrap_or_default();
        Self {
            text,
            kind,
            expires,
            renew: expires - MARGIN.min(life / 2),
        }
    }

    /// How long from now it need not be replaced.
    pub(crate) fn fresh_for(&self) -> Duration {
        let left = self.renew.duration_since(SystemTime::now());
        left.unwrap_or_default()
    }

    /// The value of an `Authorization` header.
    pub(crate) fn header(&self) -> String {
        match self.kind {
            // It begins with the word for its kind.
            TokenKind::Sas => self.text.expose().to_owned(),
            TokenKind::Jwt => format!("Bearer {}", self.text.expose()),
        }
    }
}

/// Where tokens come from.
#[derive(Clone)]
pub(crate) enum Credential {
    Key {
        policy: String,
        key: Secret,
        life: Duration,
    },
    Given(Arc<Given>),
}

impl Credential {
    pub(crate) fn key(policy: String, key: Secret) -> Self {
        Self::Key {
            policy,
            key,
            life: LIFE,
        }
    }

    pub(crate) fn given(credential: impl TokenCredential) -> Self {
        Self::Given(Arc::new(Given {
            credential: Box::new(credential),
            last: Mutex::default(),
        }))
    }

    /// The same, with tokens that live shorter or longer.
    #[cfg(test)]
    pub(crate) fn with_life(mut self, of_tokens: Duration) -> Self {
        if let Self::Key { life, .. } = &mut self {
            *life = of_tokens;
        }
        self
    }

    /// The policy and its key, unless the application gets the tokens.
    pub(crate) fn exposed_key(&self) -> Option<(&str, &str)> {
        match self {
            Self::Key { policy, key, .. } => Some((policy, key.expose())),
            Self::Given(_) => None,
        }
    }

    /// A token for a resource, given as its URL: the namespace, or an entity in it.
    ///
    /// # Errors
    ///
    /// What the application's credential says.
    ///
    /// # Cancellation
    ///
    /// Safe: whoever asks next asks again.
    pub(crate) async fn token(&self, audience: &str) -> Result<Token> {
        match self {
            Self::Key { policy, key, life } => {
                let now = SystemTime::now();
                let expires = now + *life;
                let text = signature(policy, key, audience, expires);
                Ok(Token::new(text, TokenKind::Sas, now, expires))
            }
            Self::Given(given) => given.token().await,
        }
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key { policy, key, .. } => f
                .debug_struct("Key")
                .field("policy", policy)
                .field("key", key)
                .finish(),
            Self::Given(_) => f.write_str("TokenCredential"),
        }
    }
}

/// The application's credential, with the token it gave last.
pub(crate) struct Given {
    credential: Box<dyn Erased>,
    last: Mutex<Option<Token>>,
}

impl Given {
    async fn token(&self) -> Result<Token> {
        // Held while waiting: what many need at once is asked for once.
        let mut last = self.last.lock().await;
        if let Some(token) = &*last
            && !token.fresh_for().is_zero()
        {
            return Ok(token.clone());
        }
        let given = self.credential.token().await;
        let now = SystemTime::now();
        let given = match given {
            Ok(given) => given,
            // The one there is will do as long as it is good.
            Err(error) => {
                return last
                    .clone()
                    .filter(|token| token.expires > now)
                    .ok_or(error);
            }
        };
        if given.expires <= now {
            return Err(Error::new(
                ErrorKind::Auth,
                "the credential gave a token that is expired",
            ));
        }
        let token = Token::new(given.text, TokenKind::Jwt, now, given.expires);
        *last = Some(token.clone());
        Ok(token)
    }
}

/// The object-safe mirror of [`TokenCredential`].
trait Erased: Send + Sync {
    fn token(&self) -> Pin<Box<dyn Future<Output = Result<AccessToken>> + Send + '_>>;
}

impl<C: TokenCredential> Erased for C {
    fn token(&self) -> Pin<Box<dyn Future<Output = Result<AccessToken>> + Send + '_>> {
        Box::pin(TokenCredential::token(self, SCOPE))
    }
}

/// A shared access signature: what is signed is the resource as it stands in the token, and the end.
fn signature(policy: &str, key: &Secret, audience: &str, expires: SystemTime) -> Secret {
    let encode = |text: &str| utf8_percent_encode(text, PLAIN).to_string();
    // Only a clock before 1970 has none.
    let end = expires.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (resource, end) = (encode(audience), end.as_secs());
    // HMAC takes keys of any length.
    let mut mac = Hmac::<Sha256>::new_from_slice(key.expose().as_bytes()).expect("any key will do");
    mac.update(format!("{resource}\n{end}").as_bytes());
    let signed = encode(&STANDARD.encode(mac.finalize().into_bytes()));
    Secret::new(format!(
        "SharedAccessSignature sr={resource}&sig={signed}&se={end}&skn={}",
        encode(policy)
    ))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    fn credential(key: &str) -> Credential {
        Credential::key("send & listen".into(), Secret::new(key))
    }

    /// The same was computed with
    /// `printf 'sb%%3A%%2F%%2Fchat.servicebus.windows.net%%2Fa\n1700000000' | openssl dgst -sha256 -hmac 'k+/=' -binary | base64`.
    #[test]
    fn a_token_is_signed_as_others_sign_it() {
        let expires = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let key = Secret::new("k+/=");
        let token = signature(
            "send & listen",
            &key,
            "sb://chat.servicebus.windows.net/a",
            expires,
        );
        assert_eq!(token.expose(), EXPECTED);
    }

    const EXPECTED: &str = "SharedAccessSignature sr=sb%3A%2F%2Fchat.servicebus.windows.net%2Fa&sig=W5BFu9Hx4j6FMDI2GffAdoPM4vo7bEnY%2FqxcLGCY6bA%3D&se=1700000000&skn=send%20%26%20listen";

    #[tokio::test]
    async fn a_token_is_renewed_before_it_expires() {
        let token = credential("k").token("sb://h").await.unwrap();
        let fresh = token.fresh_for().as_secs();
        assert!((3_295..=3_300).contains(&fresh), "{fresh}");
        let short = credential("k").with_life(Duration::from_secs(10));
        let token = short.token("sb://h").await.unwrap();
        assert!(token.fresh_for() <= Duration::from_secs(5));
        assert!(token.expires > SystemTime::now());
    }

    struct Counting(Arc<AtomicU64>, Duration);

    impl TokenCredential for Counting {
        async fn token(&self, scope: &str) -> Result<AccessToken> {
            let count = self.0.fetch_add(1, Ordering::Relaxed);
            if count > 0 && self.1 < MARGIN {
                return Err(Error::new(ErrorKind::Unavailable, "no answer"));
            }
            Ok(AccessToken::new(
                format!("{scope} {count}"),
                SystemTime::now() + self.1,
            ))
        }
    }

    #[tokio::test]
    async fn a_given_credential_is_asked_once_for_many() {
        let count = Arc::new(AtomicU64::new(0));
        let given = Credential::given(Counting(count.clone(), LIFE));
        let (one, other) = tokio::join!(given.token("a"), given.token("b"));
        let (one, other) = (one.unwrap(), other.unwrap());
        assert_eq!(one.header(), format!("Bearer {SCOPE} 0"));
        assert_eq!(one.text, other.text);
        assert_eq!(count.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn a_token_that_cannot_be_renewed_is_used_until_it_expires() {
        let count = Arc::new(AtomicU64::new(0));
        // One that is to be renewed at once.
        let given = Arc::new(Given {
            credential: Box::new(Counting(count.clone(), Duration::from_secs(60))),
            last: Mutex::default(),
        });
        let first = given.token().await.unwrap();
        if let Some(token) = &mut *given.last.lock().await {
            token.renew = SystemTime::now();
        }
        let again = given.token().await.unwrap();
        assert_eq!(first.text, again.text);
        assert_eq!(count.load(Ordering::Relaxed), 2);
        if let Some(token) = &mut *given.last.lock().await {
            token.expires = SystemTime::now();
        }
        let error = given.token().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
    }

    #[tokio::test]
    async fn an_expired_token_is_not_shown_to_the_service() {
        let count = Arc::new(AtomicU64::new(0));
        let given = Credential::given(Counting(count, Duration::ZERO));
        let error = given.token("a").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Auth);
    }

    #[tokio::test]
    async fn nothing_secret_shows() {
        let credential = credential("hunter2");
        let token = credential.token("sb://h").await.unwrap();
        let text = format!("{credential:?} {token:?}");
        assert!(
            !text.contains("hunter2") && !text.contains("sig="),
            "{text}"
        );
    }
}
