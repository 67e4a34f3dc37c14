//! Read: where a log stands, and its frames after a position.

use std::time::SystemTime;

use redis::{Value, aio::MultiplexedConnection};
use scaleout_core::{Epoch, Page, Position, Result, Sequence, StoredFrame};
use tokio::time::timeout;

use crate::{
    commands::Commands,
    config::Config,
    error::{nonsense, of_client, of_server, timed_out},
    expiry::{expiry, mark},
    keys::Key,
    script::LOOK,
    wire,
};

/// Entries that a page asks for before it knows how large they are.
const FIRST_ENTRIES: usize = 16;
/// About how many bytes of frames a page holds.
const PAGE_BYTES: usize = 1 << 20;

impl Commands {
    /// Reads a page, within the request timeout.
    ///
    /// Several requests make it up. That is sound: every entry tells its epoch and its sequences, so
    /// what was wiped, trimmed or added in between shows.
    pub(crate) async fn read(
        &self,
        config: &Config,
        key: &Key,
        after: Option<Position>,
        limit: usize,
    ) -> Result<Page> {
        let reader = Reader {
            config,
            connection: self.link.connection.clone(),
            key,
        };
        match timeout(config.request_timeout, reader.page(self, after, limit)).await {
            Ok(page) => page,
            Err(_) => Err(timed_out("a read", config.request_timeout)),
        }
    }
}

struct Reader<'a> {
    config: &'a Config,
    connection: MultiplexedConnection,
    key: &'a Key,
}

impl Reader<'_> {
    async fn page(
        mut self,
        commands: &Commands,
        after: Option<Position>,
        limit: usize,
    ) -> Result<Page> {
        let mut page = self.look(commands).await?;
        let mut from = after
            .filter(|position| position.epoch == page.epoch)
            .map_or(Sequence::FIRST, |position| position.sequence.next())
            .max(page.floor);
        let (mut messages, mut bytes, mut entries) = (0_usize, 0_usize, 0_usize);
        while messages < limit && bytes < PAGE_BYTES && from <= page.head {
            let count = match bytes.checked_div(entries) {
                None => FIRST_ENTRIES,
                Some(size) => (PAGE_BYTES - bytes).div_ceil(size.max(1)),
            };
            let count = count.min(limit - messages);
            let frames = self.range(page.epoch, from, count).await?;
            let asked_all = frames.len() < count;
            for frame in frames {
                if frame.first > from && page.frames.is_empty() {
                    // Trimmed since it was looked at.
                    page.floor = frame.first;
                } else if frame.first > from {
                    return Ok(page);
                }
                from = frame.last().next();
                page.head = page.head.max(frame.last());
                messages = messages.saturating_add(frame.len as usize);
                bytes += frame.bytes.len();
                entries += 1;
                page.frames.push(frame);
            }
            if asked_all {
                break;
            }
        }
        Ok(page)
    }

    /// Epoch, floor and head.
    async fn look(&mut self, commands: &Commands) -> Result<Page> {
        let config = self.config;
        let stream = self.key.stream();
        let mark = mark(commands.link.run, config.idle_expiry, SystemTime::now());
        let expiry = expiry(config.idle_expiry).to_string();
        let fresh = Epoch::random().get().to_be_bytes();
        let answer = LOOK
            .run(&mut self.connection, |command| {
                command.arg(2).arg(self.key.meta()).arg(&stream);
                command.arg(&fresh).arg(&mark).arg(&expiry);
            })
            .await
            .map_err(|error| of_client(&error, config.password.as_ref()))?;
        commands.link.pulse.beat();
        let parts = self.array(answer, "EVALSHA")?;
        let [Value::BulkString(position), Value::BulkString(oldest)] = &parts[..] else {
            return Err(nonsense("EVALSHA"));
        };
        let (epoch, Some(next)) =
            wire::read_position(position).ok_or_else(|| nonsense("EVALSHA"))?
        else {
            return Err(nonsense("EVALSHA"));
        };
        let floor = match oldest.is_empty() {
            true => next,
            false => wire::read_id(oldest).ok_or_else(|| nonsense("XRANGE"))?.0,
        };
        Ok(Page {
            epoch,
            floor,
            head: next.previous(),
            frames: Vec::new(),
        })
    }

    /// Up to `count` frames of this epoch that have a message at `from` or after it.
    async fn range(
        &mut self,
        epoch: Epoch,
        from: Sequence,
        count: usize,
    ) -> Result<Vec<StoredFrame>> {
        let mut command = redis::cmd("XRANGE");
        command.arg(self.key.stream()).arg(from.get()).arg("+");
        command.arg("COUNT").arg(count);
        let answer = self
            .connection
            .send_packed_command(&command)
            .await
            .map_err(|error| of_client(&error, self.config.password.as_ref()))?;
        let mut frames = Vec::new();
        for entry in self.array(answer, "XRANGE")? {
            let (id, value) = read_entry(entry).ok_or_else(|| nonsense("XRANGE"))?;
            match wire::decode(value) {
                Some((of, frame)) if of == epoch => frames.push(frame),
                // A new life began since it was looked at: this page is of the old one.
                Some(_) => break,
                None => {
                    tracing::warn!(key = self.key.meta(), ?id, "skipped a foreign stream entry");
                }
            }
        }
        Ok(frames)
    }

    fn array(&self, answer: Value, what: &str) -> Result<Vec<Value>> {
        match answer {
            Value::Array(values) => Ok(values),
            Value::ServerError(error) => Err(of_server(&error, self.config.password.as_ref())),
            _ => Err(nonsense(what)),
        }
    }
}

/// The id of a stream's entry, and the value of its only field.
fn read_entry(entry: Value) -> Option<(Vec<u8>, Vec<u8>)> {
    let Value::Array(mut parts) = entry else {
        return None;
    };
    let (Value::Array(mut fields), Value::BulkString(id)) = (parts.pop()?, parts.pop()?) else {
        return None;
    };
    match fields.pop()? {
        Value::BulkString(value) => Some((id, value)),
        _ => None,
    }
}
