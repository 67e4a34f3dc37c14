//! The invocations of one client: whose turn it is, what runs, and what the client is told.

use std::{fmt, panic::AssertUnwindSafe, sync::Arc};

use futures_util::FutureExt;
use tokio::sync::Semaphore;

use super::{
    connection::Connection,
    context::Context,
    hub::Shared,
    method::{Call, Endpoint, InvokeError},
    protocol::{Invocation, Outcome, Protocol, Value},
};

/// Runs the invocations of one client.
pub(super) struct Invoker {
    shared: Arc<Shared>,
    connection: Arc<Connection>,
    protocol: Protocol,
    /// One permit for each invocation that may run at a time.
    slots: Arc<Semaphore>,
}

impl Invoker {
    pub(super) fn new(
        shared: Arc<Shared>,
        connection: Arc<Connection>,
        protocol: Protocol,
    ) -> Self {
        let slots = shared.options.maximum_parallel_invocations_per_client;
        Self {
            shared,
            connection,
            protocol,
            slots: Arc::new(Semaphore::new(slots.min(Semaphore::MAX_PERMITS))),
        }
    }

    /// Starts an invocation when it is its turn. Its result is sent when it is there.
    pub(super) async fn start(&self, invocation: Invocation) {
        // A client that does not read its results gets no more of them.
        self.connection.room().await;
        let Ok(slot) = self.slots.clone().acquire_owned().await else {
            return;
        };
        let Invocation {
            id,
            target,
            arguments,
            stream_ids,
            streaming,
        } = invocation;
        let endpoint = match self.find(&target, arguments.len(), &stream_ids, streaming) {
            Ok(endpoint) => endpoint,
            Err(error) => {
                self.complete(id.as_deref(), &Outcome::Error(error));
                return;
            }
        };
        let call = self.call(
            endpoint,
            Context::new(self.shared.clone(), self.connection.clone()),
            arguments,
        );
        let (shared, connection, protocol) =
            (self.shared.clone(), self.connection.clone(), self.protocol);
        self.shared.spawn(async move {
            let outcome = match call.await {
                Ok(value) => Outcome::Value(value),
                Err(failure) => {
                    tracing::debug!(connection = %connection.id(), target, %failure, "an invocation failed");
                    Outcome::Error(failure.of_invocation(&target, shared.options.enable_detailed_errors))
                }
            };
            if let Some(id) = id {
                connection.push(protocol.completion(&id, &outcome));
            }
            drop(slot);
        });
    }

    /// The method that an invocation means, or what its client is told instead.
    fn find(
        &self,
        target: &str,
        arguments: usize,
        stream_ids: &[String],
        streaming: bool,
    ) -> Result<Arc<dyn Endpoint>, String> {
        let failed = format!("Failed to invoke '{target}' due to an error on the server.");
        let Some(endpoint) = self.shared.methods.get(&target.to_lowercase()) else {
            return Err(format!("{failed} HubException: Method does not exist."));
        };
        let expected = endpoint.client_arguments();
        if arguments != expected {
            let why = format!(
                "{failed} InvalidDataException: Invocation provides {arguments} argument(s) but target expects {expected}."
            );
            return Err(if self.shared.options.enable_detailed_errors {
                why
            } else {
                failed
            });
        }
        if streaming {
            return Err(format!(
                "The client attempted to invoke the non-streaming '{target}' method with a streaming invocation."
            ));
        }
        if !stream_ids.is_empty() {
            return Err(format!(
                "An unexpected error occurred invoking '{target}' on the server. HubException: Client sent {} stream(s), Hub method expects 0.",
                stream_ids.len()
            ));
        }
        Ok(endpoint.clone())
    }

    /// Runs a method. One that panics harms nobody but its caller.
    pub(super) fn call(
        &self,
        endpoint: Arc<dyn Endpoint>,
        context: Context,
        arguments: Vec<Value>,
    ) -> impl Future<Output = Result<Value, Failure>> + Send + use<> {
        let call = endpoint.invoke(Call::new(context, arguments), self.protocol);
        async move {
            match AssertUnwindSafe(call).catch_unwind().await {
                Ok(result) => result.map_err(Failure::Error),
                Err(_) => Err(Failure::Panic),
            }
        }
    }

    fn complete(&self, id: Option<&str>, outcome: &Outcome) {
        if let Some(id) = id {
            self.connection.push(self.protocol.completion(id, outcome));
        }
    }

    /// Waits until no invocation is running.
    pub(super) async fn idle(&self) {
        let all = self
            .shared
            .options
            .maximum_parallel_invocations_per_client
            .min(Semaphore::MAX_PERMITS);
        let all = u32::try_from(all).unwrap_or(u32::MAX);
        let _ = self.slots.acquire_many(all).await;
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
            _ => self.describe(
                &format!("An unexpected error occurred invoking '{target}' on the server."),
                detailed,
            ),
        }
    }

    pub(super) fn describe(&self, text: &str, detailed: bool) -> String {
        match self {
            Self::Error(InvokeError::Failed(error)) => error.describe(text, detailed),
            Self::Error(InvokeError::Bind) | Self::Panic => text.to_owned(),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Error(InvokeError::Failed(error)) => error.fmt(f),
            Self::Error(InvokeError::Bind) => f.write_str(
                "Error binding arguments. Make sure that the types of the provided values match the types of the hub method being invoked.",
            ),
            Self::Panic => f.write_str("the method panicked"),
        }
    }
}
