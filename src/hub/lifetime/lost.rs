//! [`Lost`]: the broker says that clients of this node have missed something.

use std::{fmt, sync::Arc};

use super::{Heard, Lifetime, Outgoing, topics::Audience};
use crate::{
    Cursor, Error, ErrorKind, Position, Result, Topic,
    hub::clients::{self, Arguments},
};

/// Messages that clients of this node, which are connected, did not get and will not get any more.
///
/// See [`on_lost`](crate::hub::HubBuilder::on_lost).
pub struct Lost {
    lifetime: Lifetime,
    topic: Topic,
    audience: Audience,
    reason: LostReason,
    position: Position,
}

/// Why messages are lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LostReason {
    /// The broker has dropped them before this node could read them.
    Gap,
    /// The broker was wiped, or has fallen back to older data. Whether anything was lost is not known.
    Reset,
    /// They are there, and this version cannot read them.
    Unreadable,
}

impl Lost {
    /// The group whose messages they were; `None` if they were meant for somebody else.
    pub fn group(&self) -> Option<&str> {
        match &self.audience {
            Audience::Group(name) => Some(name),
            _ => None,
        }
    }

    /// The user whose messages they were; `None` if they were meant for somebody else.
    pub fn user(&self) -> Option<&str> {
        match &self.audience {
            Audience::User(id) => Some(id),
            _ => None,
        }
    }

    /// Whether everybody was to get them, or single connections of this node, of which nobody knows
    /// which.
    pub fn concerns_everybody(&self) -> bool {
        matches!(self.audience, Audience::All | Audience::Connections)
    }

    /// Why they are lost.
    pub fn reason(&self) -> LostReason {
        self.reason
    }

    /// The place after them. What follows is delivered, or can be read from there.
    pub fn cursor(&self) -> Cursor {
        Cursor::new(self.topic.clone(), self.position)
    }

    /// Invokes `method` on the clients of this node that missed something: the members of the group, the
    /// user's connections, or all. It stands in the place of what is lost, before everything newer. Clients
    /// that are being given older messages are left out: they learn of it as
    /// [`Resumed::complete`](crate::hub::Resumed::complete).
    ///
    /// The other nodes notice for themselves what they have lost.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](ErrorKind::InvalidInput) if the arguments cannot be serialized.
    #[expect(clippy::needless_pass_by_value, reason = "they are written as a tuple")]
    pub fn tell(&self, method: impl AsRef<str>, arguments: impl Arguments) -> Result<()> {
        let protocols = &self.lifetime.options().protocols;
        let encode = |protocol| clients::encode(&arguments, protocol);
        let message = Outgoing::new(method.as_ref(), protocols, encode).map_err(|error| {
            Error::new(ErrorKind::InvalidInput, "cannot serialize the arguments").with_source(error)
        })?;
        let manager = &self.lifetime.inner.manager;
        if self.concerns_everybody() {
            manager.deliver_to_all(&message, &[]);
        } else {
            manager.deliver_to_members(&self.topic, &message, &[]);
        }
        Ok(())
    }
}

impl fmt::Debug for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lost")
            .field("topic", &self.topic)
            .field("reason", &self.reason)
            .finish_non_exhaustive()
    }
}

/// What the application wants to do then.
pub(crate) type OnLost = Arc<dyn Fn(&Lost) + Send + Sync>;

impl Lifetime {
    /// Lets the application know what a topic has lost.
    pub(super) fn report_loss(&self, topic: &Topic, heard: &Heard<'_>) {
        let Heard::Lost(position, reason) = *heard else {
            return;
        };
        // The nodes' own messages concern no client: who waits for a reply asks anew.
        let (Some(on_lost), Some(audience)) =
            (&self.inner.on_lost, self.inner.topics.audience(topic))
        else {
            return;
        };
        on_lost(&Lost {
            lifetime: self.clone(),
            topic: topic.clone(),
            audience,
            reason,
            position,
        });
    }
}
