#![doc = include_str!("../README.md")]

mod amqp;
mod broker;
pub mod clock;
pub mod config;
pub mod duration;
pub mod entity;
pub mod faults;
mod http;
pub mod sas;
mod server;

pub use self::{config::Config, server::Emulator};
