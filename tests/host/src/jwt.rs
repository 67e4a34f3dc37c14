//! JSON web tokens with HMAC-SHA256, signed by a key that lives as long as the process.

use std::{
    sync::LazyLock,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use scaleout::hub::{AuthError, Credentials, User};
use serde_json::{Value, json};
use sha2::Sha256;

const VALID: Duration = Duration::from_secs(5);

static KEY: LazyLock<[u8; 16]> = LazyLock::new(|| {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let seed = now.unwrap_or_default().as_nanos() ^ u128::from(std::process::id()) << 64;
    seed.to_be_bytes()
});

/// A token that is valid for five seconds.
pub(crate) fn generate() -> String {
    let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let head = part(json!({"alg": "HS256", "typ": "JWT"}));
    let expires = seconds(SystemTime::now() + VALID);
    let claims = part(json!({"sub": "testuser", "exp": expires}));
    let signed = format!("{head}.{claims}");
    let signature = URL_SAFE_NO_PAD.encode(mac(&signed).finalize().into_bytes());
    format!("{signed}.{signature}")
}

pub(crate) async fn authenticate(credentials: Credentials) -> Result<User, AuthError> {
    let token = credentials.token.ok_or(AuthError::Unauthenticated)?;
    verify(&token).ok_or(AuthError::Unauthenticated)
}

fn verify(token: &str) -> Option<User> {
    let (signed, signature) = token.rsplit_once('.')?;
    let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
    mac(signed).verify_slice(&signature).ok()?;
    let (_, claims) = signed.split_once('.')?;
    let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok()?;
    if claims["exp"].as_u64()? < seconds(SystemTime::now()) {
        return None;
    }
    Some(User::new(claims["sub"].as_str()?))
}

#[expect(clippy::expect_used, reason = "HMAC takes keys of every length")]
fn mac(text: &str) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(&*KEY).expect("any length");
    mac.update(text.as_bytes());
    mac
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
}
