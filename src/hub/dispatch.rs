//! One client, from its handshake to its end: the receive loop, and what ends it.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use tokio::{
    select,
    time::{Instant, MissedTickBehavior, interval_at, sleep, timeout, timeout_at},
};

use super::{
    connection::Connection,
    context::{Context, DisconnectReason},
    counting::Counting,
    hub::Shared,
    invocation::{Invoker, Turn},
    lifetime::Answered,
    protocol::{
        HandshakeError, HandshakeRequest, InputBuffer, Message, Protocol, ProtocolError,
        handshake_error, handshake_success,
    },
    transport::{Input, InputEnd, Kind, PipeReader, Transport},
};

const CLOSED_WITH_ERROR: &str = "Connection closed with an error.";

/// How often a client that counts messages is told which of them have arrived.
const ACKNOWLEDGE: Duration = Duration::from_secs(1);

/// Serves one client until its connection is over.
pub(super) async fn serve(shared: Arc<Shared>, connection: Arc<Connection>, input: PipeReader) {
    let mut receiver = Receiver {
        input,
        buffer: InputBuffer::default(),
    };
    match receiver.handshake(&shared, &connection).await {
        Ok((protocol, counts)) => {
            connection.set_protocol(protocol);
            connection.push(handshake_success(), Kind::Control);
            if counts {
                connection.outbound().retain();
            }
            Session::new(shared, connection, protocol, receiver, counts)
                .run()
                .await;
            return;
        }
        Err(Some(error)) => {
            let text = error.text(shared.options.enable_detailed_errors);
            tracing::debug!(connection = %connection.id(), "handshake failed: {text}");
            connection.push(handshake_error(&text), Kind::Control);
        }
        Err(None) => {}
    }
    connection.outbound().finish();
}

/// What the client sends.
struct Receiver {
    input: PipeReader,
    buffer: InputBuffer,
}

impl Receiver {
    /// The protocol, and whether both sides count messages. `Err(None)`: the client has left.
    async fn handshake(
        &mut self,
        shared: &Shared,
        connection: &Connection,
    ) -> Result<(Protocol, bool), Option<HandshakeError>> {
        let limit = shared.options.maximum_receive_message_size;
        let carries_binary = connection.transport().is_none_or(Transport::carries_binary);
        let request = async {
            loop {
                match self.buffer.next_record(limit) {
                    Ok(Some(record)) => {
                        let request = HandshakeRequest::decode(&record)?;
                        let protocol =
                            request.negotiate(&shared.options.protocols, carries_binary)?;
                        let counts = connection.asked_stateful && request.counts_messages();
                        return Ok((protocol, counts));
                    }
                    Ok(None) => {}
                    Err(_) => return Err(Some(HandshakeError::Canceled)),
                }
                match self.input.read().await {
                    Ok(Input::Bytes(bytes)) => self.buffer.push(&bytes),
                    Ok(Input::Attached | Input::Detached) => {}
                    Err(_) => return Err(None),
                }
            }
        };
        select! {
            request = timeout(shared.options.handshake_timeout, request) => {
                request.unwrap_or(Err(Some(HandshakeError::Canceled)))
            }
            () = shared.lifecycle.closing() => Err(Some(HandshakeError::Canceled)),
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
    /// Whether the client pings, while it has no transport to do so.
    pings: bool,
    /// Kept with clients that can come back.
    counting: Option<Arc<Mutex<Counting>>>,
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
        counts: bool,
    ) -> Self {
        Self {
            invoker: Invoker::new(shared.clone(), connection.clone(), protocol),
            shared,
            connection,
            protocol,
            receiver,
            silent_since: None,
            pings: false,
            counting: counts.then(Arc::default),
        }
    }

    async fn run(mut self) {
        let shared = self.shared.clone();
        let connection = self.connection.clone();
        let _counted = Counted::new();
        tracing::debug!(connection = %connection.id(), hub = shared.name, "connected");

        let keep_alive = keep_alive(&shared, &connection, self.protocol);
        let acknowledge = acknowledge(self.counting.clone(), &connection, self.protocol);
        let end = select! {
            end = self.live() => end,
            never = keep_alive => match never {},
            never = acknowledge => match never {},
        };
        if end.reason == DisconnectReason::ServerClosing {
            // The answers to what is running still reach the client.
            let _ = timeout_at(shared.lifecycle.patience(), self.invoker.calls_done()).await;
        }
        shared.lifetime.disconnect(&connection);
        if let Some(close) = end.close {
            let message = self
                .protocol
                .close(close.error.as_deref(), close.allow_reconnect);
            connection.push(message, Kind::Control);
        }
        connection.outbound().finish();
        connection.set_gone();
        self.invoker.idle().await;

        tracing::debug!(connection = %connection.id(), hub = shared.name, reason = %end.reason, "disconnected");
        if let Some(on_disconnected) = shared.on_disconnected.clone() {
            let context = self.context(Turn::none()).with_reason(end.reason);
            if let Err(failure) = self.invoker.call(on_disconnected, context).await {
                tracing::error!(connection = %connection.id(), hub = shared.name, %failure, "on_disconnected failed");
            }
        }
    }

    fn context(&self, turn: Turn) -> Context {
        Context::new(self.shared.lifetime.clone(), self.connection.clone(), turn)
    }

    /// From the first to the last message.
    async fn live(&mut self) -> End {
        let (shared, connection) = (self.shared.clone(), self.connection.clone());
        if let Err(error) = shared.lifetime.connect(&connection).await {
            tracing::error!(connection = %connection.id(), %error, "a client could not be connected");
            return self.failed(&error.to_string(), DisconnectReason::Aborted);
        }
        if let Some(on_connected) = self.shared.on_connected.clone() {
            let context = self.context(Turn::connecting());
            if let Err(failure) = self.invoker.call(on_connected, context).await {
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
        let expiry = expiry(&shared, &connection);
        select! {
            reason = connection.ending() => End {
                close: (reason == DisconnectReason::Aborted).then_some(Close { error: None, allow_reconnect: false }),
                reason,
            },
            () = shared.lifecycle.closing() => End {
                close: Some(Close { error: None, allow_reconnect: true }),
                reason: DisconnectReason::ServerClosing,
            },
            () = expiry => End {
                close: Some(Close { error: None, allow_reconnect: true }),
                reason: DisconnectReason::Expired,
            },
            end = self.receive() => end,
        }
    }

    async fn receive(&mut self) -> End {
        loop {
            let limit = self.shared.options.maximum_receive_message_size;
            match self.protocol.decode(&mut self.receiver.buffer, limit) {
                Ok(Some(message)) => {
                    if self.is_duplicate(&message) {
                        continue;
                    }
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
                Ok(Ok(Input::Bytes(bytes))) => self.receiver.buffer.push(&bytes),
                // Nobody can be heard who has no transport.
                Ok(Ok(Input::Detached)) => self.pings |= self.silent_since.take().is_some(),
                Ok(Ok(Input::Attached)) => self.attached(),
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
            Message::Close { error, .. } => {
                return Some(End {
                    close: Some(Close {
                        error: None,
                        allow_reconnect: false,
                    }),
                    reason: DisconnectReason::Closed { error },
                });
            }
            Message::StreamItem { id, item } => self.invoker.item(&id, item).await,
            Message::Completion { id, outcome } => {
                let outcome = self.invoker.end(&id, outcome).await?;
                let lifetime = &self.shared.lifetime;
                if lifetime.answered(&self.connection, &id, outcome) == Answered::NotAsked {
                    return Some(self.broken(ProtocolError(format!(
                        "The client has answered invocation '{id}', which was not its own."
                    ))));
                }
            }
            Message::CancelInvocation { id } => self.invoker.cancel(&id),
            // Without counting, to clients that is no error.
            Message::Ack { sequence_id } => self.connection.outbound().acknowledge(sequence_id),
            Message::Sequence { sequence_id } => {
                let counting = self.counting.as_deref().map(counting);
                if let Some(Err(error)) = counting.map(|mut it| it.announced(sequence_id)) {
                    return Some(self.broken(error));
                }
            }
        }
        None
    }

    /// Whether the message is one that was handled before the client came back.
    fn is_duplicate(&self, message: &Message) -> bool {
        message.is_counted()
            && self
                .counting
                .as_deref()
                .is_some_and(|it| !counting(it).is_new())
    }

    /// The client has come back with another transport.
    fn attached(&mut self) {
        self.receiver.buffer.clear();
        if self.pings {
            self.silent_since = Some(Instant::now());
        }
        if let Some(it) = &self.counting {
            counting(it).attached();
        }
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
    if connection.transport().is_some_and(Transport::keeps_alive) {
        return std::future::pending().await;
    }
    let period = shared.options.keep_alive_interval;
    let mut tick = interval_at(Instant::now() + period, period);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        if connection.outbound().is_empty() {
            connection.push(protocol.ping(), Kind::Control);
        }
    }
}

/// Tells a client that counts messages which of them have arrived.
async fn acknowledge(
    counted: Option<Arc<Mutex<Counting>>>,
    connection: &Connection,
    protocol: Protocol,
) -> Infallible {
    let Some(counted) = counted else {
        return std::future::pending().await;
    };
    loop {
        sleep(ACKNOWLEDGE).await;
        if let Some(latest) = counting(&counted).acknowledge() {
            connection.push(protocol.ack(latest), Kind::Control);
        }
    }
}

/// Resolves when the user's authentication expires, if that is to end the connection.
async fn expiry(shared: &Shared, connection: &Connection) {
    match connection.user().expires() {
        Some(expires) if shared.options.close_on_authentication_expiration => {
            let left = expires.duration_since(SystemTime::now());
            sleep(left.unwrap_or_default()).await;
        }
        _ => std::future::pending().await,
    }
}

fn counting(counting: &Mutex<Counting>) -> MutexGuard<'_, Counting> {
    // Nothing that runs under the lock leaves it half changed.
    counting.lock().unwrap_or_else(PoisonError::into_inner)
}
