//! The URL: a connection string of Azure, or `servicebus://[POLICY:KEY@]NAMESPACE[?option=value]`.

use std::{env, fmt, fs, num::NonZeroU16, time::Duration};

use percent_encoding::percent_decode_str;
use scaleout_core::{Error, ErrorKind, Namespace, Options, Partitioning, Query, Result, Secret};

use crate::{sas::Credential, tls};

/// How many logs a namespace has unless the URL says otherwise.
pub(crate) const LOGS: NonZeroU16 = NonZeroU16::new(4).unwrap();
/// Where a key is looked for that the URL does not have: what the SDKs' own examples use.
pub(crate) const VARIABLE: &str = "SERVICEBUS_CONNECTION_STRING";
/// Added to a name that is only that of a namespace.
const DOMAIN: &str = "servicebus.windows.net";
/// AMQP with TLS.
const AMQPS: u16 = 5_671;
const HTTPS: u16 = 443;
/// Where the vendor's emulator has AMQP, and where it has HTTP.
const EMULATOR: (u16, u16) = (5_672, 5_300);
/// What a message has beside the frame: its properties and annotations, and the names of those.
const OVERHEAD: usize = 4 << 10;
/// The largest message that a topic of the premium tier can be set to take, in AMQP.
const LARGEST: usize = 100 << 20;
/// The shortest time that an unused subscription can be kept on the service.
const MIN_IDLE: Duration = Duration::from_secs(5 * 60);
const MAX_LOCK: Duration = Duration::from_secs(5 * 60);

/// What a URL says.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) host: String,
    /// Of AMQP.
    pub(crate) port: u16,
    pub(crate) tls: bool,
    /// Where HTTP begins: `https://NAMESPACE.servicebus.windows.net`, without a slash at the end.
    pub(crate) http_base: String,
    pub(crate) credential: Credential,
    pub(crate) transport: TransportKind,
    pub(crate) tier: Tier,
    /// Certificates to trust instead of the web's, in PEM.
    pub(crate) ca_cert: Option<String>,
    /// Of this library, not of the service.
    pub(crate) namespace: Namespace,
    pub(crate) logs: NonZeroU16,
    /// The largest frame: what the service takes, less what is around it.
    pub(crate) max_frame_bytes: usize,
    pub(crate) request_timeout: Duration,
    pub(crate) liveness: Duration,
    /// How long a message waits in a subscription.
    pub(crate) subscription_ttl: Duration,
    /// How long a subscription is kept that nobody receives from.
    pub(crate) auto_delete_on_idle: Duration,
    pub(crate) lock_duration: Duration,
    /// What the node's subscriptions are called, instead of a name of its own.
    pub(crate) subscription: Option<String>,
}

/// What the messages go by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TransportKind {
    Amqp,
    Https,
}

/// What the namespace was bought as, which decides how large a message may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tier {
    Standard,
    Premium,
}

/// Reads a URL. The key may stand in the environment.
pub(crate) fn read(url: &str) -> Result<(Config, Options)> {
    read_with(url, None, |name| env::var(name).ok())
}

/// Reads a URL whose key is not used, as there is a credential.
pub(crate) fn read_for(url: &str, credential: Credential) -> Result<(Config, Options)> {
    read_with(url, Some(credential), |_| None)
}

fn read_with(
    url: &str,
    credential: Option<Credential>,
    environment: impl Fn(&str) -> Option<String>,
) -> Result<(Config, Options)> {
    let (base, mut query) = Query::split(url)?;
    let options = Options::from_query(&mut query)?;
    let mut emulator = false;
    let (mut http_port, mut transport, mut tier) = (None, TransportKind::Amqp, Tier::Standard);
    let mut max_frame_bytes: Option<usize> = None;
    let (mut ca_cert, mut subscription): (Option<String>, Option<String>) = (None, None);
    let mut subscription_ttl = Duration::from_secs(10 * 60);
    let mut auto_delete_on_idle = Duration::from_secs(10 * 60);
    let mut lock_duration: Option<Duration> = None;
    query.take("emulator", &mut emulator)?;
    query.take("http_port", &mut http_port)?;
    query.take("transport", &mut transport)?;
    query.take("tier", &mut tier)?;
    query.take("max_frame_bytes", &mut max_frame_bytes)?;
    query.take("ca_cert", &mut ca_cert)?;
    query.take("subscription", &mut subscription)?;
    query.take("subscription_ttl", &mut subscription_ttl)?;
    query.take("auto_delete_on_idle", &mut auto_delete_on_idle)?;
    query.take("lock_duration", &mut lock_duration)?;
    query.finish()?;
    options.validate()?;

    let lock_duration = lock_duration.unwrap_or(match transport {
        TransportKind::Amqp => Duration::from_secs(60),
        // A request that broke off may have taken a message with it, and nothing but the end of its
        // lock gives it back: before the publishers of what comes after it lose their patience. The service has
        // none that is shorter.
        TransportKind::Https => Duration::from_secs(5),
    });

    let mut given = Given::parse(base, &environment, credential.is_some())?;
    given.emulator |= emulator;
    let logs = match options.partitioning {
        None => LOGS,
        Some(Partitioning::Shared(count)) => count,
        Some(Partitioning::PerTopic) => {
            return Err(invalid(
                "Azure Service Bus has a fixed number of logs for all topics; use partitioning=4 or so",
            ));
        }
    };
    let largest = largest(transport, tier);
    let max_frame_bytes = max_frame_bytes.unwrap_or(largest.0);
    if !(1..=largest.1).contains(&max_frame_bytes) {
        return Err(invalid(format!(
            "option max_frame_bytes must be from 1 to {} with this tier and transport",
            largest.1
        )));
    }
    check_times(&given, subscription_ttl, auto_delete_on_idle, lock_duration)?;
    if let Some(name) = &subscription {
        check_name(name)?;
    }
    let tls = !given.emulator;
    let ca_cert = ca_cert.map(|path| read_ca(tls, &path)).transpose()?;
    let config = Config {
        port: given.port(),
        http_base: given.http_base(http_port),
        tls,
        credential: credential.or(given.credential).ok_or_else(no_key)?,
        host: given.host,
        transport,
        tier,
        ca_cert,
        namespace: options.namespace.clone(),
        logs,
        max_frame_bytes,
        request_timeout: options.request_timeout,
        liveness: options.liveness,
        subscription_ttl,
        auto_delete_on_idle,
        lock_duration,
        subscription,
    };
    Ok((config, options))
}

/// How large a frame may be: unless the URL says otherwise, and at most.
fn largest(transport: TransportKind, tier: Tier) -> (usize, usize) {
    let (usual, most) = match (tier, transport) {
        (Tier::Standard, _) => (256 << 10, 256 << 10),
        // A topic takes 1 MiB unless it was created for more, and HTTP never takes more.
        (Tier::Premium, TransportKind::Amqp) => (1 << 20, LARGEST),
        (Tier::Premium, TransportKind::Https) => (1 << 20, 1 << 20),
    };
    (usual - OVERHEAD, most - OVERHEAD)
}

fn check_times(given: &Given, ttl: Duration, idle: Duration, lock: Duration) -> Result<()> {
    if ttl < Duration::from_secs(1) {
        return Err(invalid("option subscription_ttl must be at least 1s"));
    }
    // Emulators delete sooner, which tests like.
    if idle.is_zero() || (!given.emulator && idle < MIN_IDLE) {
        return Err(invalid(
            "option auto_delete_on_idle must be at least 5m, as the service has it",
        ));
    }
    let shortest = Duration::from_secs(if given.emulator { 1 } else { 5 });
    if lock < shortest || lock > MAX_LOCK {
        return Err(invalid(format!(
            "option lock_duration must be from {}s to 5m",
            shortest.as_secs()
        )));
    }
    Ok(())
}

/// What the service takes for a subscription's name.
fn check_name(name: &str) -> Result<()> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
    let ends = |at: Option<&u8>| at.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = name.as_bytes();
    if bytes.len() > 50
        || !bytes.iter().all(|b| allowed(*b))
        || !ends(bytes.first())
        || !ends(bytes.last())
    {
        return Err(invalid(
            "option subscription must be 1 to 50 characters of A-Z a-z 0-9 _ . -, and begin and end \
             with a letter or digit",
        ));
    }
    Ok(())
}

fn read_ca(tls: bool, path: &str) -> Result<String> {
    if !tls {
        return Err(invalid("option ca_cert is not for an emulator without TLS"));
    }
    let wrong = |error: &dyn fmt::Display| invalid(format!("option ca_cert: {path}: {error}"));
    let pem = fs::read_to_string(path).map_err(|error| wrong(&error))?;
    tls::client(Some(&pem)).map_err(|error| wrong(&error))?;
    Ok(pem)
}

/// What stands before the `?`.
struct Given {
    host: String,
    port: Option<u16>,
    emulator: bool,
    credential: Option<Credential>,
}

impl Given {
    /// No error repeats what was given, as it may hold a key.
    fn parse(
        base: &str,
        environment: &impl Fn(&str) -> Option<String>,
        has_credential: bool,
    ) -> Result<Self> {
        let Some(rest) = base.strip_prefix("servicebus://") else {
            return Self::connection_string(base, has_credential);
        };
        let from_environment = || {
            let text = environment(VARIABLE);
            text.map(|text| {
                Self::connection_string(&text, has_credential)
                    .map_err(|error| error.context(VARIABLE))
            })
            .transpose()
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        if rest.is_empty() {
            return from_environment()?.ok_or_else(|| {
                invalid(format!(
                    "the URL names no namespace, and {VARIABLE} is not set"
                ))
            });
        }
        let (user, authority) = match rest.rsplit_once('@') {
            Some((user, authority)) => (Some(user), authority),
            None => (None, rest),
        };
        let mut given = Self::authority(authority)?;
        if !given.host.contains(['.', ':']) && given.host != "localhost" {
            given.host = format!("{}.{DOMAIN}", given.host);
        }
        if let Some(user) = user {
            let (policy, key) = user.split_once(':').ok_or_else(shape)?;
            given.credential = Some(credential(text(policy)?, text(key)?)?);
        } else if !has_credential && let Some(other) = from_environment()? {
            if !other.host.eq_ignore_ascii_case(&given.host) {
                return Err(invalid(format!(
                    "{VARIABLE} is of another namespace than the URL"
                )));
            }
            given.credential = other.credential;
        }
        Ok(given)
    }

    /// `Endpoint=sb://HOST[:PORT]/;SharedAccessKeyName=NAME;SharedAccessKey=KEY[;...]`.
    fn connection_string(string: &str, has_credential: bool) -> Result<Self> {
        let (mut endpoint, mut policy, mut key, mut emulator) = (None, None, None, false);
        for part in string.split(';').map(str::trim).filter(|p| !p.is_empty()) {
            let (name, value) = part.split_once('=').ok_or_else(shape)?;
            let value = value.trim();
            match name.trim().to_ascii_lowercase().as_str() {
                "endpoint" => endpoint = Some(value),
                "sharedaccesskeyname" => policy = Some(value),
                "sharedaccesskey" => key = Some(value),
                "usedevelopmentemulator" => emulator = value.eq_ignore_ascii_case("true"),
                "entitypath" => {
                    return Err(invalid(
                        "the connection string is of one entity (EntityPath); one of the namespace is \
                         needed",
                    ));
                }
                "sharedaccesssignature" => {
                    return Err(invalid(
                        "the connection string has a token instead of a key, which could not be \
                         renewed; use SharedAccessKeyName and SharedAccessKey",
                    ));
                }
                _ => return Err(shape()),
            }
        }
        let endpoint = endpoint.ok_or_else(shape)?;
        let authority = ["sb://", "amqps://", "https://"]
            .iter()
            .find_map(|scheme| endpoint.strip_prefix(scheme))
            .ok_or_else(shape)?;
        let mut given = Self::authority(authority.strip_suffix('/').unwrap_or(authority))?;
        given.emulator = emulator;
        given.credential = match (policy, key) {
            (Some(policy), Some(key)) => Some(credential(policy.to_owned(), key.to_owned())?),
            (None, None) if has_credential => None,
            _ => return Err(shape()),
        };
        Ok(given)
    }

    /// `HOST[:PORT]`.
    fn authority(text: &str) -> Result<Self> {
        let (host, port) = match text.strip_prefix('[') {
            // An IPv6 address.
            Some(rest) => {
                let (host, port) = rest.split_once(']').ok_or_else(shape)?;
                let address: std::net::Ipv6Addr = host.parse().map_err(|_| shape())?;
                match port.strip_prefix(':') {
                    None if !port.is_empty() => return Err(shape()),
                    port => (address.to_string(), port),
                }
            }
            None => match text.split_once(':') {
                Some((host, port)) => (host.to_owned(), Some(port)),
                None => (text.to_owned(), None),
            },
        };
        let is_name = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-');
        if host.is_empty() || !(host.contains(':') || host.bytes().all(is_name)) {
            return Err(shape());
        }
        Ok(Self {
            host,
            port: port
                .map(|port| port.parse().map_err(|_| shape()))
                .transpose()?,
            emulator: false,
            credential: None,
        })
    }

    fn port(&self) -> u16 {
        let usual = if self.emulator { EMULATOR.0 } else { AMQPS };
        self.port.unwrap_or(usual)
    }

    fn http_base(&self, http_port: Option<u16>) -> String {
        let host = bracketed(&self.host);
        if !self.emulator {
            return match http_port {
                None | Some(HTTPS) => format!("https://{host}"),
                Some(port) => format!("https://{host}:{port}"),
            };
        }
        // An emulator that is given with its port has both at it.
        let port = http_port.or(self.port).unwrap_or(EMULATOR.1);
        format!("http://{host}:{port}")
    }
}

fn credential(policy: String, key: String) -> Result<Credential> {
    if policy.is_empty() || key.is_empty() {
        return Err(shape());
    }
    Ok(Credential::key(policy, Secret::new(key)))
}

fn bracketed(host: &str) -> String {
    match host.contains(':') {
        true => format!("[{host}]"),
        false => host.to_owned(),
    }
}

/// Where it connects to, without credentials.
impl fmt::Display for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.transport {
            TransportKind::Amqp => {
                let scheme = if self.tls { "amqps" } else { "amqp" };
                write!(f, "{scheme}://{}:{}", bracketed(&self.host), self.port)
            }
            TransportKind::Https => f.write_str(&self.http_base),
        }
    }
}

impl scaleout_core::OptionValue for TransportKind {
    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "amqp" => Ok(Self::Amqp),
            "https" => Ok(Self::Https),
            _ => Err("amqp or https".to_owned()),
        }
    }
}

impl scaleout_core::OptionValue for Tier {
    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "standard" => Ok(Self::Standard),
            "premium" => Ok(Self::Premium),
            _ => Err("standard or premium".to_owned()),
        }
    }
}

fn text(encoded: &str) -> Result<String> {
    let decoded = percent_decode_str(encoded).decode_utf8();
    decoded.map(String::from).map_err(|_| shape())
}

fn shape() -> Error {
    invalid(
        "not a Service Bus URL; use the namespace's connection string \
         (Endpoint=sb://NAMESPACE.servicebus.windows.net/;SharedAccessKeyName=POLICY;SharedAccessKey=KEY), \
         or servicebus://[POLICY:KEY@]NAMESPACE with special characters of the key percent-encoded",
    )
}

fn no_key() -> Error {
    invalid(format!(
        "there is no key for the namespace: use its connection string, put POLICY:KEY@ before the name, \
         or set {VARIABLE}"
    ))
}

pub(crate) fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidInput, message)
}

#[cfg(test)]
mod tests;
