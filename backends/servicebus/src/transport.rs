//! What AMQP and HTTPS do alike: the backend over them is written once.

use bytes::Bytes;
use scaleout_core::Result;
use tokio::time::Instant;

/// A message that was sent to a topic.
#[derive(Debug)]
pub(crate) struct Outgoing {
    /// Identifies it for the service and its tools.
    pub(crate) id: String,
    pub(crate) body: Bytes,
}

/// A message as a subscription delivers it.
#[derive(Debug)]
pub(crate) struct Incoming {
    /// What the topic numbered it with (`EnqueuedSequenceNumber`): the same on every node.
    pub(crate) number: i64,
    /// What the subscription numbered it with (`SequenceNumber`): another one counts anew.
    pub(crate) sequence: i64,
    /// How often it was delivered before.
    pub(crate) deliveries: u32,
    pub(crate) body: Bytes,
}

/// What became of a message that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sent {
    /// The service has stored it.
    Stored,
    /// There is no such topic: it is not stored.
    NoTopic,
}

/// One way to the namespace. It never retries.
pub(crate) trait Transport: Send + Sync + 'static {
    /// A subscription that is being received from.
    type Receiver: Receiver;

    /// Opens what is needed unless it is open, and makes a round trip. A connection that died since
    /// is an error, once.
    fn probe(&self) -> impl Future<Output = Result<()>> + Send;

    /// Sends, and resolves once the service has answered. An error says truly whether the message may
    /// have been stored.
    fn send(&self, topic: &str, message: Outgoing) -> impl Future<Output = Result<Sent>> + Send;

    /// Begins to receive from a subscription. Resolves once the service has confirmed it: `None` if
    /// there is no such subscription, or no such topic.
    fn receive(
        &self,
        topic: &str,
        subscription: &str,
    ) -> impl Future<Output = Result<Option<Self::Receiver>>> + Send;

    /// Ends whatever is open, by the deadline whatever happens.
    fn close(&self, deadline: Instant) -> impl Future<Output = ()> + Send;
}

/// Messages of a subscription, each locked until it is completed.
pub(crate) trait Receiver: Send + 'static {
    /// What is needed to complete or renew a message that was received.
    type Lock: Send + 'static;

    /// The next message. Cancel-safe: nothing is taken before it is returned.
    fn next(&mut self) -> impl Future<Output = Result<(Incoming, Self::Lock)>> + Send;

    /// Another message, if one has come already.
    fn more(&mut self) -> Option<Result<(Incoming, Self::Lock)>> {
        None
    }

    /// Completes messages: they will not be delivered again.
    fn complete(&mut self, locks: Vec<Self::Lock>) -> impl Future<Output = Result<()>> + Send;

    /// Looks at the messages from `from` to `to`, as the subscription numbered them: those too that a
    /// connection took with it into its grave, which are locked for a while. `None` where the transport
    /// cannot: then they are waited for until their locks end.
    fn peek(
        &mut self,
        from: i64,
        to: i64,
    ) -> impl Future<Output = Result<Option<Vec<Incoming>>>> + Send;
}
