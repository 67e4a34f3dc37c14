//! Queues, topics and subscriptions, and everything that happens to messages in them.
//!
//! There is no clock, no socket and no task in here: the time is passed in, so that an hour takes no time in a test.

mod address;
mod duplicates;
mod error;
mod message;
mod namespace;
mod queue;
mod rule;
mod settings;
mod sql;

pub use self::{
    address::{Address, path},
    error::Refusal,
    message::{Content, Message, Property, System},
    namespace::{Counts, Namespace, Sent},
    queue::{Delivery, LockToken, MessageState, Mode, Outcome, dead_letter_reason},
    rule::{Correlation, Filter, Rule},
    settings::{NEVER, QueueSettings, Tier, TopicSettings},
    sql::Condition,
};
