//! [`Broker`]: a broker that a case owns, and may break.

#[cfg(all(unix, feature = "processes"))]
mod postgres;
#[cfg(all(unix, feature = "processes"))]
mod process;
#[cfg(all(unix, feature = "processes"))]
mod rabbitmq;
#[cfg(all(unix, feature = "processes"))]
mod redis;
#[cfg(all(unix, feature = "processes"))]
mod resp;
#[cfg(all(unix, feature = "processes"))]
mod server;
#[cfg(test)]
#[cfg(all(unix, feature = "processes"))]
mod tests;
#[cfg(all(unix, feature = "processes"))]
mod tls;

use std::{fmt, sync::Arc, time::SystemTime};

use scaleout_core::{Error, ErrorKind, LogName, Result};

#[cfg(all(unix, feature = "processes"))]
pub use self::{
    postgres::Postgres,
    rabbitmq::RabbitMq,
    redis::Redis,
    resp::{Connection, Reply},
    server::{Program, Server},
};
use crate::{BoxFuture, Clock, Target};

/// What a broker that is started for a case must be like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Setup {
    /// It finds its data again after the end of its process.
    pub persistent: bool,
    /// The backend is told to trust what it finds: a log goes on over a restart. Otherwise it may
    /// begin another life.
    pub durable: bool,
    /// It speaks TLS, and nothing else to its clients.
    pub tls: bool,
}

impl Setup {
    /// A broker whose data end with its process.
    pub fn volatile() -> Self {
        Self::default()
    }

    /// A broker whose data survive its process, and a backend with its default options.
    pub fn persistent() -> Self {
        Self {
            persistent: true,
            ..Self::default()
        }
    }

    /// A broker whose data survive its process, and a backend that counts on it.
    pub fn durable() -> Self {
        Self {
            persistent: true,
            durable: true,
            ..Self::default()
        }
    }

    /// A broker that takes no connection without TLS, and whose data end with its process.
    pub fn tls() -> Self {
        Self {
            tls: true,
            ..Self::default()
        }
    }
}

/// Wrong ways to a broker that speaks TLS.
#[derive(Clone, Debug)]
pub struct Tls {
    /// Without TLS.
    pub plain: Arc<dyn Target>,
    /// Trusting another authority than the one that signed the broker's certificate.
    pub other_authority: Arc<dyn Target>,
    /// By a name that the broker's certificate is not for.
    pub other_name: Arc<dyn Target>,
}

/// A running broker that belongs to one case. Dropping it ends it and removes its data.
///
/// What a broker cannot do returns [`ErrorKind::Unsupported`]; a case that depends on it says so in
/// its needs and is not run.
pub trait Broker: fmt::Debug + Send + Sync {
    /// How to reach it. Its address stays the same over restarts.
    fn target(&self) -> Arc<dyn Target>;

    /// Starts it after [`kill`](Self::kill) or [`term`](Self::term), on the data it left. Resolves
    /// once it takes connections.
    fn start(&self) -> BoxFuture<'_, Result<()>> {
        unsupported("be started again")
    }

    /// Ends it at once, as `SIGKILL` does.
    fn kill(&self) -> BoxFuture<'_, Result<()>> {
        unsupported("be killed")
    }

    /// Ends it in order, as `SIGTERM` does. Resolves once it has ended.
    fn term(&self) -> BoxFuture<'_, Result<()>> {
        unsupported("be ended")
    }

    /// Stops it without ending it, as `SIGSTOP` does.
    fn stop(&self) -> BoxFuture<'_, Result<()>> {
        unsupported("be stopped")
    }

    /// Lets it go on, as `SIGCONT` does.
    fn cont(&self) -> BoxFuture<'_, Result<()>> {
        unsupported("go on")
    }

    /// Sets what its clock shows from its next [`start`](Self::start) on.
    fn set_clock(&self, clock: Clock) -> BoxFuture<'_, Result<()>> {
        let _ = clock;
        unsupported("be given another clock")
    }

    /// What its clock shows.
    fn time(&self) -> BoxFuture<'_, Result<SystemTime>> {
        unsupported("tell the time")
    }

    /// Removes all its data. A running broker stays running.
    fn wipe(&self) -> BoxFuture<'_, Result<()>> {
        unsupported("be wiped")
    }

    /// Keeps a copy of its data.
    fn snapshot(&self) -> BoxFuture<'_, Result<()>> {
        unsupported("keep a copy of its data")
    }

    /// Puts the copy back that [`snapshot`](Self::snapshot) took. Only while it is not running.
    fn restore(&self) -> BoxFuture<'_, Result<()>> {
        unsupported("have its data put back")
    }

    /// Lets it run out of memory: from now on it takes no more data.
    fn fill(&self) -> BoxFuture<'_, Result<()>> {
        unsupported("run out of memory")
    }

    /// Gives it memory again.
    fn relieve(&self) -> BoxFuture<'_, Result<()>> {
        unsupported("be given memory")
    }

    /// Makes the password that its URL holds a wrong one, and disconnects everybody.
    fn revoke(&self) -> BoxFuture<'_, Result<()>> {
        unsupported("revoke credentials")
    }

    /// Makes it disconnect every client that is subscribed to anything.
    fn kick(&self) -> BoxFuture<'_, Result<()>> {
        unsupported("throw clients out")
    }

    /// The password that its URL holds, if it asks for one.
    fn password(&self) -> Option<String> {
        None
    }

    /// The wrong ways to it, if it speaks TLS; its [`target`](Self::target) is the right one, which
    /// checks authority and name.
    fn tls(&self) -> Option<Tls> {
        None
    }

    /// The same broker for a user who may use these logs and no others.
    fn restricted<'a>(&'a self, logs: &'a [LogName]) -> BoxFuture<'a, Result<Arc<dyn Target>>> {
        let _ = logs;
        unsupported("restrict a user to some logs")
    }

    /// The same broker for a user who may read but not publish.
    fn read_only(&self) -> BoxFuture<'_, Result<Arc<dyn Target>>> {
        unsupported("refuse to be written to")
    }
}

fn unsupported<'a, T: Send + 'a>(what: &str) -> BoxFuture<'a, Result<T>> {
    let error = Error::new(ErrorKind::Unsupported, format!("this broker cannot {what}"));
    Box::pin(std::future::ready(Err(error)))
}
