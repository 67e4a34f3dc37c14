//! Whole nodes against a broker that misbehaves as told, in simulated time.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod publish;
mod receive;
mod support;
