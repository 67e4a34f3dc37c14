//! [`Phase`]: which transport a connection has, and since when it has none.

use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::hub::transport::Transport;

/// Where a connection stands with its transports.
#[derive(Debug)]
pub(super) enum Phase {
    /// Nobody is attached: `since` then. A transport that was attached once is the only one that may
    /// come again.
    Idle {
        since: Instant,
        transport: Option<Transport>,
    },
    Attached {
        transport: Transport,
        /// Tells it that another one takes its place.
        replaced: CancellationToken,
    },
    Disposed,
}

/// A place as the transport of a connection.
#[derive(Debug)]
pub(crate) struct Attached {
    /// Nobody was attached before.
    pub(crate) first: bool,
    /// Cancelled when another one takes the place.
    pub(crate) replaced: CancellationToken,
}

/// Why a place is not free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    Busy,
    ByOtherTransport,
    Disposed,
}

impl Phase {
    pub(super) fn new() -> Self {
        Self::Idle {
            since: Instant::now(),
            transport: None,
        }
    }

    pub(super) fn transport(&self) -> Option<Transport> {
        match *self {
            Self::Idle { transport, .. } => transport,
            Self::Attached { transport, .. } => Some(transport),
            Self::Disposed => None,
        }
    }

    /// Attaches `transport`. If it `replaces` the one that is there, that one is told.
    pub(super) fn attach(
        &mut self,
        transport: Transport,
        replaces: bool,
    ) -> Result<Attached, Taken> {
        let first = match self {
            Self::Idle {
                transport: None, ..
            } => true,
            Self::Idle {
                transport: Some(before),
                ..
            } if *before != transport => {
                return Err(Taken::ByOtherTransport);
            }
            Self::Idle { .. } if replaces => false,
            Self::Idle { .. } | Self::Disposed => return Err(Taken::Disposed),
            Self::Attached {
                transport: before, ..
            } if *before != transport => {
                return Err(Taken::ByOtherTransport);
            }
            Self::Attached { replaced, .. } if replaces => {
                replaced.cancel();
                false
            }
            Self::Attached { .. } => return Err(Taken::Busy),
        };
        let replaced = CancellationToken::new();
        *self = Self::Attached {
            transport,
            replaced: replaced.clone(),
        };
        Ok(Attached { first, replaced })
    }

    /// The transport is gone. If another one has its place already, nothing happens.
    pub(super) fn detach(&mut self, attached: &Attached) {
        if let Self::Attached { transport, .. } = *self
            && !attached.replaced.is_cancelled()
        {
            *self = Self::Idle {
                since: Instant::now(),
                transport: Some(transport),
            };
        }
    }

    /// Whether nobody has been attached for longer than that.
    pub(super) fn is_idle_for(&self, patience: Duration) -> bool {
        matches!(self, Self::Idle { since, .. } if since.elapsed() > patience)
    }
}
