//! Typed hub methods: how an ordinary async function becomes something a client can call.

mod endpoint;
mod upload;

use std::collections::VecDeque;

use futures_util::Stream;
use serde::{Serialize, de::DeserializeOwned};

use self::upload::Receiver;
pub use self::upload::Upload;
pub(super) use self::{
    endpoint::{Endpoint, InvokeError, Items, endpoint, stream_endpoint},
    upload::{Part, UploadEnd, upload},
};
use super::{context::Context, error::HubError, protocol::Value};

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
    const ARGUMENTS: Taken;

    #[doc(hidden)]
    fn call(&self, hub: &'h H, call: Call) -> Result<Self::Future, BindError>;
}

/// A hub method that returns a stream: an async function of `&H` and up to twelve arguments that
/// returns a [`StreamReply`]. The client gets each item as it comes; dropping the stream is how the
/// hub learns that the client wants no more.
///
/// Implemented for functions, methods and async closures; nobody else needs to.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be a streaming method of the hub `{H}`",
    label = "not a streaming hub method",
    note = "it is `async fn(&self, ...) -> Result<S, E>`, where `S: Stream<Item = Result<T, E>>`",
    note = "every argument is `Context`, an `Upload`, or implements `DeserializeOwned` and is `Send + 'static`"
)]
pub trait StreamMethod<'h, H, A> {
    /// What the function returns.
    type Output: StreamReply + Send + 'h;

    #[doc(hidden)]
    type Future: Future<Output = Self::Output> + Send + 'h;

    #[doc(hidden)]
    const ARGUMENTS: Taken;

    #[doc(hidden)]
    fn call(&self, hub: &'h H, call: Call) -> Result<Self::Future, BindError>;
}

/// How much of what a client sends the arguments of a method take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    pub(super) values: usize,
    pub(super) streams: usize,
}

impl Taken {
    const NOTHING: Self = Self {
        values: 0,
        streams: 0,
    };

    const fn and(self, other: Self) -> Self {
        Self {
            values: self.values + other.values,
            streams: self.streams + other.streams,
        }
    }
}

/// What a hub method can take as an argument: what the client sends, as any type that serde can
/// read; an [`Upload`], for each stream that it sends; and the [`Context`], which the client knows
/// nothing of.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be an argument of a hub method",
    note = "an argument is `Context`, an `Upload`, or implements `DeserializeOwned` and is `Send + 'static`"
)]
pub trait Argument: Sized + Send + 'static {
    #[doc(hidden)]
    const TAKES: Taken;

    #[doc(hidden)]
    fn take(call: &mut Call) -> Result<Self, BindError>;
}

impl<T: DeserializeOwned + Send + 'static> Argument for T {
    const TAKES: Taken = Taken {
        values: 1,
        streams: 0,
    };

    fn take(call: &mut Call) -> Result<Self, BindError> {
        let value = call.arguments.next().ok_or(BindError)?;
        value.bind().map_err(|_| BindError)
    }
}

impl Argument for Context {
    const TAKES: Taken = Taken::NOTHING;

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

/// What a streaming hub method can return: a `Result` of a stream of results.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the result of a streaming hub method",
    note = "return `Result<S, E>`, where `S: Stream<Item = Result<T, E>>`, `T: Serialize` and `E: Into<HubError>`"
)]
pub trait StreamReply {
    #[doc(hidden)]
    type Item: Serialize + Send;

    #[doc(hidden)]
    fn into_stream(
        self,
    ) -> Result<impl Stream<Item = Result<Self::Item, HubError>> + Send, HubError>;
}

impl<S, T, E, F> StreamReply for Result<S, E>
where
    S: Stream<Item = Result<T, F>> + Send,
    T: Serialize + Send,
    E: Into<HubError>,
    F: Into<HubError>,
{
    type Item = T;

    fn into_stream(self) -> Result<impl Stream<Item = Result<T, HubError>> + Send, HubError> {
        use futures_util::TryStreamExt;
        self.map(|stream| stream.map_err(Into::into))
            .map_err(Into::into)
    }
}

/// One invocation on its way to its method.
#[derive(Debug)]
pub struct Call {
    context: Context,
    arguments: std::vec::IntoIter<Value>,
    uploads: VecDeque<Receiver>,
}

impl Call {
    pub(super) fn new(
        context: Context,
        arguments: Vec<Value>,
        uploads: VecDeque<Receiver>,
    ) -> Self {
        Self {
            context,
            arguments: arguments.into_iter(),
            uploads,
        }
    }
}

/// An argument is not of the type that the method takes.
#[derive(Clone, Copy, Debug)]
pub struct BindError;

macro_rules! impl_method {
    ($($argument:ident)*) => {
        impl_method!(Method, Reply, 'static, $($argument)*);
        impl_method!(StreamMethod, StreamReply, 'h, $($argument)*);
    };
    ($method:ident, $reply:ident, $life:lifetime, $($argument:ident)*) => {
        impl<'h, F, Fut, H: 'h, $($argument,)*> $method<'h, H, ($($argument,)*)> for F
        where
            F: Fn(&'h H, $($argument,)*) -> Fut,
            Fut: Future + Send + 'h,
            Fut::Output: $reply + Send + $life,
            $($argument: Argument,)*
        {
            type Output = Fut::Output;
            type Future = Fut;

            const ARGUMENTS: Taken = Taken::NOTHING$(.and($argument::TAKES))*;

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
