//! What the client says, in the library's terms.

use fe2o3_amqp::{
    connection::{ConnectionStopReason, OpenError},
    link::{
        DetachError, LinkStateError, ReceiverAttachError, RecvError, SendError, SenderAttachError,
        SessionStopReason,
    },
    session::BeginError,
};
use fe2o3_amqp_types::definitions;
use scaleout_core::{Error, ErrorKind};

use crate::error::{is_missing, lost, of_condition};

/// Why a link could not be attached.
#[derive(Debug)]
pub(super) enum Refused {
    /// There is no such entity.
    Missing,
    Other(Error),
}

impl Refused {
    pub(super) fn duplicate(&self) -> Self {
        match self {
            Self::Missing => Self::Missing,
            Self::Other(error) => Self::Other(error.duplicate()),
        }
    }

    /// The error, where the entity cannot be missing.
    pub(super) fn into_error(self, entity: &str) -> Error {
        match self {
            Self::Missing => Error::new(
                ErrorKind::Broker,
                format!("servicebus: there is no {entity}"),
            ),
            Self::Other(error) => error,
        }
    }
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self::Other(error)
    }
}

pub(super) fn of_peer(error: &definitions::Error) -> Error {
    let description = error.description.as_deref().unwrap_or_default();
    of_condition(&condition(error), description)
}

fn condition(error: &definitions::Error) -> String {
    use definitions::ErrorCondition as Condition;
    match error.condition.clone() {
        Condition::AmqpError(error) => symbol_of(&error),
        Condition::ConnectionError(error) => symbol_of(&error),
        Condition::SessionError(error) => symbol_of(&error),
        Condition::LinkError(error) => symbol_of(&error),
        Condition::Custom(symbol) => symbol.0,
    }
}

fn symbol_of<E>(error: &E) -> String
where
    for<'a> serde_amqp::primitives::Symbol: From<&'a E>,
{
    serde_amqp::primitives::Symbol::from(error).0
}

fn of_attach(error: &definitions::Error) -> Refused {
    match is_missing(&condition(error)) {
        true => Refused::Missing,
        false => Refused::Other(of_peer(error)),
    }
}

pub(super) fn of_sender_attach(error: &SenderAttachError) -> Refused {
    match error {
        SenderAttachError::RemoteClosedWithError(error) => of_attach(error),
        SenderAttachError::SessionStopped(reason) => Refused::Other(of_session_stop(reason)),
        other => Refused::Other(odd(other)),
    }
}

pub(super) fn of_receiver_attach(error: &ReceiverAttachError) -> Refused {
    match error {
        ReceiverAttachError::RemoteClosedWithError(error) => of_attach(error),
        ReceiverAttachError::SessionStopped(reason) => Refused::Other(of_session_stop(reason)),
        other => Refused::Other(odd(other)),
    }
}

fn of_session_stop(reason: &SessionStopReason) -> Error {
    match reason {
        SessionStopReason::RemoteEndedWithError(error)
        | SessionStopReason::ConnectionStopped(ConnectionStopReason::RemoteClosedWithError(
            error,
        )) => match of_peer(error) {
            // The link is to be opened anew, whatever the reason was.
            error if error.kind() == ErrorKind::Auth => error,
            error => lost().with_source(error),
        },
        _ => lost(),
    }
}

fn of_link(error: &LinkStateError) -> Error {
    match error {
        LinkStateError::RemoteDetachedWithError(error)
        | LinkStateError::RemoteClosedWithError(error) => of_peer(error),
        LinkStateError::SessionStopped(reason) => of_session_stop(reason),
        other => odd(other),
    }
}

pub(super) fn of_detach(error: &DetachError) -> Error {
    match error {
        DetachError::RemoteDetachedWithError(error) | DetachError::RemoteClosedWithError(error) => {
            of_peer(error)
        }
        DetachError::SessionStopped(reason) => of_session_stop(reason),
        other => odd(other),
    }
}

/// Why a send failed. Whether it was stored is for the caller to know.
pub(super) fn of_send(error: &SendError) -> Error {
    match error {
        SendError::LinkStateError(error) => of_link(error),
        SendError::Detached(error) => of_detach(error),
        SendError::MessageSizeExceeded(error) => Error::new(
            ErrorKind::TooLarge,
            format!(
                "servicebus: a message of {} bytes is too large: the topic takes {}; the URL's tier and max_frame_bytes say more than that",
                error.size, error.max_size
            ),
        ),
        other => odd(other),
    }
}

pub(super) fn of_recv(error: &RecvError) -> Error {
    match error {
        RecvError::LinkStateError(error) => of_link(error),
        other => odd(other),
    }
}

pub(super) fn of_open(error: &OpenError) -> Error {
    match error {
        OpenError::RemoteClosedWithError(error) => of_peer(error),
        OpenError::SaslError { code, .. } => Error::new(
            ErrorKind::Auth,
            format!(
                "servicebus: anonymous SASL, as needed before a token is shown, was refused: {code:?}"
            ),
        ),
        OpenError::ProtocolHeaderMismatch(_) => Error::new(
            ErrorKind::Incompatible,
            "servicebus: what answers does not speak AMQP 1.0",
        ),
        other => Error::new(
            ErrorKind::Unavailable,
            format!("cannot connect to servicebus: {other}"),
        ),
    }
}

pub(super) fn of_begin(error: &BeginError) -> Error {
    match error {
        BeginError::RemoteEndedWithError(error) => of_peer(error),
        _ => lost(),
    }
}

/// What should not happen while link and session are there.
fn odd(error: &impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Broker, format!("servicebus: {error}"))
}
