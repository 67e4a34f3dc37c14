//! The command as a user runs it: processes, their output and their exit codes.

#![expect(clippy::unwrap_used, reason = "a test that goes wrong may panic")]

mod bad_input;
mod ended;
#[cfg(feature = "redis")]
mod redis;
#[cfg(any(feature = "hub", feature = "redis"))]
mod running;
#[cfg(feature = "hub")]
mod serve;
#[cfg(feature = "redis")]
mod watch;
