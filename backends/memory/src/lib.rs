#![doc = include_str!("../README.md")]

mod admin;
mod append;
mod backend;
mod broker;
mod config;
mod connection;
mod listen;
mod log;
mod publishers;
mod read;

pub use self::{admin::Memory, backend::MemoryBackend, config::connector};
