//! Read: where a log stands, and its frames after a position.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use scaleout_core::{Epoch, Page, Position, Result, Sequence, StoredFrame};

use crate::{
    error::{gone, is_missing, of_client},
    link::Link,
    names,
    stream::{From, QUIET, Record, Records, first, last},
    wire::{self, Body},
};

/// How many sequences there are to an offset: the most messages in a frame.
pub(crate) const SLOT: u64 = 1 << 20;
/// About how many bytes of frames a page holds.
const PAGE_BYTES: usize = 1 << 20;
/// How many messages of the stream are asked for at a time.
const PREFETCH: u16 = 128;

impl Link {
    /// Reads a page.
    ///
    /// Several requests make it up. That is sound: a stream never changes, and its name is its epoch.
    pub(crate) async fn read(
        self: &Arc<Self>,
        log: u16,
        after: Option<Position>,
        limit: usize,
    ) -> Result<Page> {
        let epoch = self.epoch(log).await?;
        let stream = names::stream(&self.config.namespace, log, epoch);
        match self.page(epoch, &stream, after, limit).await {
            // The stream was deleted. The log's next life is there, or begins now.
            Err(error) if is_missing(&error, &stream) => {
                let epoch = self.begin(log, Some(epoch)).await?;
                let stream = names::stream(&self.config.namespace, log, epoch);
                let page = self.page(epoch, &stream, after, limit).await;
                page.map_err(|error| of_client(&error))?
                    .ok_or_else(|| gone(&stream))
            }
            page => page
                .map_err(|error| of_client(&error))?
                .ok_or_else(|| gone(&stream)),
        }
    }

    /// `None` if the stream is deleted while it is read.
    async fn page(
        &self,
        epoch: Epoch,
        stream: &str,
        after: Option<Position>,
        limit: usize,
    ) -> lapin::Result<Option<Page>> {
        let newest = async {
            let revive = async || self.write(stream, wire::MARK).await.map(drop);
            last(self.channel().await?, stream, QUIET, revive).await
        };
        // Where frames are wanted, a floor that has been trimmed since is noticed on the way; so one
        // reader is enough to begin with. Each costs the broker memory that it does not give back
        // (rabbitmq-server#6325).
        let oldest = async {
            match self.floors.get(epoch).filter(|_| limit > 0) {
                Some(known) => Ok(Some(known)),
                None => self.oldest(epoch, stream).await,
            }
        };
        let (Some(newest), Some(oldest)) = tokio::try_join!(newest, oldest)? else {
            return Ok(None);
        };
        let mut page = Page {
            epoch,
            floor: oldest.floor,
            head: head(&newest),
            frames: Vec::new(),
        };
        let after = after.filter(|position| position.epoch == epoch);
        let from = match after {
            Some(position) => (position.sequence.next().get() / SLOT).max(oldest.offset),
            None => oldest.offset,
        };
        if limit == 0 || from > newest.offset {
            return Ok(Some(page));
        }
        let after = after.map_or(Sequence::ZERO, |position| position.sequence);
        let mut records =
            Records::open(self.channel().await?, stream, From::Offset(from), PREFETCH).await?;
        let (mut messages, mut bytes, mut expected) = (0_usize, 0_usize, from);
        while messages < limit && bytes < PAGE_BYTES {
            let Some(record) = records.next().await? else {
                return Ok(None);
            };
            if record.offset > expected {
                // RabbitMQ leaves offsets out; and what is trimmed while it is read it skips as
                // silently. Only a look at the floor can tell which.
                let Some(oldest) = self.oldest(epoch, stream).await? else {
                    return Ok(None);
                };
                match (oldest.offset > expected, page.frames.is_empty()) {
                    (false, _) => {}
                    (true, true) => page.floor = floor(&record),
                    (true, false) => break,
                }
            }
            expected = record.offset + 1;
            let end = record.offset >= newest.offset;
            if let Some(frame) = stored(record)
                && frame.last() > after
            {
                messages = messages.saturating_add(frame.len as usize);
                bytes += frame.bytes.len();
                page.frames.push(frame);
            }
            if end {
                // What is newest may be no frame; then the log ends with what was found.
                page.head = match page.frames.last() {
                    Some(frame) => frame.last(),
                    None => after.max(page.floor.previous()).min(page.head),
                };
                break;
            }
        }
        Ok(Some(page))
    }

    /// Where the stream begins now.
    async fn oldest(&self, epoch: Epoch, stream: &str) -> lapin::Result<Option<Oldest>> {
        let record = first(self.channel().await?, stream).await?;
        Ok(record.map(|record| {
            let oldest = Oldest {
                offset: record.offset,
                floor: floor(&record),
            };
            self.floors.set(epoch, oldest);
            oldest
        }))
    }
}

/// Where a stream began when it was looked at: at this message or, if that was trimmed since, after
/// it.
#[derive(Clone, Copy, Debug)]
struct Oldest {
    offset: u64,
    floor: Sequence,
}

/// Where the streams of the logs' lives began when each was last looked at.
#[derive(Debug, Default)]
pub(crate) struct Floors(Mutex<HashMap<Epoch, Oldest>>);

impl Floors {
    fn get(&self, epoch: Epoch) -> Option<Oldest> {
        self.lock().get(&epoch).copied()
    }

    fn set(&self, epoch: Epoch, oldest: Oldest) {
        self.lock().insert(epoch, oldest);
    }

    /// Nothing that runs under the lock can panic, so a poisoned one still holds a whole state.
    fn lock(&self) -> MutexGuard<'_, HashMap<Epoch, Oldest>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sequence of the oldest message that is retained, given the stream's oldest.
fn floor(oldest: &Record) -> Sequence {
    if oldest.offset == 0 {
        // The mark that the stream began with: nothing is gone.
        return Sequence::FIRST;
    }
    match stored(oldest.clone()) {
        Some(frame) => frame.first,
        None => Sequence::new(oldest.offset * SLOT),
    }
}

/// Sequence of the newest message, given the stream's newest.
fn head(newest: &Record) -> Sequence {
    match stored(newest.clone()) {
        Some(frame) => frame.last(),
        None => Sequence::new(newest.offset * SLOT).previous(),
    }
}

/// The frame that a stream's message carries, if it is not a mark.
pub(crate) fn stored(record: Record) -> Option<StoredFrame> {
    let (len, bytes) = match Body::decode(record.body) {
        Body::Frame { len, bytes } => (len, bytes),
        Body::Foreign(bytes) => (1, bytes),
        Body::Mark => return None,
    };
    // A length that does not fit is somebody else's, too; the core finds that it does not decode.
    let len = u32::try_from(SLOT).map_or(len, |slot| len.clamp(1, slot));
    Some(StoredFrame::in_slot(record.offset, SLOT, len, bytes))
}
