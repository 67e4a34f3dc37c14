//! The URL: `postgres://[USER[:PASSWORD]@]HOST[:PORT][,HOST[:PORT]...][/DATABASE][?option=value]`.

use std::{fmt, path::Path, time::Duration};

use scaleout_core::{AnyBackend, Connector, Error, ErrorKind, Options, Query, Result};
use tokio_postgres::config::{Host, SslMode, TargetSessionAttrs};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::{
    PostgresBackend,
    tls::{self, Check},
};

/// What a URL says.
#[derive(Clone)]
pub(crate) struct Config {
    /// Holds the password; its `Debug` does not show it.
    pub(crate) client: tokio_postgres::Config,
    pub(crate) tls: MakeRustlsConnect,
    pub(crate) namespace: String,
    pub(crate) connections: usize,
    pub(crate) retention_frames: u64,
    pub(crate) retention_age: Duration,
    pub(crate) idle_expiry: Duration,
    pub(crate) max_frame_bytes: usize,
    pub(crate) poll: Duration,
    /// After what logs go on: `nothing`, a `restart`, or a `failover` too.
    pub(crate) continue_after: &'static str,
    pub(crate) request_timeout: Duration,
    pub(crate) liveness: Duration,
}

/// Reads a `postgres://` or `postgresql://` URL: the backend, which connects when it is first used,
/// and the node's options.
///
/// ```
/// let url = "postgres://chat:secret@db1,db2/app?namespace=blue&retention_age=1h";
/// let connector = scaleout_postgres::connector(url)?;
/// assert_eq!(connector.options.namespace.as_str(), "blue");
/// assert!(!format!("{connector:?}").contains("secret"));
/// # Ok::<(), scaleout_core::Error>(())
/// ```
///
/// # Errors
///
/// [`ErrorKind::InvalidInput`] if the URL is not of that shape, if an option is unknown or has a
/// value that is not allowed, or if the file that `sslrootcert` names has no certificate.
pub fn connector(url: &str) -> Result<Connector> {
    let (config, options) = read(url)?;
    Ok(Connector {
        backend: AnyBackend::new(PostgresBackend::new(config)),
        options,
    })
}

/// What a URL says, for the backend and for the node.
pub(crate) fn read(url: &str) -> Result<(Config, Options)> {
    let (base, mut query) = Query::split(url)?;
    let options = Options::from_query(&mut query)?;
    let client = parse(base)?;
    let mut sslmode = "prefer".to_owned();
    let mut sslrootcert: Option<String> = None;
    let mut target_session_attrs = "read-write".to_owned();
    let mut application_name = "scaleout".to_owned();
    let mut server_options: Option<String> = None;
    let mut continue_after = "restart".to_owned();
    query.take("sslmode", &mut sslmode)?;
    query.take("sslrootcert", &mut sslrootcert)?;
    query.take("target_session_attrs", &mut target_session_attrs)?;
    query.take("application_name", &mut application_name)?;
    query.take("options", &mut server_options)?;
    query.take("continue_after", &mut continue_after)?;
    let roots = sslrootcert.as_deref().map(Path::new);
    let (ssl_mode, check) = ssl(&sslmode, roots.is_some())?;
    let mut config = Config {
        client,
        tls: tls::client(check, roots)?,
        namespace: options.namespace.to_string(),
        connections: 2,
        retention_frames: 10_000,
        retention_age: Duration::from_secs(24 * 3_600),
        idle_expiry: Duration::from_secs(30 * 24 * 3_600),
        max_frame_bytes: 8 << 20,
        poll: Duration::from_millis(800),
        continue_after: one_of(
            "continue_after",
            &continue_after,
            &["nothing", "restart", "failover"].map(|word| (word, word)),
        )?,
        request_timeout: options.request_timeout,
        liveness: options.liveness,
    };
    query.take("connections", &mut config.connections)?;
    query.take("retention_frames", &mut config.retention_frames)?;
    query.take("retention_age", &mut config.retention_age)?;
    query.take("idle_expiry", &mut config.idle_expiry)?;
    query.take("max_frame_bytes", &mut config.max_frame_bytes)?;
    query.take("poll", &mut config.poll)?;
    query.finish()?;
    options.validate()?;
    config.validate()?;
    // A node writes and listens, and a standby can do neither.
    let writable = TargetSessionAttrs::ReadWrite;
    let attrs = one_of(
        "target_session_attrs",
        &target_session_attrs,
        &[
            ("read-write", writable),
            ("primary", writable),
            ("any", TargetSessionAttrs::Any),
        ],
    )?;
    let hosts = u32::try_from(config.client.get_hosts().len()).unwrap_or(u32::MAX);
    config
        .client
        .ssl_mode(ssl_mode)
        .target_session_attrs(attrs)
        .application_name(application_name)
        // So that the last host gets its turn.
        .connect_timeout(config.request_timeout / hosts.max(1));
    if let Some(server_options) = server_options {
        config.client.options(server_options);
    }
    Ok((config, options))
}

/// Reads what stands before the `?`. No error repeats it, as it may hold a password.
fn parse(base: &str) -> Result<tokio_postgres::Config> {
    let shape = || {
        invalid(
            "not a PostgreSQL URL; use postgres://[USER[:PASSWORD]@]HOST[:PORT][,HOST...][/DATABASE], \
             with special characters percent-encoded",
        )
    };
    let known = base.starts_with("postgres://") || base.starts_with("postgresql://");
    if !known || base.contains('#') {
        return Err(shape());
    }
    let client: tokio_postgres::Config = base.parse().map_err(|_| shape())?;
    if client.get_hosts().is_empty() {
        return Err(shape());
    }
    Ok(client)
}

/// As PostgreSQL's own client: with a file of authorities, `require` checks who it is, too.
fn ssl(mode: &str, has_roots: bool) -> Result<(SslMode, Check)> {
    let require = match has_roots {
        true => Check::Authority,
        false => Check::Nothing,
    };
    one_of(
        "sslmode",
        mode,
        &[
            ("disable", (SslMode::Disable, Check::Nothing)),
            ("prefer", (SslMode::Prefer, Check::Nothing)),
            ("require", (SslMode::Require, require)),
            ("verify-ca", (SslMode::Require, Check::Authority)),
            ("verify-full", (SslMode::Require, Check::All)),
        ],
    )
}

fn one_of<T: Copy>(name: &str, given: &str, allowed: &[(&str, T)]) -> Result<T> {
    let found = allowed.iter().find(|(word, _)| *word == given);
    found.map(|(_, value)| *value).ok_or_else(|| {
        let words: Vec<_> = allowed.iter().map(|(word, _)| *word).collect();
        invalid(format!(
            "option {name}={given:?} is not valid; allowed is {}",
            words.join(", ")
        ))
    })
}

impl Config {
    fn validate(&self) -> Result<()> {
        let second = Duration::from_secs(1);
        let too_small = [
            ("connections", self.connections == 0),
            ("retention_frames", self.retention_frames == 0),
            ("retention_age", self.retention_age < second),
            ("idle_expiry", self.idle_expiry < second),
            ("max_frame_bytes", self.max_frame_bytes == 0),
            ("poll", self.poll < Duration::from_millis(10)),
        ];
        if let Some((name, _)) = too_small.iter().find(|(_, too_small)| *too_small) {
            return Err(invalid(format!("option {name} is too small")));
        }
        if self.connections > 64 {
            return Err(invalid("option connections must not be beyond 64"));
        }
        if self.retention_frames > i64::MAX as u64 {
            return Err(invalid("option retention_frames is too large"));
        }
        // A value of PostgreSQL has 1 GiB at most, and is sent in one message with others.
        if self.max_frame_bytes > 256 << 20 {
            return Err(invalid("option max_frame_bytes must not be beyond 256 MiB"));
        }
        Ok(())
    }
}

/// Where it connects to, without credentials.
impl fmt::Display for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ports = self.client.get_ports();
        f.write_str("postgres://")?;
        for (index, host) in self.client.get_hosts().iter().enumerate() {
            let port = ports.get(index).or(ports.first()).copied().unwrap_or(5432);
            let comma = if index > 0 { "," } else { "" };
            match host {
                Host::Tcp(host) if host.contains(':') => write!(f, "{comma}[{host}]:{port}")?,
                Host::Tcp(host) => write!(f, "{comma}{host}:{port}")?,
                #[cfg(unix)]
                Host::Unix(path) => write!(f, "{comma}{}:{port}", path.display())?,
            }
        }
        match self.client.get_dbname() {
            Some(name) => write!(f, "/{name}"),
            None => Ok(()),
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
    fn a_wrong_url_is_refused_without_repeating_it() {
        for bad in [
            "postgres:",
            "postgres://",
            "postgres://me:hunter2@",
            "postgres://me:hunter2@host:port/",
            "http://me:hunter2@host/",
            "postgres://me:hunter2@host/#part",
            "postgres://me:hunter2%ff@host:1:2/",
        ] {
            let error = connector(bad).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{bad}");
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn options_are_checked() {
        for bad in [
            "retention=5",
            "retention_frames=0",
            "retention_age=10",
            "connections=0",
            "sslmode=maybe",
            "sslmode=verify-full&sslrootcert=/nowhere.pem",
            "target_session_attrs=read-only",
            "continue_after=all",
            "liveness=0s",
        ] {
            let error = connector(&format!("postgres://host/db?{bad}")).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{bad}");
        }
        let error = connector("postgres://host/?nmespace=a")
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("namespace") && error.contains("retention_age"),
            "{error}"
        );
    }

    #[test]
    fn urls_as_users_have_them_are_taken() {
        for good in [
            "postgresql://host/",
            "postgres://me:p%40ss@db1:5433,db2:5434/app?sslmode=require",
            "postgres://%2Fvar%2Frun%2Fpostgresql/app",
            "postgres://[::1]:5433/app?target_session_attrs=primary&application_name=chat",
        ] {
            let connector = connector(good).unwrap();
            assert!(!format!("{connector:?}").contains("p@ss"));
        }
    }
}
