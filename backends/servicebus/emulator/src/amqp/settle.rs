//! Dispositions: what clients decide about the messages that they were sent.

use fe2o3_amqp_types::definitions::Role;
use serde_amqp::Value;

use crate::entity::{Outcome, Property, dead_letter_reason};

use super::{
    attach::refusal_error,
    connection::Connection,
    message,
    performative::{Disposition, describe, described, text},
    session::Unsettled,
};

impl Connection {
    /// Settles what the client decided about, and answers, also where it settled first: the older SDKs wait
    /// for the answer all the same.
    pub(super) fn settle(&mut self, channel: u16, disposition: &Disposition) {
        let Some(session) = self.sessions.get_mut(&channel) else {
            return;
        };
        let (first, last) = (
            disposition.first,
            disposition.last.unwrap_or(disposition.first),
        );
        if last < first {
            return;
        }
        let Some((outcome, answer)) = decided(disposition) else {
            return;
        };
        let ids: Vec<u32> = session
            .unsettled
            .range(first..=last)
            .map(|(id, _)| *id)
            .collect();
        if ids.is_empty() {
            if !disposition.settled {
                session.put_disposition(Role::Sender, first, last, lock_lost(), &mut self.output);
            }
            return;
        }
        // Answers of one kind to deliveries in a row go together.
        let mut run: Option<(u32, u32, Value)> = None;
        for id in ids {
            let Some(Unsettled { address, token, .. }) = session.unsettled.remove(&id) else {
                continue;
            };
            let outcome = outcome.clone();
            let settled = self
                .broker
                .with(|namespace, now| namespace.settle(now, &address, &token, outcome));
            let state = match settled {
                Ok(()) => answer.clone(),
                Err(_) => lock_lost(),
            };
            match &mut run {
                Some((_, last, before)) if last.wrapping_add(1) == id && *before == state => {
                    *last = id;
                }
                _ => {
                    if let Some((first, last, state)) = run.replace((id, id, state)) {
                        session.put_disposition(Role::Sender, first, last, state, &mut self.output);
                    }
                }
            }
        }
        if let Some((first, last, state)) = run {
            session.put_disposition(Role::Sender, first, last, state, &mut self.output);
        }
    }
}

/// What a disposition decides, and the state that answers it.
fn decided(disposition: &Disposition) -> Option<(Outcome, Value)> {
    let Some(state) = &disposition.state else {
        // Settled without an outcome: the client is done with it, but did not take it.
        return disposition
            .settled
            .then(|| (Outcome::Release, describe(0x26, Vec::new())));
    };
    let (code, fields) = described(state)?;
    let outcome = match code {
        0x24 => Outcome::Complete,
        0x25 => {
            // The answer has no error: the Python SDK would take it for one.
            let outcome = Outcome::DeadLetter(reason(fields.first()));
            return Some((outcome, describe(0x25, Vec::new())));
        }
        0x26 => Outcome::Release,
        0x27 => {
            let set = fields.get(2).map(set).unwrap_or_default();
            match fields.get(1) {
                Some(Value::Bool(true)) => Outcome::Defer(set),
                _ => Outcome::Abandon(set),
            }
        }
        _ => return None,
    };
    Some((outcome, state.clone()))
}

/// Why a message was rejected. The SDKs say it in the error's map; others in the error itself.
fn reason(error: Option<&Value>) -> Vec<(String, Property)> {
    let Some((_, fields)) = error.and_then(any_described) else {
        return Vec::new();
    };
    let told = fields.get(2).map(set).unwrap_or_default();
    if !told.is_empty() {
        return told;
    }
    let field = |index: usize| fields.get(index).and_then(text).unwrap_or_default();
    dead_letter_reason(field(0), field(1))
}

fn any_described(value: &Value) -> Option<(u64, &[Value])> {
    match value {
        Value::Described(inner) => match &inner.value {
            Value::List(fields) => Some((0, fields)),
            _ => None,
        },
        _ => None,
    }
}

/// Properties to set on a message, from a map with keys of whatever kind.
pub(super) fn set(map: &Value) -> Vec<(String, Property)> {
    match map {
        Value::Map(map) => message::properties(map).into_iter().collect(),
        _ => Vec::new(),
    }
}

fn lock_lost() -> Value {
    let error = refusal_error(&crate::entity::Refusal::LockLost);
    // An error is a plain structure that becomes a value.
    describe(
        0x25,
        vec![serde_amqp::to_value(&error).unwrap_or(Value::Null)],
    )
}
