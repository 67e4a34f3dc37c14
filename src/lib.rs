//! Many realtime servers act as one.
//!
//! A server that has something to say publishes it on a *backplane*; every server receives it, in
//! one order, once, and passes it to its own clients. Which broker carries the messages is a Cargo
//! feature and a URL: no application code changes.
//!
#![cfg_attr(feature = "memory", doc = "```")]
#![cfg_attr(not(feature = "memory"), doc = "```ignore")]
//! use std::time::Duration;
//!
//! use scaleout::{Event, Start};
//!
//! #[tokio::main]
//! async fn main() -> scaleout::Result<()> {
//!     // Two servers. In two processes they would have a broker between them, and its URL here.
//!     let paris = scaleout::connect("memory:").await?;
//!     let tokyo = scaleout::connect("memory:").await?;
//!
//!     let mut room = tokyo.subscribe("room/42", Start::Latest).await?;
//!     let receipt = paris.publish("room/42", "hello").await?;
//!
//!     match room.next().await {
//!         // Everybody gets the message at the place that its publisher was told.
//!         Some(Event::Message(entry)) => assert_eq!(entry.cursor(), *receipt.cursor()),
//!         // Nothing is lost silently: a gap or a reset would stand here in its place.
//!         other => panic!("{other:?}"),
//!     }
//!
//!     paris.close(Duration::from_secs(1)).await?;
//!     tokyo.close(Duration::from_secs(1)).await
//! }
//! ```
//!
//! # Features
//!
//! | feature | URLs | what it needs |
//! |---|---|---|
//! | `memory` (default) | `memory:` | nothing: the nodes of one process |
//! | `redis` | `redis://`, `rediss://` | Redis 6.2 or later |
//! | `postgres` | `postgres://`, `postgresql://` | PostgreSQL 13 or later |
//! | `rabbitmq` | `amqp://`, `amqps://` | RabbitMQ 3.9 or later, with streams |
//! | `servicebus` | `servicebus://`, `Endpoint=sb://` | an Azure Service Bus namespace, standard or premium |
//! | `hub` | | an axum server; adds the SignalR hub |
//! | `full` | all of these | |
//!
//! A feature that is off pulls in none of its dependencies. [`connect`] answers a URL whose feature is
//! off with [`ErrorKind::Unsupported`].
//!
//! # Where to look
//!
//! - [`connect`] gives a [`Backplane`]: one node, cheap to clone.
//! - [`Backplane::publish`] gives a [`Receipt`], or an [`Error`] that says whether the message may
//!   have been stored all the same.
//! - [`Backplane::subscribe`] gives a [`Subscription`], a stream of [`Event`]s.
//! - A [`Cursor`] is a place in a topic, as text: hand it to any node and continue exactly after it.
//! - [`Options`] lists what can be set, in code or in the URL's query.
//! - [`Backend`] is what a broker has to do; everything else is done once, for all of them.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod connect;
#[cfg(feature = "hub")]
#[cfg_attr(docsrs, doc(cfg(feature = "hub")))]
pub mod hub;

#[doc(inline)]
pub use scaleout_core::*;

pub use self::connect::{connect, connect_lazy, connector};

/// The memory backend: its own options, and nodes around a store of one's own.
#[cfg(feature = "memory")]
#[cfg_attr(docsrs, doc(cfg(feature = "memory")))]
pub use scaleout_memory as memory;

/// The Redis backend and its own options.
#[cfg(feature = "redis")]
#[cfg_attr(docsrs, doc(cfg(feature = "redis")))]
pub use scaleout_redis as redis;

/// The PostgreSQL backend and its own options.
#[cfg(feature = "postgres")]
#[cfg_attr(docsrs, doc(cfg(feature = "postgres")))]
pub use scaleout_postgres as postgres;

/// The Azure Service Bus backend: its own options, and credentials of Entra ID.
#[cfg(feature = "servicebus")]
#[cfg_attr(docsrs, doc(cfg(feature = "servicebus")))]
pub use scaleout_servicebus as servicebus;

/// The README's example compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
