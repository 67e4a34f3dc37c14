//! One client, from its handshake to its end: the receive loop, and what ends it.

use std::{convert::Infallible, sync::Arc};

use tokio::{
    select,
    time::{Instant, MissedTickBehavior, interval_at, timeout, timeout_at},
};

use super::{
    connection::Connection,
    context::{Context, DisconnectReason},
    hub::Shared,
    invocation::Invoker,
    protocol::{
        HandshakeError, HandshakeRequest, InputBuffer, Message, Protocol, ProtocolError,
        handshake_error, handshake_success,
    },
    transport::{InputEnd, PipeReader},
};

const CLOSED_WITH_ERROR: &str = "Connection closed with an error.";

/// Serves one client until its connection is over.
pub(super) async fn serve(
    shared: Arc<Shared>,
    connection: Arc<Connection>,
    token: Arc<str>,
    input: PipeReader,
) {
    let mut receiver = Receiver {
        input,
        buffer: InputBuffer::default(),
    };
    match receiver.handshake(&shared, &connection).await {
        Ok(protocol) => {
            connection.set_protocol(protocol);
            connection.push(handshake_success());
            Session::new(shared.clone(), connection, protocol, receiver)
                .run(&token)
                .await;
            return;
        }
        Err(Some(error)) => {
            let text = error.text(shared.options.enable_detailed_errors);
            tracing::debug!(connection = %connection.id(), "handshake failed: {text}");
            connection.push(handshake_error(&text));
        }
        Err(None) => {}
    }
    shared.connections.remove(&token);
    connection.outbound().finish();
}

/// What the client sends.
struct Receiver {
    input: PipeReader,
    buffer: InputBuffer,
}

impl Receiver {
    /// `Err(None)`: the client has left.
    async fn handshake(
        &mut self,
        shared: &Shared,
        connection: &Connection,
    ) -> Result<Protocol, Option<HandshakeError>> {
        let limit = shared.options.maximum_receive_message_size;
        let request = async {
            loop {
                match self.buffer.next_record(limit) {
                    Ok(Some(record)) => return Ok(HandshakeRequest::decode(&record)?.negotiate()?),
                    Ok(None) => {}
                    Err(_) => return Err(Some(HandshakeError::Canceled)),
                }
                match self.input.read().await {
                    Ok(bytes) => self.buffer.push(&bytes),
                    Err(_) => return Err(None),
                }
            }
        };
        select! {
            request = timeout(shared.options.handshake_timeout, request) => {
                request.unwrap_or(Err(Some(HandshakeError::Canceled)))
            }
            () = shared.closing() => Err(Some(HandshakeError::Canceled)),
            _ = connection.ending() => Err(None),
        }
    }
}

/// A client that has shaken hands.
struct Session {
    shared: Arc<Shared>,
    connection: Arc<Connection>,
    protocol: Protocol,
    receiver: Receiver,
    invoker: Invoker,
    /// Since when the client is silent, once it has shown that it pings.
    silent_since: Option<Instant>,
}

/// Counts a connection for as long as its task lives.
struct Counted;

impl Counted {
    fn new() -> Self {
        metrics::gauge!("scaleout_hub_connections").increment(1);
        Self
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        metrics::gauge!("scaleout_hub_connections").decrement(1);
    }
}

/// Why and how a session ends.
struct End {
    /// The last message to the client; `None` if it is not there to read it.
    close: Option<Close>,
    reason: DisconnectReason,
}

struct Close {
    error: Option<String>,
    allow_reconnect: bool,
}

impl Session {
    fn new(
        shared: Arc<Shared>,
        connection: Arc<Connection>,
        protocol: Protocol,
        receiver: Receiver,
    ) -> Self {
        Self {
            invoker: Invoker::new(shared.clone(), connection.clone(), protocol),
            shared,
            connection,
            protocol,
            receiver,
            silent_since: None,
        }
    }

    async fn run(mut self, token: &str) {
        let shared = self.shared.clone();
        let connection = self.connection.clone();
        let _counted = Counted::new();
        shared.lifetime.connect(&connection);
        tracing::debug!(connection = %connection.id(), hub = shared.name, "connected");

        let keep_alive = keep_alive(&shared, &connection, self.protocol);
        let end = select! {
            end = self.live() => end,
            never = keep_alive => match never {},
        };
        if end.reason == DisconnectReason::ServerClosing {
            // The answers to what is running still reach the client.
            let _ = timeout_at(shared.patience(), self.invoker.idle()).await;
        }
        shared.lifetime.disconnect(&connection);
        if let Some(close) = end.close {
            connection.push(
                self.protocol
                    .close(close.error.as_deref(), close.allow_reconnect),
            );
        }
        connection.outbound().finish();
        connection.set_gone();
        shared.connections.remove(token);
        self.invoker.idle().await;

        tracing::debug!(connection = %connection.id(), hub = shared.name, reason = %end.reason, "disconnected");
        if let Some(on_disconnected) = shared.on_disconnected.clone() {
            let context = Context::new(shared.clone(), connection.clone()).with_reason(end.reason);
            if let Err(failure) = self
                .invoker
                .call(on_disconnected, context, Vec::new())
                .await
            {
                tracing::error!(connection = %connection.id(), hub = shared.name, %failure, "on_disconnected failed");
            }
        }
    }

    /// From the first to the last message.
    async fn live(&mut self) -> End {
        if let Some(on_connected) = self.shared.on_connected.clone() {
            let context = Context::new(self.shared.clone(), self.connection.clone());
            if let Err(failure) = self.invoker.call(on_connected, context, Vec::new()).await {
                tracing::warn!(connection = %self.connection.id(), %failure, "on_connected failed");
                return End {
                    close: Some(Close {
                        error: Some(failure.describe(
                            CLOSED_WITH_ERROR,
                            self.shared.options.enable_detailed_errors,
                        )),
                        allow_reconnect: false,
                    }),
                    reason: DisconnectReason::Aborted,
                };
            }
        }
        let (shared, connection) = (self.shared.clone(), self.connection.clone());
        select! {
            reason = connection.ending() => End {
                close: (reason == DisconnectReason::Aborted).then_some(Close { error: None, allow_reconnect: false }),
                reason,
            },
            () = shared.closing() => End {
                close: Some(Close { error: None, allow_reconnect: true }),
                reason: DisconnectReason::ServerClosing,
            },
            end = self.receive() => end,
        }
    }

    async fn receive(&mut self) -> End {
        loop {
            let limit = self.shared.options.maximum_receive_message_size;
            match self.protocol.decode(&mut self.receiver.buffer, limit) {
                Ok(Some(message)) => {
                    if let Some(end) = self.dispatch(message).await {
                        return end;
                    }
                    // Time that the client spent waiting for us is not silence.
                    self.silent_since = self.silent_since.map(|_| Instant::now());
                    continue;
                }
                Ok(None) => {}
                Err(error) => return self.broken(error),
            }
            let read = self.receiver.input.read();
            let read = match self.silent_since {
                Some(since) => {
                    timeout_at(since + self.shared.options.client_timeout_interval, read).await
                }
                None => Ok(read.await),
            };
            match read {
                Ok(Ok(bytes)) => self.receiver.buffer.push(&bytes),
                Ok(Err(InputEnd::Closed)) if !self.receiver.buffer.is_empty() => {
                    return self.broken(ProtocolError(
                        "Connection terminated while reading a message.".into(),
                    ));
                }
                Ok(Err(InputEnd::Closed)) => {
                    return End {
                        close: None,
                        reason: DisconnectReason::Closed { error: None },
                    };
                }
                Ok(Err(InputEnd::Malformed)) => {
                    let reason =
                        DisconnectReason::Protocol("The transport received malformed data.".into());
                    return End {
                        close: None,
                        reason,
                    };
                }
                Ok(Err(InputEnd::Lost)) => {
                    return End {
                        close: None,
                        reason: DisconnectReason::Lost,
                    };
                }
                Err(_) => {
                    return self.failed(
                        "OperationCanceledException: Client hasn't sent a message/ping within the configured ClientTimeoutInterval.",
                        DisconnectReason::TimedOut,
                    );
                }
            }
        }
    }

    /// Handles one message; `Some` if it was the last one.
    async fn dispatch(&mut self, message: Message) -> Option<End> {
        match message {
            Message::Invocation(invocation) => self.invoker.start(invocation).await,
            Message::Ping => self.silent_since = Some(Instant::now()),
            Message::Close { error } => {
                return Some(End {
                    close: Some(Close {
                        error: None,
                        allow_reconnect: false,
                    }),
                    reason: DisconnectReason::Closed { error },
                });
            }
            // There are no streams and no questions of ours yet that these could belong to, and
            // nothing is counted that could be acknowledged. To clients that is no error.
            Message::StreamItem { .. }
            | Message::Completion { .. }
            | Message::CancelInvocation { .. }
            | Message::Ack { .. }
            | Message::Sequence { .. } => {}
        }
        None
    }

    fn broken(&self, error: ProtocolError) -> End {
        let detail = format!("InvalidDataException: {error}");
        self.failed(&detail, DisconnectReason::Protocol(error.0))
    }

    /// The end that the server makes because of the client. It may come back.
    fn failed(&self, detail: &str, reason: DisconnectReason) -> End {
        let error = if self.shared.options.enable_detailed_errors {
            format!("{CLOSED_WITH_ERROR} {detail}")
        } else {
            CLOSED_WITH_ERROR.to_owned()
        };
        End {
            close: Some(Close {
                error: Some(error),
                allow_reconnect: true,
            }),
            reason,
        }
    }
}

/// Pings the client for as long as the session lives, unless something is being written anyway.
async fn keep_alive(shared: &Shared, connection: &Connection, protocol: Protocol) -> Infallible {
    let period = shared.options.keep_alive_interval;
    let mut tick = interval_at(Instant::now() + period, period);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        if connection.outbound().is_empty() {
            connection.push(protocol.ping());
        }
    }
}
