//! [`HubOptions`]: timers, limits and switches of a hub, with the defaults that clients expect.

use std::time::Duration;

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
    /// Bytes waiting for one client above which its connection is dropped. Sends to many never wait
    /// for a client that reads too slowly; this bounds what it may cost. Default: 1 MiB.
    pub slow_consumer_buffer_size: usize,
    /// How long a single write to a client may take before its connection is dropped.
    /// Default: 10 s.
    pub transport_send_timeout: Duration,
    /// How long to wait for a client's answer to a WebSocket close. Default: 5 s.
    pub web_sockets_close_timeout: Duration,
    /// How long a connection may exist without a transport. Default: 15 s.
    pub disconnect_timeout: Duration,
}

impl Default for HubOptions {
    fn default() -> Self {
        Self {
            keep_alive_interval: Duration::from_secs(15),
            client_timeout_interval: Duration::from_secs(30),
            handshake_timeout: Duration::from_secs(15),
            maximum_receive_message_size: Some(32_768),
            maximum_parallel_invocations_per_client: 1,
            enable_detailed_errors: false,
            minimum_protocol_version: 0,
            application_max_buffer_size: 65_536,
            transport_max_buffer_size: 65_536,
            slow_consumer_buffer_size: 1 << 20,
            transport_send_timeout: Duration::from_secs(10),
            web_sockets_close_timeout: Duration::from_secs(5),
            disconnect_timeout: Duration::from_secs(15),
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
        ];
        for (name, value) in not_zero {
            if value.is_zero() {
                return Err(invalid(format!("hub option {name} must be longer than 0")));
            }
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
