#![doc = include_str!("../README.md")]

mod append;
mod backend;
mod channels;
mod commands;
mod config;
mod connection;
mod error;
mod install;
mod link;
mod listen;
mod name;
mod patience;
mod place;
mod read;
mod remove;
mod tls;
mod trim;

pub use self::{backend::PostgresBackend, config::connector, remove::remove};
