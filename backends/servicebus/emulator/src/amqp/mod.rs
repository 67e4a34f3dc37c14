//! AMQP 1.0 as clients of the service speak it.
//!
//! `Connection` is a machine without a socket: bytes go in, bytes come out. `serve` moves them.

mod attach;
mod cbs;
mod claims;
mod connection;
mod deliver;
mod frame;
#[cfg(test)]
mod hostile;
mod inbound;
mod link;
mod management;
mod message;
mod node;
mod performative;
mod request;
mod rules;
mod sasl;
mod serve;
mod session;
mod settle;
mod shape;

pub(crate) use self::{
    message::{body_bytes, content},
    serve::serve,
};
