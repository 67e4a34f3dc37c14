//! The invocations of one client: whose turn it is, what runs, and what the client is told.

use std::{
    collections::{HashMap, VecDeque},
    fmt,
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures_util::FutureExt;
use tokio::{
    select,
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    clients::ClientError,
    connection::Connection,
    context::Context,
    hub::{Registered, Shared},
    method::{Call, Endpoint, InvokeError, Items, Part, UploadEnd, upload},
    protocol::{Invocation, Outcome, Protocol, Value},
    transport::Kind,
};

/// Runs the invocations of one client.
pub(super) struct Invoker {
    shared: Arc<Shared>,
    connection: Arc<Connection>,
    protocol: Protocol,
    /// One permit for each invocation that may run at a time.
    slots: Arc<Semaphore>,
    /// One for each that streams in either direction. Those run beside the others.
    stream_slots: Arc<Semaphore>,
    calls: TaskTracker,
    streams: TaskTracker,
    /// The streams that the client can cancel.
    cancels: Arc<Cancels>,
    /// The streams that the client sends.
    uploads: HashMap<String, mpsc::Sender<Part>>,
}

#[derive(Default)]
struct Cancels(Mutex<HashMap<String, CancellationToken>>);

impl Cancels {
    fn table(&self) -> MutexGuard<'_, HashMap<String, CancellationToken>> {
        // Nothing that runs under the lock leaves the table half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What keeps the client's next invocation waiting.
#[derive(Clone, Debug)]
pub(super) struct Turn(Option<Arc<TurnState>>);

#[derive(Debug)]
enum TurnState {
    Slot(Mutex<Option<OwnedSemaphorePermit>>),
    /// Nothing of the client is read yet.
    Connecting,
}

impl Turn {
    pub(super) fn none() -> Self {
        Self(None)
    }

    pub(super) fn connecting() -> Self {
        Self(Some(Arc::new(TurnState::Connecting)))
    }

    fn slot(permit: OwnedSemaphorePermit) -> Self {
        Self(Some(Arc::new(TurnState::Slot(Mutex::new(Some(permit))))))
    }

    /// Lets the next invocation begin, because what this one waits for may come after it.
    pub(super) fn pass_on(&self) -> Result<(), ClientError> {
        match self.0.as_deref() {
            None => Ok(()),
            Some(TurnState::Slot(slot)) => {
                slot.lock().unwrap_or_else(PoisonError::into_inner).take();
                Ok(())
            }
            Some(TurnState::Connecting) => Err(ClientError::NotYet),
        }
    }
}

impl Invoker {
    pub(super) fn new(
        shared: Arc<Shared>,
        connection: Arc<Connection>,
        protocol: Protocol,
    ) -> Self {
        let semaphore =
            |permits: usize| Arc::new(Semaphore::new(permits.min(Semaphore::MAX_PERMITS)));
        Self {
            slots: semaphore(shared.options.maximum_parallel_invocations_per_client),
            stream_slots: semaphore(shared.options.maximum_streams_per_client),
            shared,
            connection,
            protocol,
            calls: TaskTracker::new(),
            streams: TaskTracker::new(),
            cancels: Arc::default(),
            uploads: HashMap::new(),
        }
    }

    /// Starts an invocation when it is its turn. Its result is sent when it is there.
    pub(super) async fn start(&mut self, invocation: Invocation) {
        // A client that does not read its results gets no more of them.
        self.connection.room().await;
        let Invocation {
            id,
            target,
            arguments,
            stream_ids,
            streaming,
        } = invocation;
        let beside = streaming || !stream_ids.is_empty();
        let slot = if beside {
            None
        } else {
            self.slots.clone().acquire_owned().await.ok()
        };
        let turn = slot.map_or_else(Turn::none, Turn::slot);
        let context = Context::new(
            self.shared.lifetime.clone(),
            self.connection.clone(),
            turn.clone(),
        );
        let found = self
            .find(&target, &context, arguments.len(), &stream_ids, streaming)
            .and_then(|endpoint| Ok((endpoint, self.stream_slot(beside, &target)?)))
            .and_then(|found| Ok((found, self.cancellation(id.as_deref(), streaming)?)));
        let ((endpoint, stream_slot), cancelled) = match found {
            Ok(found) => found,
            Err(error) => {
                self.complete(id.as_deref(), &Outcome::Error(error));
                return;
            }
        };
        let items = Items {
            connection: self.connection.clone(),
            protocol: self.protocol,
            invocation_id: id.clone().unwrap_or_default(),
        };
        let call = Call::new(context, arguments, self.open_uploads(stream_ids));
        let call = run(endpoint, call, items);
        let (shared, connection, protocol) =
            (self.shared.clone(), self.connection.clone(), self.protocol);
        let cancels = self.cancels.clone();
        let task = async move {
            let ended = match cancelled {
                None => call.await,
                // The client wants no more of it, or is no longer there.
                Some(cancelled) => select! {
                    ended = call => ended,
                    () = cancelled.cancelled() => Ok(Outcome::Nothing),
                    () = connection.gone() => Ok(Outcome::Nothing),
                },
            };
            let outcome = ended.unwrap_or_else(|failure| {
                tracing::debug!(connection = %connection.id(), target, %failure, "an invocation failed");
                Outcome::Error(failure.of_invocation(&target, shared.options.enable_detailed_errors))
            });
            if let Some(id) = id {
                if streaming {
                    cancels.table().remove(&id);
                }
                connection.push(protocol.completion(&id, &outcome), Kind::Answer);
            }
            // Whatever the method has left behind does not keep the next invocation waiting.
            let _ = turn.pass_on();
            drop(stream_slot);
        };
        let tracker = if streaming {
            &self.streams
        } else {
            &self.calls
        };
        self.shared.lifecycle.spawn(tracker.track_future(task));
    }

    /// Hands on an item of a stream that the client sends, when there is room for it. What belongs to
    /// no stream, or to one that nobody reads any more, is dropped.
    pub(super) async fn item(&mut self, id: &str, item: Value) {
        if let Some(upload) = self.uploads.get(id)
            && upload.send(Part::Item(item)).await.is_err()
        {
            self.uploads.remove(id);
        }
    }

    /// Ends a stream that the client sends. Gives the outcome back if there is no such stream.
    pub(super) async fn end(&mut self, id: &str, outcome: Outcome) -> Option<Outcome> {
        let Some(upload) = self.uploads.remove(id) else {
            return Some(outcome);
        };
        let end = match outcome {
            Outcome::Error(error) => UploadEnd::Failed(error),
            Outcome::Value(_) | Outcome::Nothing => UploadEnd::Complete,
        };
        let _ = upload.send(Part::End(end)).await;
        None
    }

    /// Stops a stream that the client wants no more of.
    pub(super) fn cancel(&self, id: &str) {
        if let Some(cancelled) = self.cancels.table().get(id) {
            cancelled.cancel();
        }
    }

    /// The method that an invocation means, or what its client is told instead.
    fn find(
        &self,
        target: &str,
        context: &Context,
        arguments: usize,
        stream_ids: &[String],
        streaming: bool,
    ) -> Result<Arc<dyn Endpoint>, String> {
        let failed = format!("Failed to invoke '{target}' due to an error on the server.");
        let Some(Registered { endpoint, policy }) = self.shared.methods.get(&target.to_lowercase())
        else {
            return Err(format!("{failed} HubException: Method does not exist."));
        };
        let shape = endpoint.shape();
        let expected = shape.takes.values;
        if arguments != expected {
            return Err(if self.shared.options.enable_detailed_errors {
                format!(
                    "{failed} InvalidDataException: Invocation provides {arguments} argument(s) but target expects {expected}."
                )
            } else {
                failed
            });
        }
        if policy.as_ref().is_some_and(|allows| !allows(context)) {
            return Err(format!(
                "Failed to invoke '{target}' because user is unauthorized"
            ));
        }
        match (streaming, shape.streaming) {
            (true, false) => {
                return Err(format!(
                    "The client attempted to invoke the non-streaming '{target}' method with a streaming invocation."
                ));
            }
            (false, true) => {
                return Err(format!(
                    "The client attempted to invoke the streaming '{target}' method with a non-streaming invocation."
                ));
            }
            _ => {}
        }
        let (sent, expected) = (stream_ids.len(), shape.takes.streams);
        if sent != expected {
            return Err(format!(
                "An unexpected error occurred invoking '{target}' on the server. HubException: Client sent {sent} stream(s), Hub method expects {expected}."
            ));
        }
        Ok(endpoint.clone())
    }

    fn stream_slot(
        &self,
        beside: bool,
        target: &str,
    ) -> Result<Option<OwnedSemaphorePermit>, String> {
        if !beside {
            return Ok(None);
        }
        let slot = self.stream_slots.clone().try_acquire_owned();
        slot.map(Some).map_err(|_| {
            format!(
                "An unexpected error occurred invoking '{target}' on the server. HubException: The client has too many streams open."
            )
        })
    }

    fn cancellation(
        &self,
        id: Option<&str>,
        streaming: bool,
    ) -> Result<Option<CancellationToken>, String> {
        let (true, Some(id)) = (streaming, id) else {
            return Ok(None);
        };
        let mut table = self.cancels.table();
        if table.contains_key(id) {
            return Err(format!("Invocation ID '{id}' is already in use."));
        }
        let cancelled = CancellationToken::new();
        table.insert(id.to_owned(), cancelled.clone());
        Ok(Some(cancelled))
    }

    /// From here on, what comes under these ids belongs to the invocation.
    fn open_uploads(&mut self, ids: Vec<String>) -> VecDeque<mpsc::Receiver<Part>> {
        if !ids.is_empty() {
            self.uploads.retain(|_, upload| !upload.is_closed());
        }
        let capacity = self.shared.options.stream_buffer_capacity;
        let open = |id| {
            let (sender, receiver) = upload(capacity);
            self.uploads.insert(id, sender);
            receiver
        };
        ids.into_iter().map(open).collect()
    }

    /// Runs a handler that clients cannot call.
    pub(super) fn call(
        &self,
        endpoint: Arc<dyn Endpoint>,
        context: Context,
    ) -> impl Future<Output = Result<Outcome, Failure>> + Send + use<> {
        let items = Items {
            connection: self.connection.clone(),
            protocol: self.protocol,
            invocation_id: String::new(),
        };
        run(
            endpoint,
            Call::new(context, Vec::new(), VecDeque::new()),
            items,
        )
    }

    fn complete(&self, id: Option<&str>, outcome: &Outcome) {
        if let Some(id) = id {
            self.connection
                .push(self.protocol.completion(id, outcome), Kind::Answer);
        }
    }

    /// Waits until no method is running that will end by itself. Streams may have no end.
    pub(super) async fn calls_done(&self) {
        self.calls.close();
        self.calls.wait().await;
    }

    /// Waits until no invocation is running. The client sends nothing more.
    pub(super) async fn idle(&mut self) {
        self.uploads.clear();
        self.calls_done().await;
        self.streams.close();
        self.streams.wait().await;
    }
}

/// Runs a method. One that panics harms nobody but its caller.
fn run(
    endpoint: Arc<dyn Endpoint>,
    call: Call,
    items: Items,
) -> impl Future<Output = Result<Outcome, Failure>> + Send {
    let running = endpoint.invoke(call, items);
    async move {
        match AssertUnwindSafe(running).catch_unwind().await {
            Ok(result) => result.map_err(Failure::Error),
            Err(_) => Err(Failure::Panic),
        }
    }
}

/// Why a method gave no result.
#[derive(Debug)]
pub(super) enum Failure {
    Error(InvokeError),
    /// The panic's message is in the log; the runtime's hook has put it there.
    Panic,
}

impl Failure {
    fn of_invocation(&self, target: &str, detailed: bool) -> String {
        match self {
            Self::Error(InvokeError::Bind) => {
                let text = format!("Failed to invoke '{target}' due to an error on the server.");
                if detailed {
                    format!("{text} InvalidDataException: {self}")
                } else {
                    text
                }
            }
            Self::Error(InvokeError::Broke(_)) => self.describe(
                "An error occurred on the server while streaming results.",
                detailed,
            ),
            _ => self.describe(
                &format!("An unexpected error occurred invoking '{target}' on the server."),
                detailed,
            ),
        }
    }

    pub(super) fn describe(&self, text: &str, detailed: bool) -> String {
        match self {
            Self::Error(InvokeError::Failed(error) | InvokeError::Broke(error)) => {
                error.describe(text, detailed)
            }
            Self::Error(InvokeError::Bind) | Self::Panic => text.to_owned(),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Error(InvokeError::Failed(error) | InvokeError::Broke(error)) => error.fmt(f),
            Self::Error(InvokeError::Bind) => f.write_str(
                "Error binding arguments. Make sure that the types of the provided values match the types of the hub method being invoked.",
            ),
            Self::Panic => f.write_str("the method panicked"),
        }
    }
}
