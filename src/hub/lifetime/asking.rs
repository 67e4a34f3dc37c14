//! Asking a client: the server invokes its method and waits for what it answers.

use std::time::Duration;

use tokio::{select, time::timeout};

use super::{
    Connection, Lifetime, Outcome, Outgoing,
    control::{Reply, Request},
    outgoing::Arguments,
    waiting::Taken,
};
use crate::{
    Result,
    hub::{
        clients::ClientError,
        id::ConnectionId,
        protocol::{Binary, Protocol, Value},
        transport::Kind,
    },
};

/// What the ids of questions begin with, so that they are not taken for a client's own.
const PREFIX: char = 's';

/// What became of a completion that a client sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answered {
    /// It was awaited, or nobody cares.
    Fine,
    /// It answers what somebody else was asked.
    NotAsked,
}

impl Lifetime {
    /// Asks a client of any node.
    pub(crate) async fn ask(
        &self,
        connection: &ConnectionId,
        message: Outgoing,
        patience: Duration,
    ) -> Result<Value, ClientError> {
        let reply = if self.is_mine(connection) {
            let target = message.target().to_owned();
            let arguments = message.arguments().clone();
            self.ask_mine(connection, target, arguments, patience).await
        } else {
            let request = Request::Ask {
                connection: connection.clone(),
                target: message.target().to_owned(),
                arguments: Request::pack(message.arguments()),
                timeout_ms: u64::try_from(patience.as_millis()).unwrap_or(u64::MAX),
            };
            // The other node keeps the time; it gets a little longer to say so.
            let patience = patience.saturating_add(Duration::from_secs(2));
            self.request(connection, request, patience)
                .await
                .map_err(ClientError::Backplane)?
        };
        let id = || connection.clone();
        match reply {
            Reply::Answer(number, Binary(bytes)) => match Protocol::by_number(number) {
                Some(protocol) => Ok(Value::new(protocol, bytes)),
                None => Err(ClientError::Unreadable(format!(
                    "the client speaks protocol {number}, which this node does not know"
                ))),
            },
            Reply::NoResult => Err(ClientError::NoResult),
            Reply::Refused(error) => Err(ClientError::Refused(error)),
            Reply::Disconnected => Err(ClientError::Disconnected(id())),
            Reply::TimedOut => Err(ClientError::TimedOut(id())),
            Reply::Failed(error) => Err(ClientError::Unreadable(error)),
            Reply::Unknown | Reply::Done | Reply::Members(_) => Err(ClientError::Unknown(id())),
        }
    }

    pub(super) async fn ask_mine(
        &self,
        id: &ConnectionId,
        target: String,
        arguments: Arguments,
        patience: Duration,
    ) -> Reply {
        let Some(connection) = self.inner.manager.connection(id) else {
            return Reply::Unknown;
        };
        let message = Outgoing::received(target, arguments, None);
        let mut place = self.inner.questions.wait(id.clone());
        let number = format!("{PREFIX}{}", place.number);
        let Some(protocol) = connection.protocol() else {
            return Reply::Unknown;
        };
        let Some(unit) = message.question(protocol, &number) else {
            return Reply::Failed("the asking node does not speak the client's protocol".into());
        };
        connection.push(unit, Kind::Answer);
        select! {
            answer = timeout(patience, place.answers.recv()) => match answer {
                Ok(Some(Outcome::Value(value))) => {
                    Reply::Answer(protocol.number(), Binary(value.as_bytes().clone()))
                }
                Ok(Some(Outcome::Error(error))) => Reply::Refused(error),
                Ok(Some(Outcome::Nothing)) => Reply::NoResult,
                Ok(None) => Reply::Disconnected,
                Err(_) => Reply::TimedOut,
            },
            () = connection.gone() => Reply::Disconnected,
        }
    }

    /// A client has answered something.
    pub(crate) fn answered(&self, by: &Connection, id: &str, outcome: Outcome) -> Answered {
        let number = id
            .strip_prefix(PREFIX)
            .and_then(|number| number.parse().ok());
        let Some(number) = number else {
            return Answered::Fine;
        };
        match self.inner.questions.answer(number, by.id(), outcome) {
            Taken::NotAsked => Answered::NotAsked,
            Taken::Yes | Taken::Nobody => Answered::Fine,
        }
    }
}
