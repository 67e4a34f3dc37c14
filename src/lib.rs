//! scaleout

mod connect;

pub use connect::{connect, connect_lazy, connector};
pub use scaleout_core::*;
