//! [`Line`]: what lies between a test client and its hub, in place of a transport.

use std::{
    collections::{HashMap, VecDeque},
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    select,
    sync::{Notify, mpsc, oneshot},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use super::{
    error::{Closed, TestError},
    received::Received,
};
use crate::hub::{
    connection::Connection,
    http::Endpoint,
    protocol::{InputBuffer, Invocation, Message, Outcome, Protocol, Value},
    transport::{InputEnd, Next, PipeReader},
};

/// A test client's side of its connection. Two tasks keep it going for as long as that lasts: one takes
/// what the hub sends, the other hands on what the client says, in order.
pub(super) struct Line {
    endpoint: Arc<Endpoint>,
    pub(super) connection: Arc<Connection>,
    pub(super) protocol: Protocol,
    patience: Duration,
    next_id: AtomicU64,
    state: Mutex<State>,
    changed: Notify,
    outgoing: mpsc::UnboundedSender<Outgoing>,
    /// Cancelled when the hub has done all that it does for the connection.
    served: CancellationToken,
}

/// What the client says, and who wants to know that the hub has taken it.
pub(super) type Outgoing = (Bytes, Option<oneshot::Sender<()>>);

#[derive(Default)]
struct State {
    /// Calls that the hub has not ended.
    calls: HashMap<String, mpsc::UnboundedSender<Answer>>,
    /// What nobody has asked for yet.
    received: VecDeque<Invocation>,
    /// By method, in lower case.
    handlers: HashMap<String, Arc<Handler>>,
    /// What the hub's last message said.
    goodbye: Closed,
    over: bool,
}

type Handler = dyn Fn(Received) + Send + Sync;

/// What the hub says to a call.
#[derive(Debug)]
pub(super) enum Answer {
    Item(Value),
    End(Outcome),
}

impl Line {
    pub(super) fn new(
        endpoint: Arc<Endpoint>,
        connection: Arc<Connection>,
        protocol: Protocol,
        patience: Duration,
    ) -> (Arc<Self>, mpsc::UnboundedReceiver<Outgoing>) {
        let (outgoing, written) = mpsc::unbounded_channel();
        let line = Self {
            endpoint,
            connection,
            protocol,
            patience,
            next_id: AtomicU64::new(1),
            state: Mutex::default(),
            changed: Notify::new(),
            outgoing,
            served: CancellationToken::new(),
        };
        (Arc::new(line), written)
    }

    /// Has the hub serve the connection, and hands on what the client says.
    pub(super) fn start(
        self: &Arc<Self>,
        reader: PipeReader,
        mut written: mpsc::UnboundedReceiver<Outgoing>,
    ) {
        let lifecycle = &self.endpoint.lifecycle;
        let (served, connection) = (self.served.clone().drop_guard(), self.connection.clone());
        let serving = self.endpoint.clone().serving(connection, reader);
        lifecycle.spawn(async move {
            serving.await;
            drop(served);
        });
        let connection = self.connection.clone();
        self.spawn(async move {
            while let Some((bytes, taken)) = written.recv().await {
                if !connection.input().write(bytes).await {
                    return;
                }
                if let Some(taken) = taken {
                    let _ = taken.send(());
                }
            }
        });
    }

    /// Takes what the hub sends from now on.
    pub(super) fn listen(self: &Arc<Self>, mut buffer: InputBuffer) {
        let over = Over(self.clone());
        self.endpoint.lifecycle.spawn(async move {
            let line = &over.0;
            loop {
                while let Ok(Some(message)) = line.protocol.decode(&mut buffer, None) {
                    line.hear(message);
                }
                match line.connection.outbound().next().await {
                    Next::Unit(unit) => buffer.push(&unit),
                    Next::Finish | Next::Abort => return,
                }
            }
        });
    }

    fn hear(self: &Arc<Self>, message: Message) {
        let mut state = self.state();
        match message {
            Message::Invocation(invocation) => {
                let method = invocation.target.to_lowercase();
                let handler = state.handlers.get(&method).cloned();
                match handler {
                    Some(handler) => {
                        drop(state);
                        return handler(Received::new(self.clone(), invocation));
                    }
                    None => state.received.push_back(invocation),
                }
            }
            Message::StreamItem { id, item } => {
                if let Some(call) = state.calls.get(&id) {
                    let _ = call.send(Answer::Item(item));
                }
            }
            Message::Completion { id, outcome } => {
                if let Some(call) = state.calls.remove(&id) {
                    let _ = call.send(Answer::End(outcome));
                }
            }
            Message::Close {
                error,
                allow_reconnect,
            } => {
                state.goodbye = Closed {
                    error,
                    allow_reconnect,
                };
            }
            Message::CancelInvocation { .. }
            | Message::Ping
            | Message::Ack { .. }
            | Message::Sequence { .. } => {}
        }
        drop(state);
        self.changed.notify_waiters();
    }

    pub(super) fn handle(&self, method: &str, handler: impl Fn(Received) + Send + Sync + 'static) {
        let handler = Arc::new(handler);
        self.state().handlers.insert(method.to_lowercase(), handler);
    }

    /// A place for the answers to a call, and the call's id.
    pub(super) fn expect(&self) -> Result<(String, mpsc::UnboundedReceiver<Answer>), TestError> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed).to_string();
        let (sender, answers) = mpsc::unbounded_channel();
        let mut state = self.state();
        if state.over {
            return Err(TestError::Closed(state.goodbye.clone()));
        }
        state.calls.insert(id.clone(), sender);
        Ok((id, answers))
    }

    /// The client wants no more of a call; `false` if that has ended.
    pub(super) fn forget(&self, id: &str) -> bool {
        self.state().calls.remove(id).is_some()
    }

    /// An id that no other stream of the client has.
    pub(super) fn stream_id(&self) -> String {
        format!("u{}", self.next_id.fetch_add(1, Ordering::Relaxed))
    }

    /// Says something, and waits until the hub has taken it.
    pub(super) async fn write(&self, bytes: Bytes) -> Result<(), TestError> {
        let (taken, waiting) = oneshot::channel();
        let _ = self.outgoing.send((bytes, Some(taken)));
        match self.within("the hub's attention", waiting).await? {
            Ok(()) => Ok(()),
            // What the hub says at the end may still be on its way.
            Err(_) => Err(TestError::Closed(self.closed().await?)),
        }
    }

    /// Says something without waiting.
    pub(super) fn tell(&self, bytes: Bytes) {
        let _ = self.outgoing.send((bytes, None));
    }

    /// Runs a task of the client's. It ends with the connection: a hub that closes does not wait for it.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let connection = self.connection.clone();
        self.endpoint.lifecycle.spawn(async move {
            select! {
                () = task => {}
                () = connection.gone() => {}
            }
        });
    }

    /// The first invocation of a method that is `wanted`, if it has come.
    pub(super) fn take(self: &Arc<Self>, wanted: impl Fn(&str) -> bool) -> Option<Received> {
        let mut state = self.state();
        let mut received = state.received.iter();
        let index = received.position(|one| wanted(&one.target))?;
        let invocation = state.received.remove(index)?;
        Some(Received::new(self.clone(), invocation))
    }

    pub(super) async fn next(
        self: &Arc<Self>,
        what: &str,
        wanted: impl Fn(&str) -> bool,
    ) -> Result<Received, TestError> {
        let next = async {
            loop {
                let changed = self.changed.notified();
                if let Some(received) = self.take(&wanted) {
                    return Ok(received);
                }
                if self.state().over {
                    return Err(self.is_over());
                }
                changed.await;
            }
        };
        self.within(what, next).await?
    }

    pub(super) async fn closed(&self) -> Result<Closed, TestError> {
        let closed = async {
            loop {
                let changed = self.changed.notified();
                {
                    let state = self.state();
                    if state.over {
                        return state.goodbye.clone();
                    }
                }
                changed.await;
            }
        };
        self.within("the end of the connection", closed).await
    }

    /// Waits until the hub has done with the connection.
    pub(super) async fn served(&self) -> Result<(), TestError> {
        self.within("the hub's goodbye", self.served.cancelled())
            .await
    }

    pub(super) async fn within<T>(
        &self,
        what: &str,
        future: impl Future<Output = T>,
    ) -> Result<T, TestError> {
        let outcome = timeout(self.patience, future).await;
        outcome.map_err(|_| self.timed_out(what))
    }

    pub(super) fn timed_out(&self, wanted: &str) -> TestError {
        let methods = self.state();
        let methods = methods.received.iter().map(|one| one.target.clone());
        TestError::TimedOut {
            wanted: wanted.to_owned(),
            patience: self.patience,
            received: methods.collect(),
        }
    }

    pub(super) fn patience(&self) -> Duration {
        self.patience
    }

    pub(super) fn is_over(&self) -> TestError {
        TestError::Closed(self.state().goodbye.clone())
    }

    /// The network is gone.
    pub(super) fn lose(&self) {
        self.endpoint.connections.remove(&self.connection);
        self.connection.left(InputEnd::Lost);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing that runs under the lock leaves the state half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Line").finish_non_exhaustive()
    }
}

/// However the listening ends, those who wait are told.
struct Over(Arc<Line>);

impl Drop for Over {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.over = true;
        state.calls.clear();
        drop(state);
        self.0.changed.notify_waiters();
    }
}
