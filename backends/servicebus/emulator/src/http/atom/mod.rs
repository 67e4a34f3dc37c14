//! Management: entities as Atom entries.

mod read;
mod span;
mod write;

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Response, StatusCode};

use crate::{
    clock::Moment,
    entity::{Address, Namespace, Refusal},
};

use super::{
    Call,
    answer::{Answer, empty, error, with_body},
};

use self::{
    read::{Described, Over as _},
    write::Page,
};

/// What a path is about.
enum Place {
    /// `$Resources/queues`, `$Resources/topics`
    All { topics: bool },
    /// `topic/subscriptions`
    Subscriptions(Address),
    /// `topic/subscriptions/name/rules`
    Rules(Address),
    /// `topic/subscriptions/name/rules/name`
    Rule(Address, String),
    /// A queue, topic or subscription, with its name as it was written.
    Entity(Address, String),
}

pub(super) fn perform(call: &Call, path: &str) -> Answer {
    let base = &call.base();
    let missing = || error(StatusCode::NOT_FOUND, "There is no such resource.");
    let place = place(path).ok_or_else(missing)?;
    match (call.method.as_str(), place) {
        ("GET", Place::Entity(address, _)) => Ok(call.broker.with(|namespace, now| {
            write::entity(Page { base, now }, namespace, &address).map_or_else(not_there, found)
        })),
        ("GET", Place::Rule(address, name)) => Ok(call.broker.with(|namespace, now| {
            let rules = namespace.rules(&address).unwrap_or_default();
            let mut rules = rules.iter();
            let rule = rules
                .find(|rule| rule.name.eq_ignore_ascii_case(&name))
                .cloned();
            let page = Page { base, now };
            let entry = rule.and_then(|rule| write::rule(page, namespace, &address, &rule));
            entry.map_or_else(not_there, found)
        })),
        ("GET", place) => list(call, &place),
        ("PUT", Place::Entity(address, name)) => put_entity(call, &address, &name),
        ("PUT", Place::Rule(address, name)) => put_rule(call, &address, &name),
        ("DELETE", Place::Entity(address, _)) => {
            call.broker
                .with(|namespace, _| namespace.delete(&address))?;
            Ok(empty(StatusCode::OK))
        }
        ("DELETE", Place::Rule(address, name)) => {
            call.broker
                .with(|namespace, _| namespace.remove_rule(&address, &name))?;
            Ok(empty(StatusCode::OK))
        }
        _ => Err(error(
            StatusCode::METHOD_NOT_ALLOWED,
            "There is no such operation.",
        )),
    }
}

fn place(path: &str) -> Option<Place> {
    let lower = path.to_ascii_lowercase();
    match lower.as_str() {
        "$resources/queues" => return Some(Place::All { topics: false }),
        "$resources/topics" => return Some(Place::All { topics: true }),
        _ => {}
    }
    if let Some((above, rule)) = lower.split_once("/rules") {
        let address = Address::parse(above)?;
        return match rule.strip_prefix('/') {
            None if rule.is_empty() => Some(Place::Rules(address)),
            Some(name) => Some(Place::Rule(address, path[path.len() - name.len()..].into())),
            None => None,
        };
    }
    if let Some(topic) = lower.strip_suffix("/subscriptions") {
        return Some(Place::Subscriptions(Address::parse(topic)?));
    }
    let address = Address::parse(path)?;
    if address.dead_letter || address.management {
        return None;
    }
    let name = match &address.subscription {
        Some(name) => &path[path.len() - name.len()..],
        None => path,
    };
    Some(Place::Entity(address, name.into()))
}

fn list(call: &Call, place: &Place) -> Answer {
    let base = &call.base();
    let number = |name| {
        call.query(name)
            .and_then(|number| number.parse::<usize>().ok())
    };
    let (skip, top) = (number("$skip").unwrap_or(0), number("$top").unwrap_or(100));
    let entries: Result<Vec<String>, Refusal> = call.broker.with(|namespace, now| {
        let addresses = match place {
            Place::All { topics: false } => namespace.queues(),
            Place::All { topics: true } => namespace.topics(),
            Place::Subscriptions(topic) => namespace.subscriptions(topic)?,
            Place::Rules(address) => {
                let rules = namespace.rules(address)?.to_vec();
                let page = Page { base, now };
                let rules = rules.iter().skip(skip).take(top);
                return Ok(rules
                    .filter_map(|rule| write::rule(page, namespace, address, rule))
                    .collect());
            }
            Place::Entity(..) | Place::Rule(..) => Vec::new(),
        };
        Ok(addresses
            .iter()
            .skip(skip)
            .take(top)
            .filter_map(|address| write::entity(Page { base, now }, namespace, address))
            .collect())
    });
    let feed = write::feed(&call.path(), &entries?);
    Ok(with_body(
        StatusCode::OK,
        "application/atom+xml;type=feed;charset=utf-8",
        feed,
    ))
}

/// Creates an entity, or changes it if the client says that it knows it.
fn put_entity(call: &Call, address: &Address, name: &str) -> Answer {
    let base = &call.base();
    let description = read::entity(&call.body)?;
    let updates = call.header("if-match").is_some();
    let entry = call.broker.with(|namespace, now| {
        match description {
            Described::Queue(read) if updates => {
                let (_, settings) = namespace.settings(address)?;
                namespace.update(address, read.over(settings))?;
            }
            Described::Queue(read) => {
                namespace.create_queue(now, name, read.over(Default::default()))?;
            }
            Described::Topic(read) if updates => {
                let (_, settings) = namespace.topic_settings(address)?;
                namespace.update_topic(address, read.over(settings))?;
            }
            Described::Topic(read) => {
                namespace.create_topic(now, name, read.over(Default::default()))?;
            }
            Described::Subscription(read, _) if updates => {
                let (_, settings) = namespace.settings(address)?;
                namespace.update(address, read.over(settings))?;
            }
            Described::Subscription(read, rule) => {
                let settings = read.over(Default::default());
                namespace.create_subscription(now, &address.entity, name, settings, rule)?;
            }
        }
        Ok::<_, Refusal>(write::entity(Page { base, now }, namespace, address).unwrap_or_default())
    });
    let status = if updates {
        StatusCode::OK
    } else {
        StatusCode::CREATED
    };
    Ok(with_body(status, ENTRY, entry?))
}

fn put_rule(call: &Call, address: &Address, name: &str) -> Answer {
    let base = &call.base();
    let rule = read::rule(&call.body, name)?;
    let updates = call.header("if-match").is_some();
    let entry = call.broker.with(|namespace: &mut Namespace, now: Moment| {
        if updates {
            namespace.remove_rule(address, name)?;
        }
        let entry = write::rule(Page { base, now }, namespace, address, &rule);
        namespace.add_rule(address, rule)?;
        Ok::<_, Refusal>(entry.unwrap_or_default())
    });
    let status = if updates {
        StatusCode::OK
    } else {
        StatusCode::CREATED
    };
    Ok(with_body(status, ENTRY, entry?))
}

const ENTRY: &str = "application/atom+xml;type=entry;charset=utf-8";

fn found(entry: String) -> Response<Full<Bytes>> {
    with_body(StatusCode::OK, ENTRY, entry)
}

/// The service does not say 404 here: it sends the feed of what is there, which is nothing.
fn not_there() -> Response<Full<Bytes>> {
    with_body(
        StatusCode::OK,
        "application/atom+xml;type=feed;charset=utf-8",
        write::feed("", &[]),
    )
}
