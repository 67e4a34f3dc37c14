//! The contract of `scaleout`, and what keeps it on every broker.
//!
//! Applications use the facade crate `scaleout`, which re-exports all of this. This crate is for
//! those who write a backend: implement [`Backend`], and the library does the rest.
//!
//! # Map
//!
//! | module | idea |
//! |---|---|
//! | `topic`, `position`, `cursor` | what things are called and where they stand |
//! | `message`, `frame` | what is published, and how it is stored |
//! | `backend`, `listener` | what a broker does for the library |
//! | `slot`, `secret` | what every backend needs: a connection opened by one for all, a password that does not show |
//! | `order` | sans-IO: order, repetitions, losses, epochs |
//! | `feed` | one log on one node: listener and history, through `order`, into the window |
//! | `window` | recent frames of a log; subscriptions read from it at their own pace |
//! | `publisher` | queue, frames, one in flight per log, retry |
//! | `link` | the one reconnect policy and the node's health |
//! | `backplane`, `subscription`, `event` | what an application holds in hand |
//! | `options`, `query` | settings, and how a URL spells them |

#![cfg_attr(docsrs, feature(doc_cfg))]

mod backend;
mod backplane;
mod cursor;
mod error;
mod event;
mod feed;
mod frame;
mod health;
mod history;
mod link;
mod listener;
mod message;
mod metrics;
mod node;
mod options;
#[doc(hidden)]
pub mod order;
mod position;
mod publisher;
mod query;
mod random;
mod secret;
mod slot;
mod subscription;
mod topic;
mod window;

pub use self::{
    backend::{
        AnyBackend, Appended, Backend, Capabilities, Connector, Durability, Page, StoredFrame,
    },
    backplane::{Backplane, NodeId},
    cursor::Cursor,
    error::{Error, ErrorKind, Outcome, Result},
    event::{Entry, Event, Gap, Head, Receipt, Reset, ResetReason, Start, Unreadable},
    frame::{EncodedFrame, Frame, FrameBuilder, FrameError, PublisherId},
    health::{Health, State},
    listener::{Arrival, Listener, ListenerSender},
    message::Message,
    options::{Options, Partitioning, WhenFull},
    position::{Epoch, Position, Sequence},
    query::{OptionValue, Query},
    secret::Secret,
    slot::{Alive, Slot},
    subscription::Subscription,
    topic::{Carries, LogName, Namespace, Topic},
};
