//! URL scheme -> backend.

use scaleout_core::{Backplane, Connector, Error, ErrorKind, Result};

/// Connects to the broker that `url` names.
pub async fn connect(url: &str) -> Result<Backplane> {
    Backplane::connect(connector(url)?).await
}

/// The same without waiting for the broker.
pub fn connect_lazy(url: &str) -> Result<Backplane> {
    Backplane::connect_lazy(connector(url)?)
}

/// The backend and options that `url` stands for.
pub fn connector(url: &str) -> Result<Connector> {
    match url.split_once(':').map_or(url, |(scheme, _)| scheme) {
        #[cfg(feature = "memory")]
        "memory" => scaleout_memory::connector(url),
        #[cfg(feature = "redis")]
        "redis" | "rediss" => scaleout_redis::connector(url),
        _ => Err(Error::new(ErrorKind::InvalidInput, "unknown scheme")),
    }
}
