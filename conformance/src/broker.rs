//! [`Broker`]: a broker that a case owns, and may break.

use std::{fmt, sync::Arc};

use scaleout_core::{Error, ErrorKind, Result};

use crate::{BoxFuture, Target};

/// A running broker that belongs to one case. Dropping it ends it and removes its data.
///
/// What a broker cannot do returns [`ErrorKind::Unsupported`]; a case that depends on it says so in
/// its needs and is not run.
pub trait Broker: fmt::Debug + Send + Sync {
    /// How to reach it. Its address stays the same over restarts.
    fn target(&self) -> Arc<dyn Target>;

    /// Starts it after [`kill`](Self::kill) or [`term`](Self::term), on the data it left. Resolves
    /// once it takes connections.
    fn start(&self) -> BoxFuture<'_, Result<()>>;

    /// Ends it at once, as `SIGKILL` does.
    fn kill(&self) -> BoxFuture<'_, Result<()>>;

    /// Ends it in order, as `SIGTERM` does. Resolves once it has ended.
    fn term(&self) -> BoxFuture<'_, Result<()>>;

    /// Stops it without ending it, as `SIGSTOP` does.
    fn stop(&self) -> BoxFuture<'_, Result<()>> {
        unsupported("stop")
    }

    /// Lets it go on, as `SIGCONT` does.
    fn cont(&self) -> BoxFuture<'_, Result<()>> {
        unsupported("continue")
    }

    /// Removes all its data. A running broker stays running.
    fn wipe(&self) -> BoxFuture<'_, Result<()>> {
        unsupported("wipe")
    }

    /// Keeps a copy of its data.
    fn snapshot(&self) -> BoxFuture<'_, Result<()>> {
        unsupported("snapshot")
    }

    /// Puts the copy back that [`snapshot`](Self::snapshot) took. Only while it is not running.
    fn restore(&self) -> BoxFuture<'_, Result<()>> {
        unsupported("restore")
    }

    /// The password that its URL holds, if it asks for one.
    fn password(&self) -> Option<String> {
        None
    }
}

fn unsupported<'a>(what: &str) -> BoxFuture<'a, Result<()>> {
    let error = Error::new(ErrorKind::Unsupported, format!("this broker cannot {what}"));
    Box::pin(std::future::ready(Err(error)))
}
