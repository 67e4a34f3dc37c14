//! The URL: `redis://[[USER][:PASSWORD]@]HOST[:PORT][/DB][?option=value]`.

use std::{fmt, path::Path, time::Duration};

use percent_encoding::percent_decode_str;
use scaleout_core::{AnyBackend, Connector, Error, ErrorKind, Options, Query, Result, Secret};
use url::Url;

use crate::{RedisBackend, tls::Tls};

/// What a URL says.
#[derive(Clone)]
pub(crate) struct Config {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) db: i64,
    pub(crate) user: Option<String>,
    pub(crate) password: Option<Secret>,
    pub(crate) tls: Option<Tls>,
    pub(crate) retention_frames: usize,
    pub(crate) retention_bytes: usize,
    pub(crate) idle_expiry: Duration,
    pub(crate) max_frame_bytes: usize,
    pub(crate) durable: bool,
    pub(crate) request_timeout: Duration,
    pub(crate) liveness: Duration,
}

/// Reads a `redis://` or `rediss://` URL: the backend, which connects when it is first used, and the
/// node's options.
///
/// ```
/// let url = "redis://chat:secret@localhost:6380/2?namespace=blue&retention_frames=500";
/// let connector = scaleout_redis::connector(url)?;
/// assert_eq!(connector.options.namespace.as_str(), "blue");
/// assert!(!format!("{connector:?}").contains("secret"));
/// # Ok::<(), scaleout_core::Error>(())
/// ```
///
/// # Errors
///
/// [`ErrorKind::InvalidInput`] if the URL is not of that shape, if an option is unknown or has a
/// value that is not allowed, or if the file that `ca_cert` names has no certificate.
pub fn connector(url: &str) -> Result<Connector> {
    let (base, mut query) = Query::split(url)?;
    let options = Options::from_query(&mut query)?;
    let mut config = Config::parse(base)?;
    config.request_timeout = options.request_timeout;
    config.liveness = options.liveness;
    let mut ca_cert: Option<String> = None;
    query.take("retention_frames", &mut config.retention_frames)?;
    query.take("retention_bytes", &mut config.retention_bytes)?;
    query.take("idle_expiry", &mut config.idle_expiry)?;
    query.take("max_frame_bytes", &mut config.max_frame_bytes)?;
    query.take("durable", &mut config.durable)?;
    query.take("ca_cert", &mut ca_cert)?;
    query.finish()?;
    options.validate()?;
    config.validate()?;
    if let Some(path) = ca_cert {
        if config.tls.is_none() {
            return Err(invalid("option ca_cert is for rediss:// URLs"));
        }
        config.tls = Some(Tls::with_ca(&config.host, Path::new(&path))?);
    }
    Ok(Connector {
        backend: AnyBackend::new(RedisBackend::new(config)),
        options,
    })
}

impl Config {
    /// Reads what stands before the `?`. No error repeats it, as it may hold a password.
    fn parse(base: &str) -> Result<Self> {
        let shape = || {
            invalid(
                "not a Redis URL; use redis://[[USER][:PASSWORD]@]HOST[:PORT][/DB], or rediss:// for \
                 TLS, with special characters of user and password percent-encoded",
            )
        };
        let url = Url::parse(base).map_err(|_| shape())?;
        let host = match url.host() {
            // Schemes the crate does not know keep an address as text.
            Some(url::Host::Domain(name)) if !name.is_empty() => name.to_owned(),
            Some(url::Host::Ipv4(address)) => address.to_string(),
            Some(url::Host::Ipv6(address)) => address.to_string(),
            _ => return Err(shape()),
        };
        if url.fragment().is_some() {
            return Err(shape());
        }
        let db = match url.path().trim_matches('/') {
            "" => 0,
            number => number
                .parse::<u16>()
                .map_err(|_| invalid("the database in a Redis URL must be a number"))?,
        };
        let text = |encoded: &str| {
            let decoded = percent_decode_str(encoded).decode_utf8();
            decoded.map(String::from).map_err(|_| shape())
        };
        let user = match url.username() {
            "" => None,
            name => Some(text(name)?),
        };
        let password = url.password().map(text).transpose()?.map(Secret::new);
        let tls = match url.scheme() {
            "redis" => None,
            "rediss" => Some(Tls::with_web_roots(&host)?),
            _ => return Err(shape()),
        };
        Ok(Self {
            host,
            port: url.port().unwrap_or(6_379),
            db: db.into(),
            user,
            password,
            tls,
            retention_frames: 10_000,
            retention_bytes: 64 << 20,
            idle_expiry: Duration::from_secs(24 * 3_600),
            max_frame_bytes: 8 << 20,
            durable: false,
            request_timeout: Duration::ZERO,
            liveness: Duration::ZERO,
        })
    }

    fn validate(&self) -> Result<()> {
        let zero = [
            ("retention_frames", self.retention_frames == 0),
            ("retention_bytes", self.retention_bytes == 0),
            ("idle_expiry", self.idle_expiry < Duration::from_secs(1)),
            ("max_frame_bytes", self.max_frame_bytes == 0),
        ];
        if let Some((name, _)) = zero.iter().find(|(_, too_small)| *too_small) {
            return Err(invalid(format!("option {name} is too small")));
        }
        // Redis refuses longer strings, by its `proto-max-bulk-len`.
        if self.max_frame_bytes > 500 << 20 {
            return Err(invalid("option max_frame_bytes must not be beyond 500 MiB"));
        }
        Ok(())
    }
}

/// Where it connects to, without credentials.
impl fmt::Display for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls.is_some() {
            "rediss"
        } else {
            "redis"
        };
        match self.host.contains(':') {
            true => write!(f, "{scheme}://[{}]:{}/{}", self.host, self.port, self.db),
            false => write!(f, "{scheme}://{}:{}/{}", self.host, self.port, self.db),
        }
    }
}

pub(crate) fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidInput, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_comes_apart() {
        let config = Config::parse("redis://me:p%40ss%3F@example.com:6380/7").unwrap();
        assert_eq!(config.to_string(), "redis://example.com:6380/7");
        assert_eq!(config.user.as_deref(), Some("me"));
        assert_eq!(config.password.unwrap().expose(), "p@ss?");
        let config = Config::parse("redis://:pw@[::1]").unwrap();
        assert_eq!(config.to_string(), "redis://[::1]:6379/0");
        assert_eq!(config.user, None);
        assert!(Config::parse("rediss://localhost").unwrap().tls.is_some());
    }

    #[test]
    fn a_wrong_url_is_refused_without_repeating_it() {
        for bad in [
            "redis:",
            "redis://",
            "redis://:hunter2@",
            "redis://:hunter2@host:port/",
            "redis://:hunter2@host/none",
            "http://:hunter2@host/",
            "redis://:hunter2@host/#part",
            "redis://:hunter2%ff@host/",
        ] {
            let error = connector(bad).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{bad}");
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn options_are_checked() {
        for bad in [
            "redis://host/?retention=5",
            "redis://host/?retention_frames=0",
            "redis://host/?ca_cert=/nowhere.pem",
            "rediss://host/?ca_cert=/nowhere.pem",
            "redis://host/?durable=maybe",
            "redis://host/?liveness=0s",
        ] {
            assert_eq!(
                connector(bad).unwrap_err().kind(),
                ErrorKind::InvalidInput,
                "{bad}"
            );
        }
    }
}
