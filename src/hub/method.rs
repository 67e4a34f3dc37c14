//! Typed hub methods: how an ordinary async function becomes something a client can call.

use std::{marker::PhantomData, pin::Pin, sync::Arc};

use serde::{Serialize, de::DeserializeOwned};

use super::{
    context::Context,
    error::HubError,
    protocol::{Protocol, Value},
};

/// A hub method: an async function of `&H` and up to twelve arguments that returns a
/// [`Result`](Reply).
///
/// Implemented for functions, methods and async closures; nobody else needs to. `A` is the tuple of
/// argument types, each an [`Argument`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be a method of the hub `{H}`",
    label = "not a hub method",
    note = "a hub method is `async fn(&self, ...) -> Result<T, E>` with at most twelve arguments",
    note = "every argument is `Context`, or implements `DeserializeOwned` and is `Send + 'static`",
    note = "`T` implements `Serialize`, `E` converts into `HubError`, and the future is `Send`"
)]
pub trait Method<'h, H, A> {
    /// What the function returns.
    type Output: Reply + Send + 'static;

    #[doc(hidden)]
    type Future: Future<Output = Self::Output> + Send + 'h;

    #[doc(hidden)]
    const CLIENT_ARGUMENTS: usize;

    #[doc(hidden)]
    fn call(&self, hub: &'h H, call: Call) -> Result<Self::Future, BindError>;
}

/// What a hub method can take as an argument: what the client sends, as any type that serde can
/// read, and the [`Context`], which the client knows nothing of.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be an argument of a hub method",
    note = "an argument is `Context`, or implements `DeserializeOwned` and is `Send + 'static`"
)]
pub trait Argument: Sized + Send + 'static {
    /// How many of the client's arguments it takes.
    #[doc(hidden)]
    const CLIENT_ARGUMENTS: usize;

    #[doc(hidden)]
    fn take(call: &mut Call) -> Result<Self, BindError>;
}

impl<T: DeserializeOwned + Send + 'static> Argument for T {
    const CLIENT_ARGUMENTS: usize = 1;

    fn take(call: &mut Call) -> Result<Self, BindError> {
        let value = call.arguments.next().ok_or(BindError)?;
        value.bind().map_err(|_| BindError)
    }
}

impl Argument for Context {
    const CLIENT_ARGUMENTS: usize = 0;

    fn take(call: &mut Call) -> Result<Self, BindError> {
        Ok(call.context.clone())
    }
}

/// What a hub method can return: a `Result` of a value that serde can write, and an error.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the result of a hub method",
    note = "return `Result<T, E>`, where `T: Serialize` and `E: Into<HubError>`"
)]
pub trait Reply {
    #[doc(hidden)]
    type Value: Serialize;

    #[doc(hidden)]
    fn into_result(self) -> Result<Self::Value, HubError>;
}

impl<T: Serialize, E: Into<HubError>> Reply for Result<T, E> {
    type Value = T;

    fn into_result(self) -> Result<T, HubError> {
        self.map_err(Into::into)
    }
}

/// One invocation on its way to its method.
#[derive(Debug)]
pub struct Call {
    context: Context,
    arguments: std::vec::IntoIter<Value>,
}

impl Call {
    pub(super) fn new(context: Context, arguments: Vec<Value>) -> Self {
        Self {
            context,
            arguments: arguments.into_iter(),
        }
    }
}

/// An argument is not of the type that the method takes.
#[derive(Clone, Copy, Debug)]
pub struct BindError;

macro_rules! impl_method {
    ($($argument:ident)*) => {
        impl<'h, F, Fut, H: 'h, $($argument,)*> Method<'h, H, ($($argument,)*)> for F
        where
            F: Fn(&'h H, $($argument,)*) -> Fut,
            Fut: Future + Send + 'h,
            Fut::Output: Reply + Send + 'static,
            $($argument: Argument,)*
        {
            type Output = Fut::Output;
            type Future = Fut;

            const CLIENT_ARGUMENTS: usize = 0 $(+ $argument::CLIENT_ARGUMENTS)*;

            #[expect(clippy::allow_attributes, reason = "only some arities leave these unused")]
            #[allow(unused_mut, unused_variables, non_snake_case)]
            fn call(&self, hub: &'h H, mut call: Call) -> Result<Fut, BindError> {
                $(let $argument = $argument::take(&mut call)?;)*
                Ok(self(hub, $($argument,)*))
            }
        }
    };
}

impl_method!();
impl_method!(A1);
impl_method!(A1 A2);
impl_method!(A1 A2 A3);
impl_method!(A1 A2 A3 A4);
impl_method!(A1 A2 A3 A4 A5);
impl_method!(A1 A2 A3 A4 A5 A6);
impl_method!(A1 A2 A3 A4 A5 A6 A7);
impl_method!(A1 A2 A3 A4 A5 A6 A7 A8);
impl_method!(A1 A2 A3 A4 A5 A6 A7 A8 A9);
impl_method!(A1 A2 A3 A4 A5 A6 A7 A8 A9 A10);
impl_method!(A1 A2 A3 A4 A5 A6 A7 A8 A9 A10 A11);
impl_method!(A1 A2 A3 A4 A5 A6 A7 A8 A9 A10 A11 A12);

/// A method whose types are forgotten: what the hub keeps in its table.
pub(super) trait Endpoint: Send + Sync {
    /// How many arguments a client must send.
    fn client_arguments(&self) -> usize;

    /// Binds the arguments, runs the method and encodes its result.
    fn invoke(self: Arc<Self>, call: Call, protocol: Protocol) -> Invoked;
}

/// A running method.
pub(super) type Invoked = Pin<Box<dyn Future<Output = Result<Value, InvokeError>> + Send>>;

/// Why an invocation has no result.
#[derive(Debug)]
pub(super) enum InvokeError {
    /// The arguments do not fit; the method did not run.
    Bind,
    /// The method said so.
    Failed(HubError),
}

/// `method` on `hub`, as an [`Endpoint`].
pub(super) fn endpoint<H, A, F>(hub: Arc<H>, method: F) -> Arc<dyn Endpoint>
where
    H: Send + Sync + 'static,
    A: 'static,
    F: for<'h> Method<'h, H, A> + Send + Sync + 'static,
{
    Arc::new(Bound {
        hub,
        method,
        arguments: PhantomData,
    })
}

struct Bound<H, A, F> {
    hub: Arc<H>,
    method: F,
    arguments: PhantomData<fn() -> A>,
}

impl<H, A, F> Endpoint for Bound<H, A, F>
where
    H: Send + Sync + 'static,
    A: 'static,
    F: for<'h> Method<'h, H, A> + Send + Sync + 'static,
{
    fn client_arguments(&self) -> usize {
        F::CLIENT_ARGUMENTS
    }

    fn invoke(self: Arc<Self>, call: Call, protocol: Protocol) -> Invoked {
        Box::pin(async move {
            let running = self
                .method
                .call(&self.hub, call)
                .map_err(|BindError| InvokeError::Bind)?;
            let value = running.await.into_result().map_err(InvokeError::Failed)?;
            protocol
                .value(&value)
                .map_err(|error| InvokeError::Failed(error.into()))
        })
    }
}
