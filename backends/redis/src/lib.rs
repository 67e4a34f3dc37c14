#![doc = include_str!("../README.md")]

mod append;
mod backend;
mod call;
mod channels;
mod commands;
mod config;
mod connection;
mod dice;
mod error;
mod expiry;
mod hints;
mod keys;
mod link;
mod listen;
mod read;
mod script;
mod tls;
mod wire;

pub use self::{backend::RedisBackend, config::connector};
