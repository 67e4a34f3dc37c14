//! Messages over HTTP: send, receive, settle, one request each.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Method, Response, StatusCode, header};
use serde::Deserialize;
use serde_json::{Value, json};
use time::{OffsetDateTime, format_description::well_known::Rfc2822};
use tokio::{sync::Notify, time::Instant};

use crate::{
    amqp::{body_bytes, content},
    broker::Broker,
    clock::Moment,
    entity::{
        Address, Delivery, LockToken, Message, MessageState, Outcome, Property, Refusal, System,
    },
    sas::Rights,
};

use super::{
    Call,
    answer::{Answer, Failure, empty, error, refused},
};

/// How long a receiver waits that does not say how long.
const WAIT: Duration = Duration::from_secs(60);

/// Many messages in one request.
const BATCH: &str = "application/vnd.microsoft.servicebus.json";

/// Headers that are no properties of a message.
const NO_PROPERTIES: [&str; 14] = [
    "accept",
    "accept-encoding",
    "accept-language",
    "authorization",
    "brokerproperties",
    "connection",
    "content-length",
    "content-type",
    "date",
    "expect",
    "host",
    "te",
    "transfer-encoding",
    "user-agent",
];

/// Splits a path into entity and what follows `messages`, if that is there.
pub(super) fn split(path: &str) -> Option<(&str, &str)> {
    let at = path.to_ascii_lowercase().find("/messages")?;
    let rest = &path[at + "/messages".len()..];
    (rest.is_empty() || rest.starts_with('/')).then(|| (&path[..at], rest.trim_matches('/')))
}

pub(super) async fn perform(call: &Call, rights: Rights, entity: &str, rest: &str) -> Answer {
    let address = Address::parse(entity);
    let address =
        address.ok_or_else(|| Refusal::NotFound(format!("the messaging entity '{entity}'")))?;
    match (call.method.as_str(), rest.split_once('/')) {
        ("POST", None) if rest.is_empty() => {
            if !rights.send {
                return Err(refused("Send"));
            }
            send(call, &address)
        }
        _ if !rights.listen => Err(refused("Listen")),
        ("POST" | "DELETE", None) if rest.eq_ignore_ascii_case("head") => {
            receive(call, &address).await
        }
        (method @ ("DELETE" | "PUT" | "POST"), Some((_, token))) => {
            let token = read_token(token).ok_or(Refusal::LockLost)?;
            call.broker.with(|namespace, now| match method {
                "DELETE" => namespace.settle(now, &address, &token, Outcome::Complete),
                "PUT" => namespace.settle(now, &address, &token, Outcome::Abandon(Vec::new())),
                _ => namespace.renew(now, &address, &token).map(|_| ()),
            })?;
            Ok(empty(StatusCode::OK))
        }
        _ => Err(error(
            StatusCode::METHOD_NOT_ALLOWED,
            "There is no such operation on messages.",
        )),
    }
}

fn send(call: &Call, to: &Address) -> Answer {
    let invalid = |why: &dyn std::fmt::Display| {
        error(
            StatusCode::BAD_REQUEST,
            &format!("The message is not valid: {why}."),
        )
    };
    let content_type = call.header("content-type");
    let messages = if content_type.is_some_and(|is| is.starts_with(BATCH)) {
        let batch: Vec<Batched> =
            serde_json::from_slice(&call.body).map_err(|error| invalid(&error))?;
        batch.into_iter().map(Batched::message).collect()
    } else {
        let broker: BrokerProperties = match call.header("brokerproperties") {
            Some(text) => serde_json::from_str(text).map_err(|error| invalid(&error))?,
            None => BrokerProperties::default(),
        };
        let headers = call
            .headers
            .iter()
            .filter(|(name, _)| !NO_PROPERTIES.contains(&name.as_str()));
        let properties = headers.filter_map(|(name, value)| {
            let text = value.to_str().ok()?;
            // Text is quoted; what is not, and is no number or boolean, is taken for text all the same.
            let value = serde_json::from_str(text).unwrap_or_else(|_| text.into());
            Some((name.as_str().to_owned(), property(value)))
        });
        vec![broker.message(content_type, properties.collect(), &call.body)]
    };
    let sent = call
        .broker
        .with(|namespace, now| namespace.send(now, to, messages))?;
    call.broker.faults.charge(sent.rules);
    if call.broker.faults.takes_unanswered() {
        return Err(Failure::Unanswered);
    }
    Ok(empty(StatusCode::CREATED))
}

async fn receive(call: &Call, from: &Address) -> Answer {
    let seconds = call
        .query("timeout")
        .and_then(|seconds| seconds.parse().ok());
    let until = Instant::now() + seconds.map_or(WAIT, Duration::from_secs).min(WAIT);
    let delete = call.method == Method::DELETE;
    // Watched first and looked at afterwards: nothing comes in between.
    let watch = Watch::new(&call.broker, from);
    loop {
        // It may have begun to stand still since this was asked for.
        call.broker.faults.running().await;
        let received = call
            .broker
            .with(|namespace, now| namespace.receive(now, from, delete))?;
        if let Some(delivery) = received {
            return Ok(delivered(call, from, &delivery));
        }
        if tokio::time::timeout_at(until, watch.waker.notified())
            .await
            .is_err()
        {
            return Ok(empty(StatusCode::NO_CONTENT));
        }
    }
}

/// Being woken when there may be something; it ends when it is dropped, as when the client goes away.
struct Watch<'a> {
    broker: &'a Broker,
    address: &'a Address,
    id: u64,
    waker: Arc<Notify>,
}

impl<'a> Watch<'a> {
    fn new(broker: &'a Broker, address: &'a Address) -> Self {
        let (id, waker) = (broker.next_connection(), Arc::default());
        broker.watch(address, id, &waker);
        Self {
            broker,
            address,
            id,
            waker,
        }
    }
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        self.broker.unwatch(self.address, self.id);
    }
}

fn delivered(call: &Call, from: &Address, delivery: &Delivery) -> Response<Full<Bytes>> {
    let message = &delivery.message;
    // A message is taken off the queue here: one whose body cannot be shown is shown without.
    let body = body_bytes(&message.content).unwrap_or_default();
    let mut response = Response::new(Full::new(body));
    let mut properties = json!({
        "DeliveryCount": delivery.delivery_count + 1,
        "EnqueuedSequenceNumber": delivery.enqueue_number,
        "EnqueuedTimeUtc": rfc1123(delivery.enqueued_at),
        "SequenceNumber": delivery.sequence,
        "State": match delivery.state {
            MessageState::Active => "Active",
            MessageState::Deferred => "Deferred",
            MessageState::Scheduled => "Scheduled",
        },
    });
    let system = &message.system;
    for (name, value) in [
        ("MessageId", &system.message_id),
        ("CorrelationId", &system.correlation_id),
        ("Label", &system.label),
        ("ReplyTo", &system.reply_to),
        ("ReplyToSessionId", &system.reply_to_session_id),
        ("SessionId", &system.session_id),
        ("To", &system.to),
    ] {
        if let Some(value) = value {
            properties[name] = value.as_str().into();
        }
    }
    if let Some(ttl) = message.time_to_live {
        properties["TimeToLive"] = ttl.as_secs_f64().into();
    }
    let status = match delivery.lock {
        Some((token, until)) => {
            let token = write_token(&token);
            let base = call.base();
            let location = format!("{base}/{from}/messages/{}/{token}", delivery.sequence);
            put(&mut response, "location", &location);
            properties["LockToken"] = token.into();
            properties["LockedUntilUtc"] = rfc1123(until).into();
            StatusCode::CREATED
        }
        None => StatusCode::OK,
    };
    *response.status_mut() = status;
    put(&mut response, "brokerproperties", &ascii(&properties));
    if let Some(content_type) = &system.content_type {
        put(&mut response, header::CONTENT_TYPE.as_str(), content_type);
    }
    let own = message.properties.iter();
    for (name, value) in own.chain(delivery.overrides.iter().map(|(name, value)| (name, value))) {
        put(&mut response, name, &ascii(&json_value(value)));
    }
    response
}

/// Adds a header, unless it cannot be one.
fn put(response: &mut Response<Full<Bytes>>, name: &str, value: &str) {
    let name = header::HeaderName::from_bytes(name.as_bytes());
    if let (Ok(name), Ok(value)) = (name, value.parse()) {
        response.headers_mut().insert(name, value);
    }
}

/// JSON in which only ASCII stands, as headers want it.
fn ascii(value: &Value) -> String {
    let mut text = String::new();
    for c in value.to_string().chars() {
        if c.is_ascii() {
            text.push(c);
            continue;
        }
        for unit in c.encode_utf16(&mut [0; 2]) {
            text.push_str(&format!("\\u{unit:04x}"));
        }
    }
    text
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct BrokerProperties {
    message_id: Option<String>,
    correlation_id: Option<String>,
    session_id: Option<String>,
    label: Option<String>,
    to: Option<String>,
    reply_to: Option<String>,
    reply_to_session_id: Option<String>,
    /// Seconds.
    time_to_live: Option<f64>,
    /// A date of RFC 1123.
    scheduled_enqueue_time_utc: Option<String>,
}

impl BrokerProperties {
    fn message(
        self,
        content_type: Option<&str>,
        properties: BTreeMap<String, Property>,
        body: &[u8],
    ) -> Message {
        let system = System {
            message_id: self.message_id,
            correlation_id: self.correlation_id,
            to: self.to,
            reply_to: self.reply_to,
            label: self.label,
            session_id: self.session_id,
            reply_to_session_id: self.reply_to_session_id,
            content_type: content_type.map(str::to_owned),
        };
        let scheduled = self.scheduled_enqueue_time_utc.and_then(|text| {
            let at = OffsetDateTime::parse(&text.replace("GMT", "+0000"), &Rfc2822).ok()?;
            Some(Moment::from_millis(
                at.unix_timestamp().saturating_mul(1_000),
            ))
        });
        Message {
            content: content(&system, &properties, body),
            system,
            properties,
            time_to_live: self
                .time_to_live
                .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()),
            scheduled_at: scheduled,
        }
    }
}

/// One message of a batch.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Batched {
    body: String,
    #[serde(default)]
    broker_properties: BrokerProperties,
    #[serde(default)]
    user_properties: BTreeMap<String, Value>,
}

impl Batched {
    fn message(self) -> Message {
        let properties = self
            .user_properties
            .into_iter()
            .map(|(name, value)| (name, property(value)));
        self.broker_properties
            .message(None, properties.collect(), self.body.as_bytes())
    }
}

fn property(value: Value) -> Property {
    match value {
        Value::Null => Property::Null,
        Value::Bool(value) => Property::Bool(value),
        Value::Number(number) => match number.as_i64() {
            Some(number) => Property::Int(number),
            None => Property::Float(number.as_f64().unwrap_or_default()),
        },
        Value::String(text) => Property::Text(text),
        other => Property::Text(other.to_string()),
    }
}

fn json_value(property: &Property) -> Value {
    match property {
        Property::Null => Value::Null,
        Property::Bool(value) => (*value).into(),
        Property::Int(value) => (*value).into(),
        Property::Float(value) => (*value).into(),
        Property::Text(text) => text.as_str().into(),
        Property::Binary(bytes) => String::from_utf8_lossy(bytes).into(),
        Property::Time(at) => rfc1123(*at).into(),
        Property::Uuid(bytes) => write_token(bytes).into(),
    }
}

fn rfc1123(at: Moment) -> String {
    let date = OffsetDateTime::from_unix_timestamp(at.millis() / 1_000)
        .unwrap_or(OffsetDateTime::UNIX_EPOCH);
    date.format(&Rfc2822)
        .unwrap_or_default()
        .replace("+0000", "GMT")
}

fn write_token(token: &LockToken) -> String {
    let hex = format!("{:032x}", u128::from_be_bytes(*token));
    [
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..],
    ]
    .join("-")
}

fn read_token(text: &str) -> Option<LockToken> {
    let hex = text.replace('-', "");
    if hex.len() != 32 || !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let number = u128::from_str_radix(&hex, 16).ok()?;
    Some(number.to_be_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_reads_as_it_was_written() {
        let token = [7; 16];
        assert_eq!(read_token(&write_token(&token)), Some(token));
        for text in ["", "1", "+0707070707070707070707070707070", "é"] {
            assert_eq!(read_token(text), None, "{text}");
        }
    }

    #[test]
    fn dates_are_those_of_http() {
        assert_eq!(
            rfc1123(Moment::from_millis(784_111_777_000)),
            "Sun, 06 Nov 1994 08:49:37 GMT"
        );
    }

    #[test]
    fn headers_stay_in_ascii() {
        assert_eq!(ascii(&json!("ä😀")), r#""\u00e4\ud83d\ude00""#);
    }

    #[test]
    fn a_path_is_split_at_messages() {
        assert_eq!(split("a/b/messages/head"), Some(("a/b", "head")));
        assert_eq!(split("q/Messages"), Some(("q", "")));
        assert_eq!(split("q/messagesX"), None);
        assert_eq!(split("q"), None);
    }
}
