//! A broker in memory that can be told to misbehave, and to number as brokers of streams do.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use scaleout_core::{
    AnyBackend, Appended, Arrival, Backend, Backplane, Capabilities, Connector, EncodedFrame,
    Epoch, Error, ErrorKind, Event, Listener, ListenerSender, LogName, Options, Page, Position,
    Result, Sequence, StoredFrame, Subscription,
};
use tokio::time::Instant;

/// What the next requests meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// An append fails, and nothing is stored.
    Refuse,
    /// An append is stored, and its answer is lost.
    LoseAnswer,
    /// An append is stored, but no listener hears of it.
    LoseDelivery,
    /// Both.
    LoseBoth,
    /// An append is refused for good.
    Forbid,
}

#[derive(Clone, Debug)]
pub(crate) struct Broker(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    capabilities: Capabilities,
    down: bool,
    faults: Vec<Fault>,
    logs: HashMap<String, Log>,
    probes: u32,
}

#[derive(Debug)]
struct Log {
    epoch: Epoch,
    head: u64,
    frames: Vec<StoredFrame>,
    listeners: Vec<ListenerSender>,
}

impl Log {
    fn new() -> Self {
        Self {
            epoch: Epoch::random(),
            head: 0,
            frames: Vec::new(),
            listeners: Vec::new(),
        }
    }
}

impl Broker {
    /// Numbers densely and answers appends with receipts, but does not notice repetitions.
    pub(crate) fn dense() -> Self {
        Self::new(1, |capabilities| capabilities.lookback = 64)
    }

    /// Numbers with holes and gives no receipts, as a broker of streams does.
    pub(crate) fn sparse() -> Self {
        Self::new(1 << 16, |capabilities| {
            capabilities.dense = false;
            capabilities.receipts = false;
            capabilities.lookback = 1 << 24;
        })
    }

    pub(crate) fn new(slot: u64, change: impl FnOnce(&mut Capabilities)) -> Self {
        let mut capabilities = Capabilities::new("test", 1 << 20);
        capabilities.history = true;
        capabilities.slot = slot;
        change(&mut capabilities);
        Self(Arc::new(Mutex::new(State {
            capabilities,
            down: false,
            faults: Vec::new(),
            logs: HashMap::new(),
            probes: 0,
        })))
    }

    pub(crate) async fn node(&self, options: Options) -> Backplane {
        Backplane::connect(self.connector(options)).await.unwrap()
    }

    pub(crate) fn connector(&self, options: Options) -> Connector {
        Connector {
            backend: AnyBackend::new(self.clone()),
            options,
        }
    }

    /// The next appends meet these faults, one each.
    pub(crate) fn inject(&self, faults: impl IntoIterator<Item = Fault>) {
        self.0.lock().unwrap().faults.extend(faults);
    }

    /// Cuts all connections and refuses new ones, or accepts them again.
    pub(crate) fn set_down(&self, down: bool) {
        let mut state = self.0.lock().unwrap();
        state.down = down;
        if down {
            for log in state.logs.values_mut() {
                for listener in log.listeners.drain(..) {
                    listener.end(unavailable());
                }
            }
        }
    }

    pub(crate) fn probes(&self) -> u32 {
        self.0.lock().unwrap().probes
    }

    /// How many frames all logs hold.
    pub(crate) fn stored(&self) -> usize {
        let state = self.0.lock().unwrap();
        state.logs.values().map(|log| log.frames.len()).sum()
    }

    pub(crate) fn listeners(&self) -> usize {
        let state = self.0.lock().unwrap();
        let open = |log: &Log| log.listeners.iter().filter(|l| !l.is_closed()).count();
        state.logs.values().map(open).sum()
    }
}

impl Backend for Broker {
    fn capabilities(&self) -> Capabilities {
        self.0.lock().unwrap().capabilities.clone()
    }

    async fn probe(&self) -> Result<()> {
        let mut state = self.0.lock().unwrap();
        state.probes += 1;
        state.up()
    }

    async fn append(&self, log: &LogName, frame: &EncodedFrame) -> Result<Appended> {
        let mut state = self.0.lock().unwrap();
        state.up()?;
        let fault = (!state.faults.is_empty()).then(|| state.faults.remove(0));
        match fault {
            Some(Fault::Refuse) => return Err(unavailable()),
            Some(Fault::Forbid) => return Err(Error::new(ErrorKind::Auth, "may not write")),
            _ => {}
        }
        let (slot, receipts) = (state.capabilities.slot, state.capabilities.receipts);
        let log = state.log(log);
        let (len, bytes) = (frame.len(), frame.bytes().clone());
        let stored = match slot {
            1 => StoredFrame {
                first: Sequence::new(log.head + 1),
                len,
                bytes,
            },
            _ => StoredFrame::in_slot(log.frames.len() as u64, slot, len, bytes),
        };
        log.head = stored.last().get();
        log.frames.push(stored.clone());
        let epoch = log.epoch;
        if !matches!(fault, Some(Fault::LoseDelivery | Fault::LoseBoth)) {
            log.listeners.retain(|listener| {
                listener.send(Arrival::Frame {
                    epoch,
                    frame: stored.clone(),
                })
            });
        }
        if matches!(fault, Some(Fault::LoseAnswer | Fault::LoseBoth)) {
            return Err(unavailable().with_unknown_outcome());
        }
        Ok(Appended {
            first: receipts.then_some(Position::new(epoch, stored.first)),
        })
    }

    async fn read(&self, log: &LogName, after: Option<Position>, limit: usize) -> Result<Page> {
        let mut state = self.0.lock().unwrap();
        state.up()?;
        if !state.capabilities.history {
            return Err(Error::new(ErrorKind::Unsupported, "no history"));
        }
        let log = state.log(log);
        let after = after
            .filter(|after| after.epoch == log.epoch)
            .map_or(Sequence::ZERO, |after| after.sequence);
        Ok(Page {
            epoch: log.epoch,
            floor: Sequence::FIRST,
            head: Sequence::new(log.head),
            frames: log
                .frames
                .iter()
                .filter(|frame| frame.last() > after)
                .take(limit)
                .cloned()
                .collect(),
        })
    }

    async fn listen(&self, log: &LogName, _: Option<Position>) -> Result<Listener> {
        let mut state = self.0.lock().unwrap();
        state.up()?;
        let (sender, listener) = Listener::channel();
        state.log(log).listeners.push(sender);
        Ok(listener)
    }

    async fn close(&self, _: Instant) -> Result<()> {
        Ok(())
    }
}

impl State {
    fn up(&self) -> Result<()> {
        if self.down {
            return Err(unavailable());
        }
        Ok(())
    }

    fn log(&mut self, name: &LogName) -> &mut Log {
        self.logs.entry(name.key()).or_insert_with(Log::new)
    }
}

fn unavailable() -> Error {
    Error::new(ErrorKind::Unavailable, "the broker is down")
}

/// The payload of the next event, which must be a message.
pub(crate) async fn next(subscription: &mut Subscription) -> String {
    match subscription.next().await {
        Some(Event::Message(entry)) => String::from_utf8(entry.payload().to_vec()).unwrap(),
        other => panic!("expected a message, got {other:?}"),
    }
}
