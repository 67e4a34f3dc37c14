#![doc = include_str!("../README.md")]

mod append;
mod backend;
mod config;
mod connection;
mod create;
mod directory;
mod error;
mod follow;
mod link;
mod listen;
mod names;
mod read;
mod remove;
mod stream;
mod wire;

pub use self::{backend::RabbitMqBackend, config::connector, remove::remove};
