//! Shared access keys and the tokens that are made from them.

use std::{collections::BTreeMap, fmt};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use percent_encoding::percent_decode_str;
use sha2::Sha256;

use crate::clock::Moment;

/// What a policy may do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the service's")]
pub struct Rights {
    pub manage: bool,
    pub send: bool,
    pub listen: bool,
}

impl Rights {
    /// All of them.
    pub const ALL: Self = Self {
        manage: true,
        send: true,
        listen: true,
    };

    /// Reads `manage`, `send` and `listen`, separated by `+` or commas. Who may manage may do the rest, too.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut rights = Self::default();
        for right in text.split(['+', ',']) {
            match right.trim().to_ascii_lowercase().as_str() {
                "manage" => rights = Self::ALL,
                "send" => rights.send = true,
                "listen" => rights.listen = true,
                _ => return None,
            }
        }
        Some(rights)
    }
}

/// The policies of a namespace with their keys.
#[derive(Default)]
pub struct Policies {
    policies: BTreeMap<String, (String, Rights)>,
}

impl fmt::Debug for Policies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.policies.keys()).finish()
    }
}

impl Policies {
    /// Adds a policy, or gives one another key.
    pub fn insert(&mut self, name: &str, key: &str, rights: Rights) {
        self.policies.insert(name.into(), (key.into(), rights));
    }

    /// What the holder of this key may do.
    #[must_use]
    pub fn with_key(&self, name: &str, key: &str) -> Option<Rights> {
        let (wanted, rights) = self.policies.get(name)?;
        // Compared through a MAC: how long it takes says nothing about the key.
        let mac = |key: &str| signature(key, b"compare").finalize();
        (mac(wanted) == mac(key)).then_some(*rights)
    }

    /// Verifies a token: `SharedAccessSignature sr=...&sig=...&se=...&skn=...`.
    ///
    /// # Errors
    ///
    /// One line for the client that says what is wrong with it.
    pub fn verify(&self, token: &str, now: Moment) -> Result<Grant, &'static str> {
        let fields = token.trim().strip_prefix("SharedAccessSignature ");
        let fields = fields.ok_or("MalformedToken: The token is not a shared access signature.")?;
        let field = |name: &str| {
            let mut fields = fields.split('&').filter_map(|field| field.split_once('='));
            fields
                .find(|(found, _)| *found == name)
                .map(|(_, value)| value)
        };
        let (Some(resource), Some(signed), Some(end), Some(name)) =
            (field("sr"), field("sig"), field("se"), field("skn"))
        else {
            return Err("MalformedToken: The token lacks sr, sig, se or skn.");
        };
        let seconds: i64 = end
            .parse()
            .map_err(|_| "MalformedToken: The expiry is not a number.")?;
        const WRONG: &str = "InvalidSignature: The token has an invalid signature.";
        let (key, rights) = self.policies.get(&*decoded(name)).ok_or(WRONG)?;
        let sent = STANDARD.decode(&*decoded(signed)).map_err(|_| WRONG)?;
        // What is signed is the resource as the client encoded it.
        let mac = signature(key, format!("{resource}\n{end}").as_bytes());
        mac.verify_slice(&sent).map_err(|_| WRONG)?;
        let expires = Moment::from_millis(seconds.saturating_mul(1_000));
        if expires <= now {
            return Err("ExpiredToken: The token is expired.");
        }
        Ok(Grant {
            resource: resource_path(&decoded(resource)),
            rights: *rights,
            expires,
        })
    }
}

/// What a token allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The path below which it allows it, in lower case; nothing for the whole namespace.
    pub resource: String,
    /// What it allows.
    pub rights: Rights,
    /// Until when.
    pub expires: Moment,
}

impl Grant {
    /// Whether it is about this path, at this time.
    #[must_use]
    pub fn covers(&self, path: &str, now: Moment) -> bool {
        let below = path.strip_prefix(self.resource.as_str());
        let covers = self.resource.is_empty()
            || below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        covers && now < self.expires
    }
}

/// The path of a resource, in lower case. A resource begins with a host. Not every client puts a scheme in front,
/// and some leave the query at the end.
fn resource_path(resource: &str) -> String {
    let resource = resource
        .split_once('?')
        .map_or(resource, |(resource, _)| resource);
    let rest = resource
        .split_once("://")
        .map_or(resource, |(_, rest)| rest);
    let path = rest.split_once('/').map_or("", |(_, path)| path);
    path.trim_matches('/').to_ascii_lowercase()
}

fn decoded(text: &str) -> std::borrow::Cow<'_, str> {
    percent_decode_str(text).decode_utf8_lossy()
}

fn signature(key: &str, data: &[u8]) -> Hmac<Sha256> {
    // HMAC takes keys of any length.
    let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).expect("any key will do");
    mac.update(data);
    mac
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn policies() -> Policies {
        let mut policies = Policies::default();
        policies.insert("root", "secret", Rights::ALL);
        policies
    }

    fn token(resource: &str, key: &str, end: i64, name: &str) -> String {
        let mac = signature(key, format!("{resource}\n{end}").as_bytes()).finalize();
        let signed = STANDARD.encode(mac.into_bytes());
        let signed =
            percent_encoding::utf8_percent_encode(&signed, percent_encoding::NON_ALPHANUMERIC);
        format!("SharedAccessSignature sr={resource}&sig={signed}&se={end}&skn={name}")
    }

    const NOW: Moment = Moment::from_millis(100_000);

    #[test]
    fn a_token_of_the_right_key_is_good_for_its_resource_until_it_expires() {
        let token = token("sb%3A%2F%2Fhost%2FQueue", "secret", 200, "root");
        let grant = policies().verify(&token, NOW).unwrap();
        assert!(grant.covers("queue", NOW));
        assert!(grant.covers("queue/$management", NOW));
        assert!(!grant.covers("queue2", NOW));
        assert!(!grant.covers("other", NOW));
        assert!(!grant.covers("queue", Moment::from_millis(200_000)));
    }

    #[test]
    fn a_resource_begins_with_a_host_with_or_without_scheme() {
        assert_eq!(
            resource_path("sb://Host:5671/Topic/Subscriptions/A/"),
            "topic/subscriptions/a"
        );
        assert_eq!(resource_path("host:5671/queue"), "queue");
        assert_eq!(resource_path("host:5671"), "");
        assert_eq!(resource_path("https://host/queue?api-version=1"), "queue");
    }

    #[test]
    fn other_tokens_are_refused() {
        let refused = |token: &str| policies().verify(token, NOW).unwrap_err();
        assert!(refused(&token("x", "wrong", 200, "root")).starts_with("InvalidSignature"));
        assert!(refused(&token("x", "secret", 200, "nobody")).starts_with("InvalidSignature"));
        assert!(refused(&token("x", "secret", 100, "root")).starts_with("ExpiredToken"));
        let changed = token("x", "secret", 200, "root").replace("sr=x", "sr=y");
        assert!(refused(&changed).starts_with("InvalidSignature"));
        assert!(refused("SharedAccessSignature sr=x").starts_with("MalformedToken"));
        assert!(refused("").starts_with("MalformedToken"));
    }

    #[test]
    fn a_key_is_compared_whole() {
        assert_eq!(policies().with_key("root", "secret"), Some(Rights::ALL));
        assert_eq!(policies().with_key("root", "secre"), None);
        assert_eq!(policies().with_key("nobody", ""), None);
    }

    #[test]
    fn no_key_is_shown() {
        assert!(!format!("{:?}", policies()).contains("secret"));
    }

    proptest! {
        #[test]
        fn no_token_makes_it_panic(token in "(SharedAccessSignature )?(sr|sig|se|skn|=|&|%|[a-z0-9])*") {
            let _ = policies().verify(&token, NOW);
        }
    }
}
