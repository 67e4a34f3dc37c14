//! The management node of an entity: everything that is not sending, receiving and settling.

use bytes::Bytes;
use serde_amqp::{
    Value,
    primitives::{Array, Uuid},
};

use crate::{
    entity::{
        Address, Delivery, LockToken, Message, Namespace, Outcome, Refusal, dead_letter_reason,
    },
    faults::BUSY,
};

use super::{
    attach::refusal_error,
    connection::Connection,
    message,
    performative::text,
    request::{Request, field, items, map_of, number},
    rules,
    settle::set,
};

/// Messages that one request may peek.
const MAX_PEEK: u64 = 1_000;

/// Bytes of messages that one reply may bring: as much as the service's frames hold.
const MAX_PEEK_BYTES: usize = 256 * 1024;

type Answer = Result<Option<Value>, Refused>;

enum Refused {
    By(Refusal),
    /// Status, condition and description.
    With(i32, &'static str, String),
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self::By(refusal)
    }
}

/// Does what the request asks for.
pub(super) fn answer(connection: &Connection, address: &Address, request: &Request) -> Bytes {
    let (status, condition, description, body) = match perform(connection, address, request) {
        Ok(Some(body)) => (200, None, "OK".into(), Some(body)),
        Ok(None) => (204, None, "No content".into(), None),
        Err(Refused::With(status, condition, why)) => {
            (status, Some(condition.to_owned()), why, None)
        }
        Err(Refused::By(refusal)) => {
            let condition = serde_amqp::to_value(&refusal_error(&refusal).condition).ok();
            let condition = condition.as_ref().and_then(text).map(str::to_owned);
            (status(&refusal), condition, refusal.to_string(), None)
        }
    };
    let mut properties = vec![
        ("statusCode", Value::Int(status)),
        ("statusDescription", Value::String(description)),
    ];
    if let Some(condition) = condition {
        properties.push(("errorCondition", message::symbol(&condition)));
    }
    request.reply(properties, body)
}

fn perform(connection: &Connection, address: &Address, request: &Request) -> Answer {
    let broker = &connection.broker;
    if !broker.faults.pay(1) {
        return Err(Refused::With(503, "com.microsoft:server-busy", BUSY.into()));
    }
    let operation = request.property("operation").unwrap_or_default();
    let operation = operation
        .strip_prefix("com.microsoft:")
        .unwrap_or(operation);
    let node = format!("{address}/$management");
    let rights = connection.claims.at(&node, broker.now());
    let allowed = match operation {
        "schedule-message" | "cancel-scheduled-message" => rights.send,
        "add-rule" | "remove-rule" => rights.manage,
        _ => rights.listen,
    };
    if !allowed {
        let why = format!("The claims do not allow {operation} on '{address}'.");
        return Err(Refused::With(401, "amqp:unauthorized-access", why));
    }
    broker.with(|namespace, now| match operation {
        "renew-lock" => {
            let tokens = tokens(request)?;
            let renewed: Result<Vec<_>, _> = tokens
                .iter()
                .map(|token| namespace.renew(now, address, token))
                .collect();
            let expirations = renewed?.into_iter().map(message::timestamp).collect();
            Ok(Some(map_of(vec![(
                "expirations",
                Value::Array(Array(expirations)),
            )])))
        }
        "update-disposition" => {
            let outcome = outcome(request)?;
            for token in tokens(request)? {
                namespace.settle(now, address, &token, outcome.clone())?;
            }
            Ok(Some(map_of(Vec::new())))
        }
        "peek-message" => {
            let from = number(request.field("from-sequence-number")).unwrap_or(0);
            let count = number(request.field("message-count"))
                .unwrap_or(1)
                .min(MAX_PEEK);
            let found = namespace.peek(now, address, from, usize::try_from(count).unwrap_or(1))?;
            Ok(messages(&found))
        }
        "receive-by-sequence-number" => {
            let numbers = numbers(request);
            // Mode 0 is receive and delete, 1 is peek-lock.
            let delete = number(request.field("receiver-settle-mode")) == Some(0);
            Ok(messages(
                &namespace.receive_deferred(now, address, &numbers, delete)?,
            ))
        }
        "schedule-message" => {
            let sent = namespace.send(now, address, scheduled(request)?)?;
            let numbers = sent.numbers.into_iter().map(message::long).collect();
            Ok(Some(map_of(vec![(
                "sequence-numbers",
                Value::Array(Array(numbers)),
            )])))
        }
        "cancel-scheduled-message" => {
            namespace.cancel(address, &numbers(request))?;
            Ok(Some(map_of(Vec::new())))
        }
        "add-rule" => {
            let name = text(request.field("rule-name")).unwrap_or_default();
            let rule = rules::read(name, request.field("rule-description"))?;
            namespace.add_rule(address, rule)?;
            Ok(Some(map_of(Vec::new())))
        }
        "remove-rule" => {
            let name = text(request.field("rule-name")).unwrap_or_default();
            namespace.remove_rule(address, name)?;
            Ok(Some(map_of(Vec::new())))
        }
        "enumerate-rules" => enumerate(namespace, address, request),
        _ => {
            let why = format!("The operation {operation} is not supported.");
            Err(Refused::With(501, "amqp:not-implemented", why))
        }
    })
}

fn enumerate(namespace: &mut Namespace, address: &Address, request: &Request) -> Answer {
    let count = |name| number(request.field(name)).and_then(|count| usize::try_from(count).ok());
    let all = namespace
        .rules(address)?
        .iter()
        .skip(count("skip").unwrap_or(0));
    let found: Vec<_> = all
        .take(count("top").unwrap_or(usize::MAX))
        .map(|rule| map_of(vec![("rule-description", rules::write(rule))]))
        .collect();
    if found.is_empty() {
        return Ok(None);
    }
    Ok(Some(map_of(vec![("rules", Value::List(found))])))
}

/// Messages in a reply; nothing if there are none.
fn messages(found: &[Delivery]) -> Option<Value> {
    let mut bytes = 0;
    let mut entries = Vec::new();
    for delivery in found {
        let message = message::write(delivery);
        bytes += message.len();
        if bytes > MAX_PEEK_BYTES && !entries.is_empty() && delivery.lock.is_none() {
            break;
        }
        let mut entry = vec![("message", Value::Binary(message.into()))];
        if let Some((token, _)) = delivery.lock {
            entry.push(("lock-token", Value::Uuid(Uuid::from(token))));
        }
        entries.push(map_of(entry));
    }
    (!entries.is_empty()).then(|| map_of(vec![("messages", Value::List(entries))]))
}

fn scheduled(request: &Request) -> Result<Vec<Message>, Refused> {
    let malformed = || {
        Refused::By(Refusal::Invalid(
            "a scheduled message cannot be read".into(),
        ))
    };
    let entries = items(request.field("messages")).iter();
    let read = entries.map(|entry| match field(entry, "message") {
        Value::Binary(bytes) => message::read_one(&bytes.to_vec().into()).map_err(|_| malformed()),
        _ => Err(malformed()),
    });
    read.collect()
}

fn tokens(request: &Request) -> Result<Vec<LockToken>, Refused> {
    let tokens = items(request.field("lock-tokens")).iter();
    let read = tokens.map(|token| match token {
        Value::Uuid(uuid) => Ok(*uuid.as_inner()),
        _ => Err(Refused::By(Refusal::Invalid(
            "a lock token is not a UUID".into(),
        ))),
    });
    read.collect()
}

fn numbers(request: &Request) -> Vec<u64> {
    items(request.field("sequence-numbers"))
        .iter()
        .filter_map(number)
        .collect()
}

fn outcome(request: &Request) -> Result<Outcome, Refusal> {
    let mut set = set(request.field("properties-to-modify"));
    Ok(
        match text(request.field("disposition-status")).unwrap_or_default() {
            "completed" => Outcome::Complete,
            "abandoned" => Outcome::Abandon(set),
            // The service spells it like this.
            "defered" => Outcome::Defer(set),
            "suspended" => {
                let told = |name| text(request.field(name)).unwrap_or_default();
                set.extend(dead_letter_reason(
                    told("deadletter-reason"),
                    told("deadletter-description"),
                ));
                Outcome::DeadLetter(set)
            }
            other => {
                return Err(Refusal::Invalid(format!(
                    "the disposition '{other}' is not known"
                )));
            }
        },
    )
}

fn status(refusal: &Refusal) -> i32 {
    match refusal {
        Refusal::NotFound(_) => 404,
        Refusal::Exists(_) => 409,
        Refusal::LockLost => 410,
        Refusal::TooLarge(_) | Refusal::Invalid(_) => 400,
        Refusal::Quota(_) => 403,
    }
}
