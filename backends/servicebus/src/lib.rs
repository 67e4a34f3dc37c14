#![doc = include_str!("../README.md")]
// Until messages go over HTTPS, too.
#![allow(dead_code)]

mod amqp;
mod append;
mod backend;
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
mod sas;
mod slot;
mod tls;
mod transport;
mod wire;

pub use self::{
    connector::{connector, connector_with_credential},
    sas::{AccessToken, TokenCredential},
};
