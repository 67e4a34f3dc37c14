//! [`Clients`], [`Target`] and [`Client`]: whom to send to, and whom to ask.

use std::{fmt, sync::Arc};

use serde::{Serialize, de::DeserializeOwned};

use super::{
    connection::Connection,
    id::ConnectionId,
    invocation::Turn,
    lifetime::{Lifetime, Outgoing},
    protocol::{EncodeError, Protocol, Value},
};
use crate::{Cursor, Error, ErrorKind, Result};

/// The clients of a hub, on all nodes: makes [`Target`]s.
///
/// What is sent to one target arrives in one order at all of its clients: that of the target's
/// topic. Between targets (all, each group, each user, each client) there is no common order, except
/// that a method that awaits each of its sends has them stored in that order.
#[derive(Clone)]
pub struct Clients {
    lifetime: Lifetime,
    turn: Turn,
}

impl Clients {
    pub(super) fn new(lifetime: Lifetime, turn: Turn) -> Self {
        Self { lifetime, turn }
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

    /// One connection, on whatever node it is. If there is none of that id, nothing is sent.
    pub fn client(&self, id: impl Into<ConnectionId>) -> Client {
        let id = id.into();
        Client {
            target: self.target(To::Connections(vec![id.clone()])),
            id,
            turn: self.turn.clone(),
        }
    }

    /// Some connections.
    pub fn clients(&self, ids: impl IntoIterator<Item = impl Into<ConnectionId>>) -> Target {
        self.target(To::Connections(collect(ids)))
    }

    /// Everybody in a group. Names are case-sensitive.
    pub fn group(&self, name: impl Into<String>) -> Target {
        self.group_except(name, [""; 0])
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

    /// All connections of a user.
    pub fn user(&self, id: impl Into<String>) -> Target {
        self.target(To::Users(vec![id.into()]))
    }

    /// All connections of each of these users.
    pub fn users(&self, ids: impl IntoIterator<Item = impl Into<String>>) -> Target {
        self.target(To::Users(ids.into_iter().map(Into::into).collect()))
    }

    pub(super) fn caller(&self, caller: Arc<Connection>) -> Client {
        Client {
            id: caller.id().clone(),
            target: self.target(To::Caller(caller)),
            turn: self.turn.clone(),
        }
    }

    fn target(&self, to: To) -> Target {
        Target {
            lifetime: self.lifetime.clone(),
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
            .field("hub", &self.lifetime.name())
            .finish_non_exhaustive()
    }
}

/// Some clients of a hub, to send to.
#[derive(Clone)]
pub struct Target {
    lifetime: Lifetime,
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
    Users(Vec<String>),
    Connections(Vec<ConnectionId>),
    Caller(Arc<Connection>),
}

impl Target {
    /// Invokes `method` on each of the clients, without an answer. `arguments` is a tuple.
    ///
    /// Resolves when the backplane has stored the message, so that it reaches every client that is
    /// and stays connected; for a client of this node alone, when the message waits in its
    /// connection's queue and that queue is not full. That there is nobody to send to is not an error.
    ///
    /// # Errors
    ///
    /// What [`Backplane::publish`](crate::Backplane::publish) returns, and
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) if the arguments cannot be serialized or the name of a
    /// group or user is empty or too long. With several targets, the first error; the others were sent.
    ///
    /// # Cancellation
    ///
    /// If the future is dropped, the message may or may not be sent.
    pub async fn send(&self, method: impl AsRef<str>, arguments: impl Arguments) -> Result<Sent> {
        let message = self.encode(method.as_ref(), &arguments)?;
        self.lifetime.send(&self.to, message).await
    }

    fn encode(&self, method: &str, arguments: &impl Arguments) -> Result<Outgoing> {
        let protocols = &self.lifetime.options().protocols;
        Outgoing::new(method, protocols, |protocol| encode(arguments, protocol)).map_err(|error| {
            Error::new(
                ErrorKind::InvalidInput,
                format!("cannot serialize the arguments of {method:?}"),
            )
            .with_source(error)
        })
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target")
            .field("hub", &self.lifetime.name())
            .field("to", &self.to)
            .finish_non_exhaustive()
    }
}

/// One client of a hub: to send to, or to ask.
#[derive(Clone, Debug)]
pub struct Client {
    target: Target,
    id: ConnectionId,
    turn: Turn,
}

impl Client {
    /// The client's connection.
    pub fn connection_id(&self) -> &ConnectionId {
        &self.id
    }

    /// Invokes `method` on the client, without an answer: [`Target::send`].
    ///
    /// # Errors
    ///
    /// As [`Target::send`].
    ///
    /// # Cancellation
    ///
    /// As [`Target::send`].
    pub async fn send(&self, method: impl AsRef<str>, arguments: impl Arguments) -> Result<Sent> {
        self.target.send(method, arguments).await
    }

    /// Invokes `method` on the client, on whatever node it is, and waits for its result: the client's
    /// handler returns it.
    ///
    /// While a hub method waits here, the caller's next invocation may begin: the answer could not be
    /// read otherwise. In `on_connected` nobody can be asked yet.
    ///
    /// # Errors
    ///
    /// See [`ClientError`]. A connection that does not exist is told at once, one that ends meanwhile
    /// as soon as it does; if its node dies, after
    /// [`node_timeout`](super::HubOptions::node_timeout) at the latest.
    ///
    /// # Cancellation
    ///
    /// If the future is dropped, the client may still answer, and nobody hears it. It is not told: the
    /// protocol has no message for that.
    pub async fn invoke<R: DeserializeOwned>(
        &self,
        method: impl AsRef<str>,
        arguments: impl Arguments,
    ) -> Result<R, ClientError> {
        self.turn.pass_on()?;
        let message = self.target.encode(method.as_ref(), &arguments);
        let message = message.map_err(ClientError::Backplane)?;
        let lifetime = &self.target.lifetime;
        let patience = lifetime.options().client_result_timeout;
        let value = lifetime.ask(&self.id, message, patience).await?;
        value.bind().map_err(|error| {
            let wanted = super::error::short_name(std::any::type_name::<R>());
            ClientError::Unreadable(format!(
                "Error trying to deserialize result to {wanted}. {error}"
            ))
        })
    }
}

/// Why a client that was asked gave no result. A hub method that passes it on by `?` tells its own
/// caller so.
#[derive(Debug)]
#[non_exhaustive]
pub enum ClientError {
    /// There is no connection of that id.
    Unknown(ConnectionId),
    /// The connection, or its node, ended before the client answered.
    Disconnected(ConnectionId),
    /// The client did not answer within
    /// [`client_result_timeout`](super::HubOptions::client_result_timeout).
    TimedOut(ConnectionId),
    /// The client answered with an error: its text.
    Refused(String),
    /// The client answered without a result.
    NoResult,
    /// The client's result is not of the type that was asked for.
    Unreadable(String),
    /// Clients cannot be asked in `on_connected`: nothing that they say is read before it is over.
    NotYet,
    /// The question could not be sent.
    Backplane(Error),
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(id) => write!(f, "Connection '{id}' does not exist."),
            Self::Disconnected(id) => write!(f, "Connection '{id}' disconnected."),
            Self::TimedOut(id) => write!(f, "Connection '{id}' did not answer in time."),
            Self::Refused(error) | Self::Unreadable(error) => f.write_str(error),
            Self::NoResult => f.write_str("Client didn't provide a result."),
            Self::NotYet => f.write_str("Client results inside OnConnected are not allowed."),
            Self::Backplane(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ClientError {}

/// How far a message got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    local: bool,
    cursors: Vec<Cursor>,
}

impl Sent {
    pub(super) fn everywhere(cursors: impl IntoIterator<Item = Cursor>) -> Self {
        Self {
            local: false,
            cursors: cursors.into_iter().collect(),
        }
    }

    pub(super) fn here() -> Self {
        Self {
            local: true,
            cursors: Vec::new(),
        }
    }

    /// Whether, because the broker could not be reached, only clients of this node got it: see
    /// [`WhenBrokerDown::DeliverLocally`](super::WhenBrokerDown::DeliverLocally).
    pub fn is_local(&self) -> bool {
        self.local
    }

    /// Where the message stands on the topics that it was published on: one for each group or user,
    /// and for each other node of single clients. None for clients of this node, which it reached the
    /// short way.
    pub fn cursors(&self) -> &[Cursor] {
        &self.cursors
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

/// The array of these arguments.
pub(super) fn encode(arguments: &impl Arguments, protocol: Protocol) -> Result<Value, EncodeError> {
    arguments.encode(Encoder(protocol)).map(|encoded| encoded.0)
}

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
