//! A complete backend: what it takes to bring a broker of your own.
//!
//! The "broker" here is a map in this process. It stores frames in order, hands them out, and answers
//! a repeated frame with the first answer. Batching, retries, reconnecting, order, gaps and cursors
//! are the library's work, the same for every backend. The tests below run the conformance suite.
//!
//! `cargo run -p scaleout --example custom_backend`

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use scaleout::{
    AnyBackend, Appended, Arrival, Backend, Backplane, Capabilities, Connector, EncodedFrame,
    Epoch, Error, ErrorKind, Event, Listener, ListenerSender, LogName, Options, Page, Position,
    PublisherId, Query, Result, Sequence, Start, StoredFrame,
};

const MAX_FRAME_BYTES: usize = 8 << 20;
/// Frames that a log keeps.
const RETENTION: usize = 10_000;

/// The broker. A backend for a real one would hold its client here.
#[derive(Clone, Debug, Default)]
struct Shelf(Arc<Mutex<HashMap<LogName, Log>>>);

#[derive(Debug)]
struct Log {
    epoch: Epoch,
    head: Sequence,
    frames: VecDeque<StoredFrame>,
    /// The last frame of each publisher: its counter, and its first sequence.
    publishers: HashMap<PublisherId, (u64, Sequence)>,
    listeners: Vec<ListenerSender>,
}

impl Log {
    fn new() -> Self {
        Self {
            epoch: Epoch::random(),
            head: Sequence::ZERO,
            frames: VecDeque::new(),
            publishers: HashMap::new(),
            listeners: Vec::new(),
        }
    }

    fn floor(&self) -> Sequence {
        self.frames
            .front()
            .map_or(self.head.next(), |oldest| oldest.first)
    }

    /// Stores the frame, unless it is here already; the sequence of its first message.
    fn append(&mut self, frame: &EncodedFrame) -> Sequence {
        if let Some(&(counter, first)) = self.publishers.get(&frame.publisher())
            && counter == frame.counter()
        {
            return first;
        }
        let stored = StoredFrame {
            first: self.head.next(),
            len: frame.len(),
            bytes: frame.bytes().clone(),
        };
        self.head = stored.last();
        let first = stored.first;
        self.publishers
            .insert(frame.publisher(), (frame.counter(), first));
        let epoch = self.epoch;
        // Under the lock that numbers, so that frames arrive in the order of their numbers.
        self.listeners.retain(|listener| {
            let frame = stored.clone();
            listener.send(Arrival::Frame { epoch, frame })
        });
        self.frames.push_back(stored);
        if self.frames.len() > RETENTION {
            self.frames.pop_front();
        }
        first
    }
}

impl Shelf {
    fn lock(&self) -> MutexGuard<'_, HashMap<LogName, Log>> {
        // Nothing that can panic runs under the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Backend for Shelf {
    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::new("shelf", MAX_FRAME_BYTES);
        capabilities.history = true;
        capabilities.dedup = true;
        capabilities.linearizable = true;
        capabilities.trim = true;
        capabilities
    }

    async fn probe(&self) -> Result<()> {
        Ok(())
    }

    async fn append(&self, log: &LogName, frame: &EncodedFrame) -> Result<Appended> {
        if frame.bytes().len() > MAX_FRAME_BYTES {
            let allowed = format!("a frame may have {MAX_FRAME_BYTES} bytes at most");
            return Err(Error::new(ErrorKind::TooLarge, allowed));
        }
        let mut logs = self.lock();
        let log = logs.entry(log.clone()).or_insert_with(Log::new);
        let first = log.append(frame);
        Ok(Appended {
            first: Some(Position::new(log.epoch, first)),
        })
    }

    async fn read(&self, log: &LogName, after: Option<Position>, limit: usize) -> Result<Page> {
        let mut logs = self.lock();
        let log = logs.entry(log.clone()).or_insert_with(Log::new);
        // A position in another life of the log says nothing about this one.
        let after = after
            .filter(|after| after.epoch == log.epoch)
            .map_or(Sequence::ZERO, |after| after.sequence);
        let mut room = limit;
        let newer = log.frames.iter().skip_while(|frame| frame.last() <= after);
        let frames = newer
            .take_while(|frame| {
                let fits = room > 0;
                room = room.saturating_sub(frame.len as usize);
                fits
            })
            .cloned()
            .collect();
        Ok(Page {
            epoch: log.epoch,
            floor: log.floor(),
            head: log.head,
            frames,
        })
    }

    async fn listen(&self, log: &LogName, _after: Option<Position>) -> Result<Listener> {
        let (sender, listener) = Listener::channel();
        let mut logs = self.lock();
        let entry = logs.entry(log.clone()).or_insert_with(Log::new);
        entry.listeners.push(sender);
        Ok(listener.with_guard(Unsubscribe(self.clone(), log.clone())))
    }

    async fn close(&self, _deadline: tokio::time::Instant) -> Result<()> {
        Ok(())
    }
}

/// Dropped with a listener.
struct Unsubscribe(Shelf, LogName);

impl Drop for Unsubscribe {
    fn drop(&mut self) {
        if let Some(log) = self.0.lock().get_mut(&self.1) {
            log.listeners.retain(|listener| !listener.is_closed());
        }
    }
}

/// Reads a URL of this backend, as `scaleout::connector` does for its own: `shelf:?option=value`.
fn connector(shelf: &Shelf, url: &str) -> Result<Connector> {
    let (_, mut query) = Query::split(url)?;
    let options = Options::from_query(&mut query)?;
    query.finish()?;
    options.validate()?;
    Ok(Connector {
        backend: AnyBackend::new(shelf.clone()),
        options,
    })
}

#[tokio::main]
async fn main() -> Result<()> {
    let shelf = Shelf::default();
    let one = Backplane::connect(connector(&shelf, "shelf:")?).await?;
    let other = Backplane::connect(connector(&shelf, "shelf:")?).await?;

    let mut room = other.subscribe("room/42", Start::Latest).await?;
    one.publish("room/42", "hello").await?;
    if let Some(Event::Message(entry)) = room.next().await {
        println!("{}: {}", entry.sequence(), entry.payload().escape_ascii());
    }

    one.close(Duration::from_secs(1)).await?;
    other.close(Duration::from_secs(1)).await
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use scaleout_conformance::{Class, Suite, UrlTarget};

    use super::*;

    static SHELF: LazyLock<Shelf> = LazyLock::new(Shelf::default);

    #[tokio::test]
    async fn it_keeps_the_contract() {
        let target = UrlTarget::new("shelf:", |url| connector(&SHELF, url));
        let suite = Suite::new(target).class(Class::Shared);
        let report = suite.run().await.unwrap();
        assert!(report.is_ok(), "{report}");
    }
}
