#![doc = include_str!("../README.md")]

mod amqp;
mod append;
mod backend;
mod bare;
mod config;
mod connector;
mod error;
mod http;
mod https;
mod inbox;
mod life;
mod listen;
mod manage;
mod names;
mod own;
mod remove;
mod sas;
mod tls;
mod transport;
mod wire;

#[doc(hidden)]
pub use self::bare::Bare;
pub use self::{
    connector::{connector, connector_with_credential},
    remove::remove,
    sas::{AccessToken, TokenCredential},
};
