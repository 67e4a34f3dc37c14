//! The redis backend.

use scaleout_core::{Connector, Result};

/// Reads a `redis` URL.
pub fn connector(url: &str) -> Result<Connector> {
    let _ = url;
    unimplemented!()
}
