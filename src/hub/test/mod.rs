//! Testing hubs without a network.
//!
//! A [`TestClient`] connects to a [`Hub`] in memory. Only sockets and HTTP are left out: it is let in by
//! the hub's authentication, speaks one of its protocols, waits its turn, is subject to its policies,
//! limits and timeouts, and what is sent to it comes through the backplane. So a test of a hub reads as
//! what its users do:
//!
//! ```
//! use scaleout::hub::{Context, Hub, HubError, User, test::TestClient};
//!
//! struct Chat;
//!
//! impl Chat {
//!     async fn join(&self, ctx: Context, room: String) -> Result<(), HubError> {
//!         Ok(ctx.join(room).await?)
//!     }
//!
//!     async fn say(&self, ctx: Context, room: String, text: String) -> Result<(), HubError> {
//!         let user = ctx.user().id().ok_or(HubError::new("who are you?"))?;
//!         ctx.clients().group(room).send("Said", (user, text)).await?;
//!         Ok(())
//!     }
//! }
//!
//! # #[cfg(feature = "memory")]
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let backplane = scaleout::connect("memory:").await?;
//! let hub = Hub::builder(Chat)
//!     .method("Join", Chat::join)
//!     .method("Say", Chat::say)
//!     .build(&backplane)
//!     .await?;
//!
//! let ada = TestClient::builder().user(User::new("ada")).connect(&hub).await?;
//! let ben = TestClient::connect(&hub).await?;
//! ben.invoke::<()>("Join", ("garden",)).await?;
//!
//! ada.invoke::<()>("Say", ("garden", "hello")).await?;
//! let (user, text) = ben.receive::<(String, String)>("Said").await?;
//! assert_eq!((user.as_str(), text.as_str()), ("ada", "hello"));
//!
//! let refused = ben.invoke::<()>("Say", ("garden", "hello")).await.unwrap_err();
//! assert!(refused.to_string().ends_with("who are you?"));
//! # Ok(())
//! # }
//! # #[cfg(not(feature = "memory"))]
//! # fn main() {}
//! ```
//!
//! Two hubs on the same backplane are two nodes, and a client of each shows how they act as one. With
//! tokio's clock paused, the hub's timers pass at once.
//!
//! To show that something does *not* come, have something sent after it on the same way, and see that
//! this comes next.

mod builder;
mod call;
mod error;
mod line;
mod received;

use std::{fmt, sync::Arc};

use serde::{Serialize, de::DeserializeOwned};

use self::line::Line;
pub use self::{
    builder::TestClientBuilder,
    call::{Call, Items},
    error::{Closed, TestError},
    received::Received,
};
use super::{clients::Arguments, hub::Hub, id::ConnectionId, transport::InputEnd};

/// A client of a hub, in memory.
///
/// It takes what the hub sends as soon as it comes. What it was sent waits until the test asks for it, by
/// [`next`](Self::next) or [`receive`](Self::receive), or is handled as it comes by what was given to
/// [`on`](Self::on).
///
/// Nothing here waits for ever: what does not come within the client's
/// [`patience`](TestClientBuilder::patience) fails with [`TestError::TimedOut`], which tells what came
/// instead.
///
/// When the client is dropped, its connection is lost, as if its network were gone.
pub struct TestClient {
    line: Arc<Line>,
}

impl TestClient {
    /// Connects to a hub. When this returns, `on_connected` has run, and whatever is sent from now on
    /// reaches the client.
    ///
    /// # Errors
    ///
    /// [`TestError::TurnedAway`] if the hub's authentication says so, [`TestError::Closed`] if
    /// `on_connected` failed or the hub is closing.
    ///
    /// # Cancellation
    ///
    /// If the future is dropped, the connection is lost.
    pub async fn connect(hub: &Hub) -> Result<Self, TestError> {
        Self::builder().connect(hub).await
    }

    /// A client with a user, a token, headers or a protocol of the test's choice.
    pub fn builder() -> TestClientBuilder {
        TestClientBuilder::default()
    }

    /// The client's connection, as the hub knows it.
    pub fn connection_id(&self) -> &ConnectionId {
        self.line.connection.id()
    }

    /// Invokes a method of the hub and waits for its result.
    ///
    /// # Errors
    ///
    /// [`TestError::Hub`] with what the hub tells the client, [`TestError::Closed`],
    /// [`TestError::Unreadable`] if the result is no `R`, [`TestError::TimedOut`].
    ///
    /// # Cancellation
    ///
    /// If the future is dropped, the method goes on, and nobody hears of its result.
    pub async fn invoke<R: DeserializeOwned>(
        &self,
        method: impl Into<String>,
        arguments: impl Arguments,
    ) -> Result<R, TestError> {
        self.call(method, arguments).invoke().await
    }

    /// Invokes a method of the hub without asking for an answer. Resolves when the hub has taken it.
    ///
    /// # Errors
    ///
    /// [`TestError::Closed`], [`TestError::TimedOut`].
    ///
    /// # Cancellation
    ///
    /// If the future is dropped, the method may or may not be invoked.
    pub async fn send(
        &self,
        method: impl Into<String>,
        arguments: impl Arguments,
    ) -> Result<(), TestError> {
        self.call(method, arguments).send().await
    }

    /// Invokes a streaming method of the hub. Dropping the stream cancels it.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send); what goes wrong later is the last item of the stream.
    ///
    /// # Cancellation
    ///
    /// As [`send`](Self::send).
    pub async fn stream<T: DeserializeOwned>(
        &self,
        method: impl Into<String>,
        arguments: impl Arguments,
    ) -> Result<Items<T>, TestError> {
        self.call(method, arguments).stream().await
    }

    /// Begins a call to which the client also sends streams: [`Call::upload`].
    #[expect(
        clippy::needless_pass_by_value,
        reason = "they are written at the call as a tuple"
    )]
    pub fn call(&self, method: impl Into<String>, arguments: impl Arguments) -> Call<'_> {
        Call::new(&self.line, method.into(), &arguments)
    }

    /// Has `handler` handle every invocation of this client method from now on, in upper or lower case.
    /// If the hub waits for a result, it gets what the handler returns.
    ///
    /// ```
    /// # #[cfg(feature = "memory")]
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use scaleout::hub::{Hub, test::TestClient};
    /// # struct Quiz;
    /// # let backplane = scaleout::connect("memory:").await?;
    /// # let hub = Hub::builder(Quiz).build(&backplane).await?;
    /// let client = TestClient::connect(&hub).await?;
    /// client.on("Sum", |(a, b): (i32, i32)| Ok(a + b));
    /// let asked = hub.context().clients().client(client.connection_id());
    /// assert_eq!(asked.invoke::<i32>("Sum", (1, 2)).await?, 3);
    /// # Ok(())
    /// # }
    /// # #[cfg(not(feature = "memory"))]
    /// # fn main() {}
    /// ```
    pub fn on<A, R>(
        &self,
        method: impl AsRef<str>,
        handler: impl Fn(A) -> Result<R, String> + Send + Sync + 'static,
    ) where
        A: DeserializeOwned,
        R: Serialize,
    {
        self.line.handle(method.as_ref(), move |received| {
            let outcome = received
                .arguments()
                .map_err(|error| error.to_string())
                .and_then(&handler);
            if !received.awaits_result() {
                return;
            }
            let _ = match outcome {
                Ok(result) => received.answer(result),
                Err(error) => received.refuse(error),
            };
        });
    }

    /// The next invocation by the hub, in the order in which they came.
    ///
    /// # Errors
    ///
    /// [`TestError::Closed`] if none waits and the connection is over, [`TestError::TimedOut`].
    ///
    /// # Cancellation
    ///
    /// Safe: nothing is lost.
    pub async fn next(&self) -> Result<Received, TestError> {
        self.line.next("the next invocation", |_| true).await
    }

    /// The arguments of the next invocation of this client method, in upper or lower case, as a tuple.
    /// Invocations of others stay where they are.
    ///
    /// # Errors
    ///
    /// As [`next`](Self::next); [`TestError::Unreadable`] if the arguments are no `A`.
    ///
    /// # Cancellation
    ///
    /// Safe: nothing is lost.
    pub async fn receive<A: DeserializeOwned>(
        &self,
        method: impl AsRef<str>,
    ) -> Result<A, TestError> {
        self.receive_question(method).await?.arguments()
    }

    /// The next invocation of this client method, to be answered: [`Received::answer`].
    ///
    /// # Errors
    ///
    /// As [`next`](Self::next).
    ///
    /// # Cancellation
    ///
    /// Safe: nothing is lost.
    pub async fn receive_question(&self, method: impl AsRef<str>) -> Result<Received, TestError> {
        let method = method.as_ref();
        let wanted = |one: &str| one.eq_ignore_ascii_case(method);
        self.line.next(&format!("{method:?}"), wanted).await
    }

    /// The next invocation if one has come already.
    pub fn try_next(&self) -> Option<Received> {
        self.line.take(|_| true)
    }

    /// Waits until the hub ends the connection, and returns what it said.
    ///
    /// # Errors
    ///
    /// [`TestError::TimedOut`].
    ///
    /// # Cancellation
    ///
    /// Safe.
    pub async fn closed(&self) -> Result<Closed, TestError> {
        self.line.closed().await
    }

    /// Leaves, as a client does that has nothing more to say. When this returns, `on_disconnected` has
    /// run.
    ///
    /// # Errors
    ///
    /// [`TestError::TimedOut`].
    ///
    /// # Cancellation
    ///
    /// The client leaves all the same.
    pub async fn close(self) -> Result<(), TestError> {
        let goodbye = self.line.protocol.close(None, false);
        // A connection that is over already needs no goodbye.
        let _ = self.line.write(goodbye).await;
        self.line.connection.input().end(InputEnd::Closed);
        self.line.served().await
    }

    /// Is gone, as if its network were. When this returns, `on_disconnected` has run.
    ///
    /// # Errors
    ///
    /// [`TestError::TimedOut`].
    ///
    /// # Cancellation
    ///
    /// The connection is lost all the same.
    pub async fn lose(self) -> Result<(), TestError> {
        self.line.lose();
        self.line.served().await
    }
}

impl Drop for TestClient {
    fn drop(&mut self) {
        self.line.lose();
    }
}

impl fmt::Debug for TestClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestClient")
            .field("connection_id", self.connection_id())
            .finish_non_exhaustive()
    }
}
