//! [`Outgoing`]: a message to clients, encoded once for each protocol that some of them speak.

use std::sync::OnceLock;

use bytes::Bytes;

use crate::{
    Cursor,
    hub::protocol::{EncodeError, Protocol, Value},
};

/// The array of arguments, by [`Protocol::index`].
pub(crate) type Arguments = [Option<Bytes>; Protocol::ALL.len()];

/// An invocation of client methods. Connections that speak the same protocol share its bytes.
#[derive(Debug)]
pub(crate) struct Outgoing {
    target: String,
    arguments: Arguments,
    units: [OnceLock<Bytes>; Protocol::ALL.len()],
    /// Where the message stands in its topic, for clients that resume there.
    cursor: Option<Cursor>,
    units_with_cursor: [OnceLock<Bytes>; Protocol::ALL.len()],
}

impl Outgoing {
    /// Encodes the arguments in each of the protocols: which of them the clients of other nodes speak
    /// is not known here.
    pub(crate) fn new(
        target: &str,
        protocols: &[Protocol],
        encode: impl Fn(Protocol) -> Result<Value, EncodeError>,
    ) -> Result<Self, EncodeError> {
        let mut arguments = [const { None }; Protocol::ALL.len()];
        for protocol in protocols {
            arguments[protocol.index()] = Some(encode(*protocol)?.as_bytes().clone());
        }
        Ok(Self::received(target.to_owned(), arguments, None))
    }

    pub(super) fn received(target: String, arguments: Arguments, cursor: Option<Cursor>) -> Self {
        Self {
            target,
            arguments,
            units: Default::default(),
            cursor,
            units_with_cursor: Default::default(),
        }
    }

    pub(super) fn target(&self) -> &str {
        &self.target
    }

    pub(super) fn arguments(&self) -> &Arguments {
        &self.arguments
    }

    /// The whole message in `protocol`; `None` if the node that sent it does not speak that.
    pub(super) fn unit(&self, protocol: Protocol) -> Option<&Bytes> {
        let arguments = self.arguments[protocol.index()].as_ref()?;
        Some(
            self.units[protocol.index()]
                .get_or_init(|| protocol.invocation(None, &self.target, arguments)),
        )
    }

    /// The same, with its cursor as an additional last argument.
    pub(super) fn unit_with_cursor(&self, protocol: Protocol) -> Option<&Bytes> {
        let Some(cursor) = &self.cursor else {
            return self.unit(protocol);
        };
        let arguments = self.arguments[protocol.index()].as_ref()?;
        Some(self.units_with_cursor[protocol.index()].get_or_init(|| {
            match protocol.value(&cursor.to_string()) {
                Ok(cursor) => {
                    let arguments = protocol.with_argument(arguments, &cursor);
                    protocol.invocation(None, &self.target, &arguments)
                }
                // Text can be written in every protocol.
                Err(_) => protocol.invocation(None, &self.target, arguments),
            }
        }))
    }

    /// The message as a question of this id.
    pub(super) fn question(&self, protocol: Protocol, id: &str) -> Option<Bytes> {
        let arguments = self.arguments[protocol.index()].as_ref()?;
        Some(protocol.invocation(Some(id), &self.target, arguments))
    }
}
