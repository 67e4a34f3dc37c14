//! Mutants that store something else than what was published.

use std::{
    collections::HashMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use scaleout_core::{
    Appended, Backend, EncodedFrame, ErrorKind, Frame, LogName, Message, Position, PublisherId,
    Result,
};

use super::{
    Mutant,
    hook::{Hook, Inner, Messages, frame, hooked, messages, with_messages},
};

pub(super) const MUTANTS: &[Mutant] = &[
    Mutant::new(
        "drop-nth",
        "acknowledges every fifth frame without storing it",
        &["A02", "A09", "D04", "D11", "G14", "H04", "H08", "O05"],
        |target| hooked(target, DropNth(AtomicUsize::new(0))),
    ),
    Mutant::new(
        "dup-nth",
        "stores every fifth frame twice",
        &["B04", "F02", "G01", "G03", "G05", "G13"],
        |target| hooked(target, DupNth(AtomicUsize::new(0))),
    ),
    Mutant::new(
        "hole-on-reject",
        "uses up a sequence when it refuses a frame",
        &["A08"],
        |target| hooked(target, OnReject::Hole),
    ),
    Mutant::new(
        "partial-batch-on-error",
        "refuses a frame that is too large after it stored its first message",
        &["B03"],
        |target| hooked(target, OnReject::Partial),
    ),
    Mutant::new(
        "interleaved-batch",
        "stores the messages of a batch one by one",
        &["B02", "B07"],
        |target| hooked(target, Rewrite::OneByOne),
    ),
    Mutant::new(
        "reversed-batch",
        "stores the messages of a frame in reverse",
        &["B01", "G02"],
        |target| hooked(target, Rewrite::Reversed),
    ),
    Mutant::new(
        "fold-identical",
        "stores equal messages of a frame once, as equal notifications of a transaction fold",
        &["B05"],
        |target| hooked(target, Rewrite::Folded),
    ),
    Mutant::new(
        "lossy-utf8",
        "stores payloads as text",
        &["C02"],
        |target| hooked(target, Rewrite::Payload(lossy)),
    ),
    Mutant::new(
        "empty-as-null",
        "stores an empty payload as a null",
        &["C01", "I05"],
        |target| hooked(target, Rewrite::Payload(null)),
    ),
    Mutant::new(
        "cut-at-64k",
        "keeps the first 65,535 bytes of a payload",
        &["C03", "C05"],
        |target| hooked(target, Rewrite::Payload(cut)),
    ),
    Mutant::new(
        "unique-headers",
        "keeps one header of each name",
        &["C06"],
        |target| hooked(target, Rewrite::UniqueHeaders),
    ),
    Mutant::new(
        "by-the-senders-clock",
        "drops what is an hour old by the clock of its sender",
        &["O03", "O04"],
        |target| hooked(target, SendersClock),
    ),
    Mutant::new(
        "no-dedup",
        "claims to know repetitions, and stores them",
        &["F10", "F11", "F12", "F14", "F15", "F16", "F19"],
        |target| hooked(target, Dedup::Never),
    ),
    Mutant::new(
        "racy-dedup",
        "looks for a repetition first and stores then, not at once",
        &["F12"],
        |target| hooked(target, Dedup::Racy(Mutex::default())),
    ),
    Mutant::new(
        "dedup-by-payload",
        "takes equal messages for a repetition",
        &["B05", "F13"],
        |target| hooked(target, Dedup::ByPayload(Mutex::default())),
    ),
];

#[derive(Debug)]
struct DropNth(AtomicUsize);

impl Hook for DropNth {
    async fn append(&self, inner: &Inner, log: &LogName, frame: &EncodedFrame) -> Result<Appended> {
        if self.0.fetch_add(1, Ordering::Relaxed) % 5 != 4 {
            return inner.backend.append(log, frame).await;
        }
        let page = inner.backend.read(log, None, 0).await?;
        let first = Position::new(page.epoch, page.head.next());
        Ok(Appended { first: Some(first) })
    }
}

#[derive(Debug)]
struct DupNth(AtomicUsize);

impl Hook for DupNth {
    async fn append(&self, inner: &Inner, log: &LogName, frame: &EncodedFrame) -> Result<Appended> {
        let appended = inner.backend.append(log, frame).await?;
        if self.0.fetch_add(1, Ordering::Relaxed) % 5 == 4 {
            inner.backend.append(log, &as_another(frame)).await?;
        }
        Ok(appended)
    }
}

/// The same messages from a publisher that nobody knows.
pub(super) fn as_another(original: &EncodedFrame) -> EncodedFrame {
    frame(PublisherId::random(), 1, &messages(original))
}

#[derive(Debug)]
enum OnReject {
    Hole,
    Partial,
}

impl Hook for OnReject {
    async fn append(
        &self,
        inner: &Inner,
        log: &LogName,
        original: &EncodedFrame,
    ) -> Result<Appended> {
        let result = inner.backend.append(log, original).await;
        if result
            .as_ref()
            .is_err_and(|error| error.kind() == ErrorKind::TooLarge)
        {
            let mut left = messages(original);
            left.truncate(1);
            if matches!(self, Self::Hole) {
                left[0].1 = Message::new("");
            }
            let left = frame(PublisherId::random(), 1, &left);
            inner.backend.append(log, &left).await?;
        }
        result
    }
}

#[derive(Debug)]
enum Rewrite {
    OneByOne,
    Reversed,
    Folded,
    Payload(fn(&Bytes) -> Bytes),
    UniqueHeaders,
}

fn lossy(payload: &Bytes) -> Bytes {
    String::from_utf8_lossy(payload).into_owned().into()
}

fn null(payload: &Bytes) -> Bytes {
    if payload.is_empty() {
        "null".into()
    } else {
        payload.clone()
    }
}

fn cut(payload: &Bytes) -> Bytes {
    payload.slice(..payload.len().min(65_535))
}

impl Rewrite {
    fn message(&self, message: &Message) -> Message {
        let payload = match self {
            Self::Payload(change) => change(message.payload()),
            _ => message.payload().clone(),
        };
        let mut changed = Message::new(payload);
        for (name, value) in message.headers() {
            let known = changed.header(name).is_some();
            if !(known && matches!(self, Self::UniqueHeaders)) {
                changed = changed.with_header(name, value);
            }
        }
        changed
    }
}

impl Hook for Rewrite {
    async fn append(
        &self,
        inner: &Inner,
        log: &LogName,
        original: &EncodedFrame,
    ) -> Result<Appended> {
        let mut changed: Messages = messages(original)
            .into_iter()
            .map(|(topic, message)| (topic, self.message(&message)))
            .collect();
        match self {
            Self::Reversed => changed.reverse(),
            Self::Folded => changed.dedup(),
            Self::OneByOne if changed.len() > 1 => {
                let rest = changed.split_off(1);
                let appended = inner
                    .backend
                    .append(log, &with_messages(original, &changed))
                    .await;
                for message in rest {
                    tokio::task::yield_now().await;
                    let single = frame(PublisherId::random(), 1, &vec![message]);
                    inner.backend.append(log, &single).await?;
                }
                return appended;
            }
            _ => {}
        }
        inner
            .backend
            .append(log, &with_messages(original, &changed))
            .await
    }
}

#[derive(Debug)]
struct SendersClock;

impl Hook for SendersClock {
    async fn append(&self, inner: &Inner, log: &LogName, frame: &EncodedFrame) -> Result<Appended> {
        let sent = Frame::decode(frame.bytes().clone()).map_or(0, |f| f.published_at_millis());
        let age = SystemTime::now().duration_since(UNIX_EPOCH + Duration::from_millis(sent));
        if age.is_ok_and(|age| age >= Duration::from_secs(3_600)) {
            let page = inner.backend.read(log, None, 0).await?;
            let first = Position::new(page.epoch, page.head);
            return Ok(Appended { first: Some(first) });
        }
        inner.backend.append(log, frame).await
    }
}

#[derive(Debug)]
enum Dedup {
    Never,
    Racy(Mutex<HashMap<(PublisherId, u64), Appended>>),
    ByPayload(Mutex<HashMap<LogName, (Messages, Appended)>>),
}

impl Hook for Dedup {
    async fn append(&self, inner: &Inner, log: &LogName, frame: &EncodedFrame) -> Result<Appended> {
        match self {
            Self::Never => inner.backend.append(log, &as_another(frame)).await,
            Self::Racy(seen) => {
                let key = (frame.publisher(), frame.counter());
                let known = seen
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .get(&key)
                    .copied();
                if let Some(known) = known {
                    return Ok(known);
                }
                tokio::task::yield_now().await;
                let appended = inner.backend.append(log, &as_another(frame)).await?;
                seen.lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .insert(key, appended);
                Ok(appended)
            }
            Self::ByPayload(last) => {
                let messages = messages(frame);
                let known = last
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .get(log)
                    .cloned();
                if let Some((known, appended)) = known
                    && known == messages
                {
                    return Ok(appended);
                }
                let appended = inner.backend.append(log, frame).await?;
                let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
                last.insert(log.clone(), (messages, appended));
                Ok(appended)
            }
        }
    }
}
