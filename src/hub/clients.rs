//! [`Clients`] and [`Target`]: whom to send to.

use std::{fmt, sync::Arc};

use serde::Serialize;

use super::{
    connection::Connection,
    hub::Shared,
    id::ConnectionId,
    lifetime::Outgoing,
    protocol::{EncodeError, Protocol, Value},
};
use crate::{Error, ErrorKind, Result};

/// The clients of a hub, on all nodes: makes [`Target`]s.
///
/// What is sent to one target arrives in one order at all of its clients: that of the target's
/// topic. Between targets (all, each group, each client) there is no common order.
#[derive(Clone)]
pub struct Clients {
    shared: Arc<Shared>,
}

impl Clients {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Everybody.
    pub fn all(&self) -> Target {
        self.target(To::All { except: Vec::new() })
    }

    /// Everybody except these.
    pub fn all_except(&self, ids: impl IntoIterator<Item = impl Into<ConnectionId>>) -> Target {
        self.target(To::All {
            except: collect(ids),
        })
    }

    /// One connection, on whatever node it is. If there is none of that id, nothing happens.
    pub fn client(&self, id: impl Into<ConnectionId>) -> Target {
        self.target(To::Connections(vec![id.into()]))
    }

    /// Some connections.
    pub fn clients(&self, ids: impl IntoIterator<Item = impl Into<ConnectionId>>) -> Target {
        self.target(To::Connections(collect(ids)))
    }

    /// Everybody in a group. Names are case-sensitive.
    pub fn group(&self, name: impl Into<String>) -> Target {
        self.target(To::Groups {
            names: vec![name.into()],
            except: Vec::new(),
        })
    }

    /// Everybody in a group except these.
    pub fn group_except(
        &self,
        name: impl Into<String>,
        ids: impl IntoIterator<Item = impl Into<ConnectionId>>,
    ) -> Target {
        self.target(To::Groups {
            names: vec![name.into()],
            except: collect(ids),
        })
    }

    /// Everybody in each of these groups; who is in several of them gets it several times.
    pub fn groups(&self, names: impl IntoIterator<Item = impl Into<String>>) -> Target {
        let names = names.into_iter().map(Into::into).collect();
        self.target(To::Groups {
            names,
            except: Vec::new(),
        })
    }

    fn target(&self, to: To) -> Target {
        Target {
            shared: self.shared.clone(),
            to,
        }
    }
}

fn collect(ids: impl IntoIterator<Item = impl Into<ConnectionId>>) -> Vec<ConnectionId> {
    ids.into_iter().map(Into::into).collect()
}

impl fmt::Debug for Clients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Clients")
            .field("hub", &self.shared.name)
            .finish_non_exhaustive()
    }
}

/// Some clients of a hub, to send to.
#[derive(Clone)]
pub struct Target {
    shared: Arc<Shared>,
    to: To,
}

#[derive(Clone, Debug)]
pub(super) enum To {
    All {
        except: Vec<ConnectionId>,
    },
    Groups {
        names: Vec<String>,
        except: Vec<ConnectionId>,
    },
    Connections(Vec<ConnectionId>),
    Caller(Arc<Connection>),
}

impl Target {
    pub(super) fn caller(shared: Arc<Shared>, caller: Arc<Connection>) -> Self {
        Self {
            shared,
            to: To::Caller(caller),
        }
    }

    /// Invokes `method` on each of the clients, without an answer. `arguments` is a tuple.
    ///
    /// Resolves when the backplane has stored the message, so that it reaches every client that is
    /// and stays connected; for a client of this node alone, when the message waits in its
    /// connection's queue and that queue is not full. That there is nobody to send to is not an error.
    ///
    /// # Errors
    ///
    /// What [`Backplane::publish`](crate::Backplane::publish) returns, and
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) if the arguments cannot be serialized or a group's name
    /// is empty or too long. With several targets, the first error; the others were sent.
    ///
    /// # Cancellation
    ///
    /// If the future is dropped, the message may or may not be sent.
    pub async fn send(&self, method: impl AsRef<str>, arguments: impl Arguments) -> Result<()> {
        let method = method.as_ref();
        let outgoing = Outgoing::new(method, |protocol| {
            arguments.encode(Encoder(protocol)).map(|e| e.0)
        });
        let outgoing = outgoing.map_err(|error| {
            Error::new(
                ErrorKind::InvalidInput,
                format!("cannot serialize the arguments of {method:?}"),
            )
            .with_source(error)
        })?;
        self.shared.lifetime.send(&self.to, outgoing).await
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target")
            .field("hub", &self.shared.name)
            .field("to", &self.to)
            .finish_non_exhaustive()
    }
}

/// The arguments of a client's method: a tuple of up to twelve values that serde can write.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the arguments of a client's method",
    note = "pass a tuple of `Serialize` values: `()`, `(a,)`, `(a, b)`, up to twelve"
)]
pub trait Arguments: Send + Sync {
    #[doc(hidden)]
    fn encode(&self, encoder: Encoder) -> Result<Encoded, EncodeError>;
}

/// Writes arguments in one protocol.
#[derive(Clone, Copy, Debug)]
pub struct Encoder(Protocol);

/// The array of all arguments, in one protocol's encoding.
#[derive(Clone, Debug)]
pub struct Encoded(Value);

impl Encoder {
    fn array<T: Serialize>(self, array: &T) -> Result<Encoded, EncodeError> {
        self.0.value(array).map(Encoded)
    }
}

// Serde writes `()` as nothing and a tuple as an array.
impl Arguments for () {
    fn encode(&self, encoder: Encoder) -> Result<Encoded, EncodeError> {
        encoder.array::<[(); 0]>(&[])
    }
}

macro_rules! impl_arguments {
    ($($argument:ident)+) => {
        impl<$($argument: Serialize + Send + Sync,)+> Arguments for ($($argument,)+) {
            fn encode(&self, encoder: Encoder) -> Result<Encoded, EncodeError> {
                encoder.array(self)
            }
        }
    };
}

impl_arguments!(A1);
impl_arguments!(A1 A2);
impl_arguments!(A1 A2 A3);
impl_arguments!(A1 A2 A3 A4);
impl_arguments!(A1 A2 A3 A4 A5);
impl_arguments!(A1 A2 A3 A4 A5 A6);
impl_arguments!(A1 A2 A3 A4 A5 A6 A7);
impl_arguments!(A1 A2 A3 A4 A5 A6 A7 A8);
impl_arguments!(A1 A2 A3 A4 A5 A6 A7 A8 A9);
impl_arguments!(A1 A2 A3 A4 A5 A6 A7 A8 A9 A10);
impl_arguments!(A1 A2 A3 A4 A5 A6 A7 A8 A9 A10 A11);
impl_arguments!(A1 A2 A3 A4 A5 A6 A7 A8 A9 A10 A11 A12);
