//! What a link can be attached to.

use crate::{
    entity::{Address, path},
    sas::Rights,
};

/// The far end of a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Node {
    /// Where tokens are sent to.
    Cbs,
    /// The management node of an entity.
    Management(Address),
    /// A queue, topic or subscription, in one life of it.
    Entity { address: Address, life: u64 },
}

impl Node {
    /// The node that an address names. Whether the entity is there is not looked at.
    pub(super) fn named(text: &str) -> Option<Self> {
        if path(text).eq_ignore_ascii_case("$cbs") {
            return Some(Self::Cbs);
        }
        let address = Address::parse(text)?;
        if address.management {
            return Some(Self::Management(address.entity()));
        }
        Some(Self::Entity { address, life: 0 })
    }

    /// The path that a token must cover, unless everybody may come.
    pub(super) fn path(&self) -> Option<String> {
        match self {
            Self::Cbs => None,
            // A token for the node alone is enough: the JavaScript SDK gets one.
            Self::Management(address) => Some(format!("{address}/$management")),
            Self::Entity { address, .. } => Some(address.to_string()),
        }
    }

    /// Whether these rights are enough to send to it, or to receive from it.
    pub(super) fn allows(&self, rights: Rights, sends: bool) -> bool {
        match self {
            Self::Cbs => true,
            Self::Management(_) => rights.send || rights.listen,
            Self::Entity { .. } if sends => rights.send,
            Self::Entity { .. } => rights.listen,
        }
    }
}
