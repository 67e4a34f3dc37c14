#![doc = include_str!("../README.md")]
// Until the transports are there.
#![expect(dead_code)]

mod config;
mod http;
mod manage;
mod sas;
mod tls;
mod transport;

pub use self::sas::{AccessToken, TokenCredential};
