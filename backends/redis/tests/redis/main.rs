//! The backend against real servers, which the tests own. What every backend does alike is in the
//! conformance suite.
#![allow(
    clippy::unwrap_used,
    reason = "a test's helpers may panic as the test does"
)]

mod append;
mod connect;
mod listen;
mod support;
