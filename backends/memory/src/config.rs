//! The URL: `memory:NAME?option=value`.

use std::time::Duration;

use scaleout_core::{AnyBackend, Connector, Error, ErrorKind, Options, Query, Result};

use crate::MemoryBackend;

/// What a node may set. The broker has no settings of its own: it applies those of the node that
/// appends, so nodes that share a broker should use the same.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) retention_frames: usize,
    pub(crate) retention_bytes: usize,
    pub(crate) retention_age: Option<Duration>,
    pub(crate) idle_expiry: Duration,
    pub(crate) max_frame_bytes: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            retention_frames: 10_000,
            retention_bytes: 64 << 20,
            retention_age: None,
            idle_expiry: Duration::from_secs(24 * 3_600),
            max_frame_bytes: 8 << 20,
        }
    }
}

/// Reads a `memory:` URL: the backend on the broker it names, and the node's options.
///
/// ```
/// let connector = scaleout_memory::connector("memory:chat?namespace=blue&retention_frames=500")?;
/// assert_eq!(connector.options.namespace.as_str(), "blue");
/// # Ok::<(), scaleout_core::Error>(())
/// ```
///
/// # Errors
///
/// [`ErrorKind::InvalidInput`] if the URL is not `memory:` or `memory:NAME`, or if an option is
/// unknown or has a value that is not allowed.
pub fn connector(url: &str) -> Result<Connector> {
    let (base, mut query) = Query::split(url)?;
    let name = base
        .strip_prefix("memory:")
        .filter(|name| is_name(name))
        .ok_or_else(|| {
            invalid(format!(
                "{base:?} is not the URL of a memory broker; use memory: or memory:NAME, with a \
                 name of up to 64 characters of A-Z a-z 0-9 _ . -"
            ))
        })?;
    let options = Options::from_query(&mut query)?;
    let mut config = Config::default();
    query.take("retention_frames", &mut config.retention_frames)?;
    query.take("retention_bytes", &mut config.retention_bytes)?;
    query.take("retention_age", &mut config.retention_age)?;
    query.take("idle_expiry", &mut config.idle_expiry)?;
    query.take("max_frame_bytes", &mut config.max_frame_bytes)?;
    query.finish()?;
    options.validate()?;
    config.validate()?;
    Ok(Connector {
        backend: AnyBackend::new(MemoryBackend::new(name, config)),
        options,
    })
}

/// Whether a broker can be called so. The empty name is the default broker's.
pub(crate) fn is_name(name: &str) -> bool {
    name.len() <= 64
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
}

impl Config {
    fn validate(&self) -> Result<()> {
        let zero = [
            ("retention_frames", self.retention_frames == 0),
            ("retention_bytes", self.retention_bytes == 0),
            (
                "retention_age",
                self.retention_age.is_some_and(|age| age.is_zero()),
            ),
            ("idle_expiry", self.idle_expiry.is_zero()),
            ("max_frame_bytes", self.max_frame_bytes == 0),
        ];
        match zero.iter().find(|(_, is_zero)| *is_zero) {
            Some((name, _)) => Err(invalid(format!("option {name} must not be 0"))),
            None => Ok(()),
        }
    }
}

pub(crate) fn invalid(message: String) -> Error {
    Error::new(ErrorKind::InvalidInput, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_option_lists_what_is_allowed() {
        let error = connector("memory:?retention=5").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.to_string().contains("retention_frames"), "{error}");
        assert!(error.to_string().contains("namespace"), "{error}");
    }

    #[test]
    fn a_url_of_another_shape_is_refused() {
        for bad in [
            "memory",
            "memory://",
            "memory:a/b",
            "redis://host",
            "memory:?retention_frames=0",
        ] {
            assert_eq!(
                connector(bad).unwrap_err().kind(),
                ErrorKind::InvalidInput,
                "{bad}"
            );
        }
    }

    #[test]
    fn the_limits_of_the_url_are_the_backends() {
        use scaleout_core::Backend as _;
        let backend = connector("memory:?max_frame_bytes=100").unwrap().backend;
        assert_eq!(backend.capabilities().max_frame_bytes, 100);
    }
}
