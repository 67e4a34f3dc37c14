//! Rules as the management node's requests and replies have them.

use serde_amqp::Value;

use crate::{
    clock::Moment,
    entity::{Condition, Correlation, Filter, Refusal, Rule},
};

use super::{
    message,
    performative::{describe, text},
    request::field,
};

const RULE: u64 = 0x137_0000_0004;
const NO_ACTION: u64 = 0x137_0000_0005;
const SQL: u64 = 0x13_7000_0006;
const TRUE: u64 = 0x13_7000_0007;
const FALSE: u64 = 0x13_7000_0008;
const CORRELATION: u64 = 0x13_7000_0009;

/// Reads a rule's description.
pub(super) fn read(name: &str, description: &Value) -> Result<Rule, Refusal> {
    if name.is_empty() {
        return Err(Refusal::Invalid("a rule needs a name".into()));
    }
    let action = field(field(description, "sql-rule-action"), "expression");
    if text(action).is_some_and(|action| !action.is_empty()) {
        return Err(Refusal::Invalid(
            "actions of rules are not supported".into(),
        ));
    }
    let sql = field(field(description, "sql-filter"), "expression");
    let correlation = field(description, "correlation-filter");
    let filter = if let Some(expression) = text(sql) {
        Filter::Sql(Condition::parse(expression)?)
    } else if matches!(correlation, Value::Map(_)) {
        let get = |name| text(field(correlation, name)).map(str::to_owned);
        Filter::Correlation(Box::new(Correlation {
            correlation_id: get("correlation-id"),
            message_id: get("message-id"),
            to: get("to"),
            reply_to: get("reply-to"),
            label: get("label"),
            session_id: get("session-id"),
            reply_to_session_id: get("reply-to-session-id"),
            content_type: get("content-type"),
            properties: match field(correlation, "properties") {
                Value::Map(map) => message::properties(map),
                _ => Default::default(),
            },
        }))
    } else {
        Filter::True
    };
    Ok(Rule {
        name: name.into(),
        filter,
    })
}

/// Describes a rule: filter, action, name, when it was made.
pub(super) fn write(rule: &Rule) -> Value {
    let filter = match &rule.filter {
        Filter::True => describe(TRUE, Vec::new()),
        Filter::False => describe(FALSE, Vec::new()),
        Filter::Sql(condition) => describe(
            SQL,
            vec![Value::String(condition.text().into()), Value::Int(20)],
        ),
        Filter::Correlation(filter) => correlation(filter),
    };
    let action = describe(NO_ACTION, Vec::new());
    let name = Value::String(rule.name.clone());
    describe(
        RULE,
        vec![filter, action, name, message::timestamp(Moment::default())],
    )
}

fn correlation(filter: &Correlation) -> Value {
    let string = |text: &Option<String>| text.clone().map_or(Value::Null, Value::String);
    let properties = filter.properties.iter();
    let named = properties
        .map(|(name, value)| (Value::String(name.clone()), message::property_value(value)));
    describe(
        CORRELATION,
        vec![
            string(&filter.correlation_id),
            string(&filter.message_id),
            string(&filter.to),
            string(&filter.reply_to),
            string(&filter.label),
            string(&filter.session_id),
            string(&filter.reply_to_session_id),
            string(&filter.content_type),
            Value::Map(named.collect()),
        ],
    )
}
