//! Connections, and what is known of their life.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_rs::Runtime;
use futures_util::StreamExt;
use lapin::{
    Channel, Connection, ConnectionProperties, ConnectionStatus, Event,
    tcp::OwnedTLSConfig,
    uri::{AMQPAuthority, AMQPQueryString, AMQPScheme, AMQPUri, AMQPUserInfo},
};
use scaleout_core::{Epoch, Error, ErrorKind, Result};
use tokio::{
    runtime::{self, Handle},
    sync::watch,
    time::timeout,
};

use crate::{
    config::{Config, Host},
    error::{is_refusal, lost, of_client},
};

/// What is known of a link's life. Once it is dead it stays so, and nobody is to use the link.
#[derive(Debug)]
pub(crate) struct Pulse {
    alive: AtomicBool,
    /// Why it died.
    death: watch::Sender<Option<Error>>,
    /// Why the broker takes no more messages, while it does not.
    blocked: Mutex<Option<String>>,
}

impl Pulse {
    pub(crate) fn new() -> Self {
        Self {
            alive: AtomicBool::new(true),
            death: watch::Sender::new(None),
            blocked: Mutex::default(),
        }
    }

    pub(crate) fn is_alive(&self) -> bool {
        self.alive.load(Ordering::Acquire)
    }

    pub(crate) fn die(&self, error: Error) {
        if self.alive.swap(false, Ordering::AcqRel) {
            self.death.send_replace(Some(error));
        }
    }

    /// Waits until it dies, and returns why.
    pub(crate) async fn dead(&self) -> Error {
        let mut death = self.death.subscribe();
        match death.wait_for(Option::is_some).await {
            Ok(death) => death.as_ref().map_or_else(lost, Error::duplicate),
            Err(_) => lost(),
        }
    }

    /// # Errors
    ///
    /// [`ErrorKind::Unavailable`] while the broker takes no messages.
    pub(crate) fn check_unblocked(&self) -> Result<()> {
        match &*self.blocked() {
            None => Ok(()),
            Some(reason) => Err(Error::new(
                ErrorKind::Unavailable,
                format!("rabbitmq takes no messages: {reason}"),
            )),
        }
    }

    fn blocked(&self) -> MutexGuard<'_, Option<String>> {
        self.blocked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where lapin's own tasks run. Some of them sleep for seconds before they look whether their
/// connection is still there, and one that has died without a word is not let go for as long. When
/// this is dropped, all of them end at once, and so do their sockets.
pub(crate) struct Engine {
    runtime: Option<runtime::Runtime>,
    handle: Handle,
}

impl Engine {
    pub(crate) fn start() -> Result<Self> {
        let runtime = runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("scaleout-rabbitmq")
            .enable_all()
            .build()
            .map_err(|error| {
                Error::new(ErrorKind::Unavailable, "no thread to be had").with_source(error)
            })?;
        Ok(Self {
            handle: runtime.handle().clone(),
            runtime: Some(runtime),
        })
    }

    pub(crate) fn handle(&self) -> Handle {
        self.handle.clone()
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // The other way to drop one waits, which must not be done in a task.
            runtime.shutdown_background();
        }
    }
}

/// Connects to the first host that takes the connection, beginning with any, so that the nodes of
/// this namespace spread over those of the broker.
pub(crate) async fn dial(config: &Config, engine: &Engine, purpose: &str) -> Result<Connection> {
    let count = config.hosts.len();
    let start = usize::try_from(Epoch::random().get() % count as u128).unwrap_or_default();
    let mut failure = lost();
    for index in 0..count {
        let host = &config.hosts[(start + index) % count];
        failure = match timeout(
            config.request_timeout,
            dial_host(config, engine, host, purpose),
        )
        .await
        {
            Ok(Ok(connection)) => return Ok(connection),
            Ok(Err(error)) => error.context(format_args!("cannot connect to {host}")),
            Err(_) => Error::new(
                ErrorKind::Unavailable,
                format!(
                    "cannot connect to {host} within {:?}",
                    config.request_timeout
                ),
            ),
        };
        if failure.kind() == ErrorKind::Auth {
            break;
        }
    }
    Err(failure)
}

async fn dial_host(
    config: &Config,
    engine: &Engine,
    host: &Host,
    purpose: &str,
) -> Result<Connection> {
    // lapin gives a connection up after two intervals, and RabbitMQ likewise.
    let heartbeat = (config.liveness / 2).max(Duration::from_secs(1)).as_secs();
    let uri = AMQPUri {
        scheme: if config.tls {
            AMQPScheme::AMQPS
        } else {
            AMQPScheme::AMQP
        },
        authority: AMQPAuthority {
            userinfo: AMQPUserInfo {
                username: config.user.clone(),
                password: config.password.expose().to_owned(),
            },
            host: host.name.clone(),
            port: host.port,
        },
        vhost: config.vhost.clone(),
        query: AMQPQueryString {
            heartbeat: Some(u16::try_from(heartbeat).unwrap_or(u16::MAX)),
            connection_timeout: u64::try_from(config.request_timeout.as_millis()).ok(),
            ..AMQPQueryString::default()
        },
    };
    let name = format!("scaleout {} {purpose}", config.namespace);
    // Without recovery: the core has the one policy.
    let properties = ConnectionProperties::default().with_connection_name(name.into());
    let tls = OwnedTLSConfig {
        identity: None,
        cert_chain: config.ca_cert.clone(),
    };
    let runtime = Runtime::tokio_with_handle(engine.handle());
    Connection::connect_uri_with_config(uri, properties, tls, runtime)
        .await
        .map_err(|error| of_client(&error))
}

/// How many channels in a row may be born with the error of an earlier one.
const STILLBORN: usize = 64;

/// Opens a channel.
///
/// When a server closes a channel with an error, lapin (4.12) keeps that error under the channel's
/// number, and the next one of that number, 2,047 channels later, fails with it at birth. No server
/// refuses to open a channel in this way, so it is an old error, and the next number is tried.
pub(crate) async fn open_channel(connection: &Connection) -> lapin::Result<Channel> {
    let mut channel = connection.create_channel().await;
    for _ in 0..STILLBORN {
        match &channel {
            Err(error) if is_refusal(error) => channel = connection.create_channel().await,
            _ => break,
        }
    }
    channel
}

/// Notes down what becomes of a connection, until it ends.
pub(crate) async fn watch(
    events: impl StreamExt<Item = Event>,
    status: &ConnectionStatus,
    pulse: &Pulse,
) {
    let mut events = std::pin::pin!(events);
    while let Some(event) = events.next().await {
        match event {
            Event::ConnectionBlocked(reason) => {
                tracing::warn!(%reason, "rabbitmq takes no more messages");
                *pulse.blocked() = Some(reason);
            }
            Event::ConnectionUnblocked => *pulse.blocked() = None,
            // The end of a channel is told here too, and is a matter for whoever has it.
            Event::Error(error) if is_refusal(&error) && status.connected() => {}
            Event::Error(error) => pulse.die(of_client(&error)),
            _ => {}
        }
    }
    pulse.die(lost());
}
