//! [`Outgoing`]: a message to clients, encoded once for each protocol that some of them speak.

use std::sync::OnceLock;

use bytes::Bytes;

use crate::hub::protocol::{EncodeError, Protocol, Value};

/// An invocation of client methods. Connections that speak the same protocol share its bytes.
#[derive(Debug)]
pub(crate) struct Outgoing {
    target: String,
    arguments: [Option<Bytes>; Protocol::ALL.len()],
    units: [OnceLock<Bytes>; Protocol::ALL.len()],
}

impl Outgoing {
    /// Encodes the arguments in all protocols: which of them the clients of other nodes speak is not
    /// known here.
    pub(crate) fn new(
        target: &str,
        encode: impl Fn(Protocol) -> Result<Value, EncodeError>,
    ) -> Result<Self, EncodeError> {
        let mut arguments = [const { None }; Protocol::ALL.len()];
        for protocol in Protocol::ALL {
            arguments[protocol.index()] = Some(encode(protocol)?.as_bytes().clone());
        }
        Ok(Self::received(target.to_owned(), arguments))
    }

    pub(super) fn received(
        target: String,
        arguments: [Option<Bytes>; Protocol::ALL.len()],
    ) -> Self {
        Self {
            target,
            arguments,
            units: Default::default(),
        }
    }

    pub(super) fn target(&self) -> &str {
        &self.target
    }

    pub(super) fn arguments(&self) -> &[Option<Bytes>; Protocol::ALL.len()] {
        &self.arguments
    }

    /// The whole message in `protocol`; `None` if the node that sent it does not speak that.
    pub(super) fn unit(&self, protocol: Protocol) -> Option<&Bytes> {
        let arguments = self.arguments[protocol.index()].as_ref()?;
        Some(
            self.units[protocol.index()]
                .get_or_init(|| protocol.invocation(&self.target, arguments)),
        )
    }
}
