//! [`Endpoint`]: a method whose types are forgotten.

use std::{
    marker::PhantomData,
    pin::{Pin, pin},
    sync::Arc,
};

use futures_util::StreamExt;

use super::{BindError, Call, HubError, Method, Reply, StreamMethod, StreamReply, Taken};
use crate::hub::{
    connection::Connection,
    protocol::{EncodeError, Outcome, Protocol},
    transport::Kind,
};

/// What the hub keeps in its table.
pub(crate) trait Endpoint: Send + Sync {
    fn shape(&self) -> Shape;

    /// Binds the arguments, runs the method, and encodes its result, or each item of its stream.
    fn invoke(self: Arc<Self>, call: Call, items: Items) -> Invoked;
}

/// What a client has to know to call a method.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) takes: Taken,
    pub(crate) streaming: bool,
}

/// A running method.
pub(crate) type Invoked = Pin<Box<dyn Future<Output = Result<Outcome, InvokeError>> + Send>>;

/// Why an invocation has no result.
#[derive(Debug)]
pub(crate) enum InvokeError {
    /// The arguments do not fit; the method did not run.
    Bind,
    /// The method said so.
    Failed(HubError),
    /// Its stream said so, after the client may have got some items.
    Broke(HubError),
}

impl From<BindError> for InvokeError {
    fn from(BindError: BindError) -> Self {
        Self::Bind
    }
}

impl From<EncodeError> for InvokeError {
    fn from(error: EncodeError) -> Self {
        Self::Failed(error.into())
    }
}

/// Where the items of a stream go.
#[derive(Debug)]
pub(crate) struct Items {
    pub(crate) connection: Arc<Connection>,
    pub(crate) protocol: Protocol,
    pub(crate) invocation_id: String,
}

/// `method` on `hub`.
pub(crate) fn endpoint<H, A, F>(hub: Arc<H>, method: F) -> Arc<dyn Endpoint>
where
    H: Send + Sync + 'static,
    A: 'static,
    F: for<'h> Method<'h, H, A> + Send + Sync + 'static,
{
    Arc::new(Calls(Bound::new(hub, method)))
}

/// The same for a method that returns a stream.
pub(crate) fn stream_endpoint<H, A, F>(hub: Arc<H>, method: F) -> Arc<dyn Endpoint>
where
    H: Send + Sync + 'static,
    A: 'static,
    F: for<'h> StreamMethod<'h, H, A> + Send + Sync + 'static,
{
    Arc::new(Streams(Bound::new(hub, method)))
}

struct Bound<H, A, F> {
    hub: Arc<H>,
    method: F,
    arguments: PhantomData<fn() -> A>,
}

impl<H, A, F> Bound<H, A, F> {
    fn new(hub: Arc<H>, method: F) -> Self {
        Self {
            hub,
            method,
            arguments: PhantomData,
        }
    }
}

struct Calls<H, A, F>(Bound<H, A, F>);

impl<H, A, F> Endpoint for Calls<H, A, F>
where
    H: Send + Sync + 'static,
    A: 'static,
    F: for<'h> Method<'h, H, A> + Send + Sync + 'static,
{
    fn shape(&self) -> Shape {
        Shape {
            takes: F::ARGUMENTS,
            streaming: false,
        }
    }

    fn invoke(self: Arc<Self>, call: Call, items: Items) -> Invoked {
        Box::pin(async move {
            let running = self.0.method.call(&self.0.hub, call)?;
            let value = running.await.into_result().map_err(InvokeError::Failed)?;
            Ok(Outcome::Value(items.protocol.value(&value)?))
        })
    }
}

struct Streams<H, A, F>(Bound<H, A, F>);

impl<H, A, F> Endpoint for Streams<H, A, F>
where
    H: Send + Sync + 'static,
    A: 'static,
    F: for<'h> StreamMethod<'h, H, A> + Send + Sync + 'static,
{
    fn shape(&self) -> Shape {
        Shape {
            takes: F::ARGUMENTS,
            streaming: true,
        }
    }

    fn invoke(self: Arc<Self>, call: Call, items: Items) -> Invoked {
        Box::pin(async move {
            let running = self.0.method.call(&self.0.hub, call)?;
            let stream = running.await.into_stream().map_err(InvokeError::Failed)?;
            let mut stream = pin!(stream);
            while let Some(item) = stream.next().await {
                let item = item.map_err(InvokeError::Broke)?;
                let item = items.protocol.value(&item);
                let item = item.map_err(|error| InvokeError::Broke(error.into()))?;
                let message = items.protocol.stream_item(&items.invocation_id, &item);
                items.connection.push(message, Kind::Answer);
                // At the client's pace.
                items.connection.room().await;
                // A stream that always has an item must not keep this thread from everything else.
                tokio::task::coop::consume_budget().await;
            }
            Ok(Outcome::Nothing)
        })
    }
}
