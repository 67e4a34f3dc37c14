//! What is PostgreSQL's own: installing, publishing from SQL, locks, lost notifications, rights, TLS.
//! A cluster of the tests' own stands behind it.

#![expect(clippy::unwrap_used, reason = "a test that goes wrong may panic")]

mod append;
mod connect;
mod install;
mod leftovers;
mod listen;
mod publish;
mod support;
mod tls;
