//! The memory backend.

use scaleout_core::{Connector, Result};

/// Reads a `memory` URL.
pub fn connector(url: &str) -> Result<Connector> {
    let _ = url;
    unimplemented!()
}
