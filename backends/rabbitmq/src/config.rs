//! The URL: `amqp://[USER[:PASSWORD]@]HOST[:PORT][,HOST[:PORT]...][/VHOST][?option=value]`.

use std::{fmt, fs, num::NonZeroU16, time::Duration};

use percent_encoding::percent_decode_str;
use scaleout_core::{
    AnyBackend, Connector, Error, ErrorKind, Namespace, Options, Partitioning, Query, Result,
    Secret,
};

use crate::RabbitMqBackend;

/// How many logs a namespace has unless the URL says otherwise.
pub(crate) const LOGS: NonZeroU16 = NonZeroU16::new(4).unwrap();
/// The largest segment that RabbitMQ takes.
const MAX_SEGMENT: u64 = 3_000_000_000;

/// What a URL says.
#[derive(Clone)]
pub(crate) struct Config {
    /// One or more; those of a cluster.
    pub(crate) hosts: Vec<Host>,
    pub(crate) user: String,
    pub(crate) password: Secret,
    pub(crate) vhost: String,
    pub(crate) tls: bool,
    /// Certificates to trust beside the web's, in PEM.
    pub(crate) ca_cert: Option<String>,
    pub(crate) namespace: Namespace,
    pub(crate) logs: NonZeroU16,
    pub(crate) retention_age: Duration,
    pub(crate) retention_bytes: u64,
    pub(crate) segment_bytes: u64,
    pub(crate) max_frame_bytes: usize,
    pub(crate) request_timeout: Duration,
    pub(crate) liveness: Duration,
}

/// A node of the broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Host {
    pub(crate) name: String,
    pub(crate) port: u16,
}

/// Reads an `amqp://` or `amqps://` URL: the backend, which connects when it is first used, and the
/// node's options.
///
/// ```
/// let url = "amqp://chat:secret@mq1,mq2:5673/live?namespace=blue&partitioning=8";
/// let connector = scaleout_rabbitmq::connector(url)?;
/// assert_eq!(connector.options.namespace.as_str(), "blue");
/// assert!(!format!("{connector:?}").contains("secret"));
/// # Ok::<(), scaleout_core::Error>(())
/// ```
///
/// # Errors
///
/// [`ErrorKind::InvalidInput`] if the URL is not of that shape, if an option is unknown or has a
/// value that is not allowed, or if the file that `ca_cert` names cannot be read.
pub fn connector(url: &str) -> Result<Connector> {
    let (config, options) = read(url)?;
    Ok(Connector {
        backend: AnyBackend::new(RabbitMqBackend::new(config)),
        options,
    })
}

/// Reads a URL.
pub(crate) fn read(url: &str) -> Result<(Config, Options)> {
    let (base, mut query) = Query::split(url)?;
    let options = Options::from_query(&mut query)?;
    let mut config = Config::parse(base)?;
    config.namespace = options.namespace.clone();
    config.request_timeout = options.request_timeout;
    config.liveness = options.liveness;
    config.logs = match options.partitioning {
        None => LOGS,
        Some(Partitioning::Shared(count)) => count,
        Some(Partitioning::PerTopic) => {
            return Err(invalid(
                "RabbitMQ has a fixed number of logs for all topics; use partitioning=4 or so",
            ));
        }
    };
    let mut ca_cert: Option<String> = None;
    query.take("retention_age", &mut config.retention_age)?;
    query.take("retention_bytes", &mut config.retention_bytes)?;
    query.take("segment_bytes", &mut config.segment_bytes)?;
    query.take("max_frame_bytes", &mut config.max_frame_bytes)?;
    query.take("ca_cert", &mut ca_cert)?;
    query.finish()?;
    options.validate()?;
    config.validate()?;
    if let Some(path) = ca_cert {
        if !config.tls {
            return Err(invalid("option ca_cert is for amqps:// URLs"));
        }
        let pem = fs::read_to_string(&path)
            .map_err(|error| invalid(format!("option ca_cert: {path}: {error}")))?;
        if !pem.contains("BEGIN CERTIFICATE") {
            return Err(invalid(format!(
                "option ca_cert: {path}: there is no certificate in it"
            )));
        }
        config.ca_cert = Some(pem);
    }
    Ok((config, options))
}

impl Config {
    /// Reads what stands before the `?`. No error repeats it, as it may hold a password.
    fn parse(base: &str) -> Result<Self> {
        let (tls, rest) = match base.split_once("://") {
            Some(("amqp", rest)) => (false, rest),
            Some(("amqps", rest)) => (true, rest),
            _ => return Err(shape()),
        };
        if rest.contains('#') {
            return Err(shape());
        }
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (user, hosts) = authority
            .rsplit_once('@')
            .unwrap_or(("guest:guest", authority));
        let (user, password) = user.split_once(':').unwrap_or((user, ""));
        let port = if tls { 5_671 } else { 5_672 };
        Ok(Self {
            hosts: hosts
                .split(',')
                .map(|host| Host::parse(host, port))
                .collect::<Result<_>>()?,
            user: text(user)?,
            password: Secret::new(text(password)?),
            // Strictly, `/` at the end names a virtual host without a name. Nobody has one.
            vhost: match path {
                "" => "/".to_owned(),
                name if name.contains('/') => return Err(shape()),
                name => text(name)?,
            },
            tls,
            ca_cert: None,
            namespace: Namespace::default(),
            logs: LOGS,
            retention_age: Duration::from_secs(24 * 3_600),
            retention_bytes: 1 << 30,
            segment_bytes: 64 << 20,
            max_frame_bytes: 8 << 20,
            request_timeout: Duration::ZERO,
            liveness: Duration::ZERO,
        })
    }

    fn validate(&self) -> Result<()> {
        if self.retention_age < Duration::from_secs(1) {
            return Err(invalid("option retention_age must be at least 1s"));
        }
        if self.segment_bytes == 0 || self.segment_bytes > MAX_SEGMENT {
            return Err(invalid(format!(
                "option segment_bytes must be from 1 to {MAX_SEGMENT}"
            )));
        }
        // RabbitMQ drops whole segments, so with less it could drop the one that was just filled.
        if self.retention_bytes < 2 * self.segment_bytes {
            return Err(invalid(
                "option retention_bytes must be at least twice segment_bytes",
            ));
        }
        // RabbitMQ refuses longer messages unless it is configured otherwise: 4.0 from 16 MiB on.
        if self.max_frame_bytes == 0 || self.max_frame_bytes > 512 << 20 {
            return Err(invalid("option max_frame_bytes must be from 1 to 512 MiB"));
        }
        Ok(())
    }
}

impl Host {
    fn parse(text: &str, default: u16) -> Result<Self> {
        let (name, port) = match text.strip_prefix('[') {
            // An IPv6 address.
            Some(rest) => {
                let (name, port) = rest.split_once(']').ok_or_else(shape)?;
                (name, port.strip_prefix(':'))
            }
            None => match text.split_once(':') {
                Some((name, port)) => (name, Some(port)),
                None => (text, None),
            },
        };
        if name.is_empty() {
            return Err(shape());
        }
        let port = match port {
            None => default,
            Some(port) => port.parse().map_err(|_| shape())?,
        };
        Ok(Self {
            name: name.to_owned(),
            port,
        })
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name.contains(':') {
            true => write!(f, "[{}]:{}", self.name, self.port),
            false => write!(f, "{}:{}", self.name, self.port),
        }
    }
}

/// Where it connects to, without credentials.
impl fmt::Display for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.tls { "amqps://" } else { "amqp://" })?;
        for (index, host) in self.hosts.iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            write!(f, "{comma}{host}")?;
        }
        write!(f, " vhost {}", self.vhost)
    }
}

fn text(encoded: &str) -> Result<String> {
    let decoded = percent_decode_str(encoded).decode_utf8();
    decoded.map(String::from).map_err(|_| shape())
}

fn shape() -> Error {
    invalid(
        "not a RabbitMQ URL; use amqp://[USER[:PASSWORD]@]HOST[:PORT][,HOST[:PORT]...][/VHOST], or \
         amqps:// for TLS, with special characters of user, password and vhost percent-encoded",
    )
}

pub(crate) fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidInput, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_comes_apart() {
        let config = Config::parse("amqp://me:p%40ss%3F@mq1:5673,mq2,[::1]:9/my%2fhost").unwrap();
        assert_eq!(
            config.to_string(),
            "amqp://mq1:5673,mq2:5672,[::1]:9 vhost my/host"
        );
        assert_eq!(
            (config.user.as_str(), config.password.expose()),
            ("me", "p@ss?")
        );
        let config = Config::parse("amqps://localhost").unwrap();
        assert_eq!(config.to_string(), "amqps://localhost:5671 vhost /");
        assert_eq!(
            (config.user.as_str(), config.password.expose()),
            ("guest", "guest")
        );
        for same in ["amqp://h", "amqp://h/", "amqp://h/%2f"] {
            assert_eq!(Config::parse(same).unwrap().vhost, "/", "{same}");
        }
    }

    #[test]
    fn a_wrong_url_is_refused_without_repeating_it() {
        for bad in [
            "amqp:",
            "amqp://",
            "amqp://u:hunter2@",
            "amqp://u:hunter2@host:port/",
            "amqp://u:hunter2@host,/",
            "amqp://u:hunter2@host/a/b",
            "http://u:hunter2@host/",
            "amqp://u:hunter2@host/#part",
            "amqp://u:hunter2%ff@host/",
        ] {
            let error = connector(bad).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{bad}");
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn options_are_checked() {
        for bad in [
            "amqp://host/?retention_frames=5",
            "amqp://host/?retention_age=10ms",
            "amqp://host/?retention_bytes=1000",
            "amqp://host/?segment_bytes=0",
            "amqp://host/?partitioning=topic",
            "amqp://host/?ca_cert=/nowhere.pem",
            "amqps://host/?ca_cert=/nowhere.pem",
            "amqp://host/?liveness=0s",
        ] {
            let error = connector(bad).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{bad}");
        }
    }
}
