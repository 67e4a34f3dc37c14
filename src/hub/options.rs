//! [`HubOptions`]: timers, limits and switches of a hub, with the defaults that clients expect.

use std::time::Duration;

use super::{protocol::Protocol, transport::Transport};
use crate::{Error, ErrorKind, Result};

/// Settings of a hub. The names and defaults are those of ASP.NET Core SignalR, so that what its
/// clients assume about a server holds here.
///
/// ```
/// # use {scaleout::hub::HubOptions, std::time::Duration};
/// let options = HubOptions::new()
///     .with_enable_detailed_errors(true)
///     .with_keep_alive_interval(Duration::from_secs(5));
/// assert_eq!(options.maximum_receive_message_size, Some(32_768));
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct HubOptions {
    /// How often a client is pinged, whether or not it was sent anything else. Its server timeout
    /// should be twice as long. Default: 15 s.
    pub keep_alive_interval: Duration,
    /// How long a client may stay silent before its connection is closed. Counts only for clients
    /// that have pinged once, and not while the hub is busy with the client's own invocations.
    /// Default: 30 s.
    pub client_timeout_interval: Duration,
    /// How long a client may take to send its handshake. Default: 15 s.
    pub handshake_timeout: Duration,
    /// The largest single message that a client may send, in bytes, its terminator included; `None`
    /// is unlimited. Many messages in one transport unit are not limited by this. Default: 32,768.
    pub maximum_receive_message_size: Option<usize>,
    /// How many invocations of one client may run at a time. With 1, they run in the order in which
    /// the client made them. Default: 1.
    pub maximum_parallel_invocations_per_client: usize,
    /// How many invocations of one client that stream, in either direction, may run at a time; they run
    /// beside the others. More are refused. Default: 100.
    pub maximum_streams_per_client: usize,
    /// Whether clients are told the type and text of every error, not only of a
    /// [`HubError`](super::HubError). Such texts can disclose what a client should not know.
    /// Default: false.
    pub enable_detailed_errors: bool,
    /// The oldest negotiate version that is accepted; the newest is 1. Default: 0.
    pub minimum_protocol_version: u32,
    /// Bytes that a client may send ahead of what the hub has processed before the transport stops
    /// reading from it. Default: 65,536.
    pub application_max_buffer_size: usize,
    /// Bytes waiting for one client above which that client's own invocations, and sends to that
    /// client alone, wait until it has read some. Default: 65,536.
    pub transport_max_buffer_size: usize,
    /// Bytes waiting for one client above which it is a slow consumer. Sends to many never wait
    /// for a client that reads too slowly; this bounds what it may cost. Default: 1 MiB.
    pub slow_consumer_buffer_size: usize,
    /// What happens to a slow consumer. Default: its connection is dropped.
    pub slow_consumer: SlowConsumer,
    /// How long a client may take nothing of what waits for it before its connection is dropped. The
    /// check for server-sent events is made every second; a client that polls is gone after
    /// [`disconnect_timeout`](Self::disconnect_timeout) if it does not come back. Default: 10 s.
    pub transport_send_timeout: Duration,
    /// How long to wait for a client's answer to a WebSocket close. Default: 5 s.
    pub web_sockets_close_timeout: Duration,
    /// How long a connection may exist without a transport. Default: 15 s.
    pub disconnect_timeout: Duration,
    /// How long a poll may wait for something to tell. Default: 90 s.
    pub long_polling_poll_timeout: Duration,
    /// The transports that clients may use. Default: all.
    pub transports: Vec<Transport>,
    /// The protocols that clients may speak. What is sent to clients is encoded in each of them, so
    /// all nodes of a hub should agree. Default: all.
    pub protocols: Vec<Protocol>,
    /// Items of a stream from a client that may wait for the method that reads it. Default: 10.
    pub stream_buffer_capacity: usize,
    /// Whether clients that ask for it may come back to their connection with another WebSocket, on
    /// the same node, and miss nothing. Default: false.
    pub allow_stateful_reconnects: bool,
    /// Bytes that wait for such a client's acknowledgment above which its own invocations, and sends
    /// to it alone, wait. Default: 100,000.
    pub stateful_reconnect_buffer_size: usize,
    /// Whether a connection ends when its user's authentication does
    /// ([`User::with_expiry`](super::User::with_expiry)). Default: false.
    pub close_on_authentication_expiration: bool,
    /// How often a node tells the others of its hub that it lives. Default: 3 s.
    pub node_heartbeat_interval: Duration,
    /// After how long a silent node counts as dead: its clients are gone then. Default: 10 s.
    pub node_timeout: Duration,
    /// How long a client may take to answer an invocation by the server. Default: 30 s.
    pub client_result_timeout: Duration,
    /// What a send does while the broker cannot be reached. Default: it waits.
    pub when_broker_down: WhenBrokerDown,
}

/// What happens to a client that reads too slowly.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum SlowConsumer {
    /// Its connection is dropped. It can come back, and resume.
    #[default]
    Disconnect,
    /// The oldest of what waits is left out; results and stream items never are. Clients that can
    /// reconnect statefully count what they get, so they are disconnected all the same.
    DropOldest,
}

/// What a send does while the broker cannot be reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum WhenBrokerDown {
    /// It waits until the broker is back, for as long as a publish may take
    /// ([`Options::publish_timeout`](crate::Options::publish_timeout)).
    #[default]
    Wait,
    /// It fails at once.
    Fail,
    /// It reaches the clients of this node alone. [`Sent::is_local`](super::Sent::is_local) says so,
    /// and the clients of other nodes never get it.
    DeliverLocally,
}

impl Default for HubOptions {
    fn default() -> Self {
        Self {
            keep_alive_interval: Duration::from_secs(15),
            client_timeout_interval: Duration::from_secs(30),
            handshake_timeout: Duration::from_secs(15),
            maximum_receive_message_size: Some(32_768),
            maximum_parallel_invocations_per_client: 1,
            maximum_streams_per_client: 100,
            enable_detailed_errors: false,
            minimum_protocol_version: 0,
            application_max_buffer_size: 65_536,
            transport_max_buffer_size: 65_536,
            slow_consumer_buffer_size: 1 << 20,
            transport_send_timeout: Duration::from_secs(10),
            web_sockets_close_timeout: Duration::from_secs(5),
            disconnect_timeout: Duration::from_secs(15),
            long_polling_poll_timeout: Duration::from_secs(90),
            transports: Transport::ALL.into(),
            protocols: Protocol::ALL.into(),
            slow_consumer: SlowConsumer::Disconnect,
            stream_buffer_capacity: 10,
            allow_stateful_reconnects: false,
            stateful_reconnect_buffer_size: 100_000,
            close_on_authentication_expiration: false,
            node_heartbeat_interval: Duration::from_secs(3),
            node_timeout: Duration::from_secs(10),
            client_result_timeout: Duration::from_secs(30),
            when_broker_down: WhenBrokerDown::Wait,
        }
    }
}

macro_rules! with {
    ($($(#[$doc:meta])* $with:ident $field:ident: $type:ty,)*) => {$(
        $(#[$doc])*
        #[must_use]
        pub fn $with(mut self, $field: $type) -> Self {
            self.$field = $field;
            self
        }
    )*};
}

impl HubOptions {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    with! {
        /// Sets [`keep_alive_interval`](Self::keep_alive_interval).
        with_keep_alive_interval keep_alive_interval: Duration,
        /// Sets [`client_timeout_interval`](Self::client_timeout_interval).
        with_client_timeout_interval client_timeout_interval: Duration,
        /// Sets [`handshake_timeout`](Self::handshake_timeout).
        with_handshake_timeout handshake_timeout: Duration,
        /// Sets [`maximum_receive_message_size`](Self::maximum_receive_message_size).
        with_maximum_receive_message_size maximum_receive_message_size: Option<usize>,
        /// Sets [`maximum_parallel_invocations_per_client`](Self::maximum_parallel_invocations_per_client).
        with_maximum_parallel_invocations_per_client maximum_parallel_invocations_per_client: usize,
        /// Sets [`maximum_streams_per_client`](Self::maximum_streams_per_client).
        with_maximum_streams_per_client maximum_streams_per_client: usize,
        /// Sets [`enable_detailed_errors`](Self::enable_detailed_errors).
        with_enable_detailed_errors enable_detailed_errors: bool,
        /// Sets [`minimum_protocol_version`](Self::minimum_protocol_version).
        with_minimum_protocol_version minimum_protocol_version: u32,
        /// Sets [`application_max_buffer_size`](Self::application_max_buffer_size).
        with_application_max_buffer_size application_max_buffer_size: usize,
        /// Sets [`transport_max_buffer_size`](Self::transport_max_buffer_size).
        with_transport_max_buffer_size transport_max_buffer_size: usize,
        /// Sets [`slow_consumer_buffer_size`](Self::slow_consumer_buffer_size).
        with_slow_consumer_buffer_size slow_consumer_buffer_size: usize,
        /// Sets [`transport_send_timeout`](Self::transport_send_timeout).
        with_transport_send_timeout transport_send_timeout: Duration,
        /// Sets [`web_sockets_close_timeout`](Self::web_sockets_close_timeout).
        with_web_sockets_close_timeout web_sockets_close_timeout: Duration,
        /// Sets [`disconnect_timeout`](Self::disconnect_timeout).
        with_disconnect_timeout disconnect_timeout: Duration,
        /// Sets [`slow_consumer`](Self::slow_consumer).
        with_slow_consumer slow_consumer: SlowConsumer,
        /// Sets [`long_polling_poll_timeout`](Self::long_polling_poll_timeout).
        with_long_polling_poll_timeout long_polling_poll_timeout: Duration,
        /// Sets [`stream_buffer_capacity`](Self::stream_buffer_capacity).
        with_stream_buffer_capacity stream_buffer_capacity: usize,
        /// Sets [`allow_stateful_reconnects`](Self::allow_stateful_reconnects).
        with_allow_stateful_reconnects allow_stateful_reconnects: bool,
        /// Sets [`stateful_reconnect_buffer_size`](Self::stateful_reconnect_buffer_size).
        with_stateful_reconnect_buffer_size stateful_reconnect_buffer_size: usize,
        /// Sets [`close_on_authentication_expiration`](Self::close_on_authentication_expiration).
        with_close_on_authentication_expiration close_on_authentication_expiration: bool,
        /// Sets [`node_heartbeat_interval`](Self::node_heartbeat_interval).
        with_node_heartbeat_interval node_heartbeat_interval: Duration,
        /// Sets [`node_timeout`](Self::node_timeout).
        with_node_timeout node_timeout: Duration,
        /// Sets [`client_result_timeout`](Self::client_result_timeout).
        with_client_result_timeout client_result_timeout: Duration,
        /// Sets [`when_broker_down`](Self::when_broker_down).
        with_when_broker_down when_broker_down: WhenBrokerDown,
    }

    /// Sets [`transports`](Self::transports).
    #[must_use]
    pub fn with_transports(mut self, transports: impl Into<Vec<Transport>>) -> Self {
        self.transports = transports.into();
        self
    }

    /// Sets [`protocols`](Self::protocols).
    #[must_use]
    pub fn with_protocols(mut self, protocols: impl Into<Vec<Protocol>>) -> Self {
        self.protocols = protocols.into();
        self
    }

    /// Checks what would make the hub useless.
    pub(super) fn validate(&self) -> Result<()> {
        let at_least_one = [
            (
                "maximum_parallel_invocations_per_client",
                self.maximum_parallel_invocations_per_client,
            ),
            (
                "application_max_buffer_size",
                self.application_max_buffer_size,
            ),
            ("transport_max_buffer_size", self.transport_max_buffer_size),
            ("slow_consumer_buffer_size", self.slow_consumer_buffer_size),
            ("stream_buffer_capacity", self.stream_buffer_capacity),
            (
                "stateful_reconnect_buffer_size",
                self.stateful_reconnect_buffer_size,
            ),
            ("transports (their number)", self.transports.len()),
            ("protocols (their number)", self.protocols.len()),
            (
                "maximum_receive_message_size",
                self.maximum_receive_message_size.unwrap_or(1),
            ),
        ];
        for (name, value) in at_least_one {
            if value == 0 {
                return Err(invalid(format!("hub option {name} must be at least 1")));
            }
        }
        let not_zero = [
            ("keep_alive_interval", self.keep_alive_interval),
            ("client_timeout_interval", self.client_timeout_interval),
            ("handshake_timeout", self.handshake_timeout),
            ("transport_send_timeout", self.transport_send_timeout),
            ("long_polling_poll_timeout", self.long_polling_poll_timeout),
            ("node_heartbeat_interval", self.node_heartbeat_interval),
            ("client_result_timeout", self.client_result_timeout),
        ];
        for (name, value) in not_zero {
            if value.is_zero() {
                return Err(invalid(format!("hub option {name} must be longer than 0")));
            }
        }
        if self.node_timeout <= self.node_heartbeat_interval {
            return Err(invalid(
                "hub option node_timeout must be longer than node_heartbeat_interval".into(),
            ));
        }
        if self.slow_consumer_buffer_size < self.transport_max_buffer_size {
            return Err(invalid(
                "hub option slow_consumer_buffer_size must not be less than transport_max_buffer_size".into(),
            ));
        }
        Ok(())
    }
}

fn invalid(message: String) -> Error {
    Error::new(ErrorKind::InvalidInput, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid() {
        HubOptions::new().validate().unwrap();
    }

    #[test]
    fn an_option_that_makes_no_sense_is_named() {
        let error = |options: HubOptions| options.validate().unwrap_err().to_string();
        assert!(
            error(HubOptions::new().with_keep_alive_interval(Duration::ZERO))
                .contains("keep_alive_interval")
        );
        assert!(
            error(HubOptions::new().with_slow_consumer_buffer_size(1))
                .contains("slow_consumer_buffer_size")
        );
    }
}
