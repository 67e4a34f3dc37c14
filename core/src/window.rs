//! [`Window`]: the recent items of a log on one node. The feed pushes, subscriptions read at their
//! own pace.
//!
//! An item is dropped once every reader has taken it, or when the window is over its bounds. A
//! reader that has not taken it by then has *lapsed*: it must catch up from history, and no one else
//! notices.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
    task::Waker,
};

use crate::{
    Gap, Position, Sequence,
    order::{Item, Order},
};

/// Names a reader of a window.
pub(crate) type ReaderId = u32;

#[derive(Debug)]
pub(crate) struct Window {
    state: Mutex<State>,
    max_frames: usize,
    max_bytes: usize,
}

#[derive(Debug)]
struct State {
    slots: VecDeque<Slot>,
    /// Index of the first slot. Indices count all items ever pushed.
    base: u64,
    bytes: usize,
    /// Where the log stands after the last item.
    tail: Position,
    /// Readers by id, with the waker of each one that waits.
    readers: Vec<Option<Reader>>,
    /// How many readers follow the window, lapsed ones not counted.
    following: u32,
    /// How many readers catch up and will want to join.
    catching_up: u32,
    ended: bool,
}

#[derive(Debug)]
struct Slot {
    item: Item,
    /// Where the log stood before the item.
    before: Position,
    /// How many following readers have yet to take it.
    unread: u32,
}

#[derive(Debug, Default)]
struct Reader {
    waker: Option<Waker>,
    /// The index of the next item to take; `None` while the reader catches up.
    next: Option<u64>,
}

/// Answer to [`Window::take`].
#[derive(Debug)]
pub(crate) enum Taken {
    Item(Item),
    /// Nothing yet: the waker is kept.
    Pending,
    /// The reader's next item is gone.
    Lapsed,
    /// The window has ended and everything was taken.
    Ended,
}

/// Answer to [`Window::join`].
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Joined {
    Yes,
    /// The position is not in the window: read history.
    No,
    Ended,
}

impl Window {
    pub(crate) fn new(max_frames: usize, max_bytes: usize) -> Self {
        Self {
            state: Mutex::new(State {
                slots: VecDeque::new(),
                base: 0,
                bytes: 0,
                tail: Order::UNKNOWN,
                readers: Vec::new(),
                following: 0,
                catching_up: 0,
                ended: false,
            }),
            max_frames,
            max_bytes,
        }
    }

    /// No code under the lock can leave the state half changed, so a poisoned lock is no reason to
    /// stop everybody else.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets where the log stands before the first item.
    pub(crate) fn start(&self, position: Position) {
        let mut state = self.lock();
        debug_assert!(state.slots.is_empty());
        state.tail = position;
        state.wake_all();
    }

    /// Adds items, and wakes the readers.
    pub(crate) fn push(&self, items: impl IntoIterator<Item = Item>) {
        let mut state = self.lock();
        let before = state.base + state.slots.len() as u64;
        for item in items {
            let slot = Slot {
                before: state.tail,
                unread: state.following,
                item,
            };
            state.tail = slot.item.settles();
            state.bytes += size(&slot.item);
            state.slots.push_back(slot);
        }
        if state.base + state.slots.len() as u64 == before {
            return;
        }
        while state.slots.len() > self.max_frames
            || state.bytes > self.max_bytes && state.slots.len() > 1
        {
            state.evict();
        }
        state.drop_read();
        state.wake_all();
    }

    /// Ends the window: readers take what is left, and then learn of it.
    pub(crate) fn end(&self) {
        let mut state = self.lock();
        state.ended = true;
        state.wake_all();
    }

    /// Where the log stands after the last item.
    pub(crate) fn tail(&self) -> Position {
        self.lock().tail
    }

    /// Adds a reader, which catches up until it joins.
    pub(crate) fn attach(&self) -> ReaderId {
        let mut state = self.lock();
        state.catching_up += 1;
        let free = state.readers.iter().position(Option::is_none);
        let id = free.unwrap_or_else(|| {
            // Most topics have one reader on a node; growing one by one keeps idle ones small.
            state.readers.reserve_exact(1);
            state.readers.push(None);
            state.readers.len() - 1
        });
        state.readers[id] = Some(Reader::default());
        u32::try_from(id).unwrap_or(ReaderId::MAX)
    }

    /// Removes a reader.
    pub(crate) fn detach(&self, id: ReaderId) {
        let mut state = self.lock();
        let Some(reader) = state.readers.get_mut(id as usize).and_then(Option::take) else {
            return;
        };
        match reader.next {
            Some(next) if next >= state.base => state.unfollow(next),
            Some(_) => {}
            None => state.catching_up -= 1,
        }
        state.drop_read();
    }

    /// Lets a reader that stands at `position` follow the window from there on.
    pub(crate) fn join(&self, id: ReaderId, position: Position) -> Joined {
        let mut state = self.lock();
        let Some(index) = state.index_after(position) else {
            return if state.ended {
                Joined::Ended
            } else {
                Joined::No
            };
        };
        let Some(reader) = state.reader(id) else {
            return Joined::Ended;
        };
        if reader.next.replace(index).is_none() {
            state.catching_up -= 1;
        }
        state.following += 1;
        let skip = usize::try_from(index - state.base).unwrap_or(usize::MAX);
        for slot in state.slots.iter_mut().skip(skip) {
            slot.unread += 1;
        }
        state.drop_read();
        Joined::Yes
    }

    /// Takes the reader's next item.
    pub(crate) fn take(&self, id: ReaderId, waker: &Waker) -> Taken {
        let mut state = self.lock();
        let base = state.base;
        let end = base + state.slots.len() as u64;
        let ended = state.ended;
        let Some(reader) = state.reader(id) else {
            return Taken::Ended;
        };
        let next = match reader.next {
            Some(next) if next >= base => next,
            _ => {
                if reader.next.take().is_some() {
                    state.catching_up += 1;
                }
                return Taken::Lapsed;
            }
        };
        if next == end {
            if ended {
                return Taken::Ended;
            }
            reader.wait(waker);
            return Taken::Pending;
        }
        reader.next = Some(next + 1);
        let offset = usize::try_from(next - base).unwrap_or(usize::MAX);
        let slot = &mut state.slots[offset];
        slot.unread -= 1;
        let item = slot.item.clone();
        state.drop_read();
        Taken::Item(item)
    }

    /// Lets a lapsed reader follow the window from its oldest item on. Returns the gap that this
    /// leaves. For brokers whose history cannot be read.
    pub(crate) fn join_oldest(&self, id: ReaderId, position: Position) -> Option<Item> {
        let oldest = {
            let state = self.lock();
            state.slots.front().map_or(state.tail, |slot| slot.before)
        };
        let same_epoch = oldest.epoch == position.epoch;
        let first = if same_epoch {
            position.sequence.next()
        } else {
            Sequence::FIRST
        };
        self.join(id, oldest);
        (first <= oldest.sequence)
            .then(|| Item::Gap(Gap::new(oldest.epoch, first, oldest.sequence)))
    }

    /// Whether the position lies beyond the last item.
    pub(crate) fn is_ahead(&self, position: Position) -> bool {
        let tail = self.lock().tail;
        tail.epoch == position.epoch && tail.sequence < position.sequence
    }
}

impl State {
    fn reader(&mut self, id: ReaderId) -> Option<&mut Reader> {
        self.readers.get_mut(id as usize)?.as_mut()
    }

    /// The index of the first item after `position`, if nothing between them is missing here.
    fn index_after(&self, position: Position) -> Option<u64> {
        let covers = |before: Position| {
            before.epoch == position.epoch && before.sequence <= position.sequence
        };
        if covers(self.tail) {
            return Some(self.base + self.slots.len() as u64);
        }
        let offset = self.slots.iter().rposition(|slot| covers(slot.before))?;
        Some(self.base + offset as u64)
    }

    /// Takes a reader whose next item is `next` out of the counts.
    fn unfollow(&mut self, next: u64) {
        self.following -= 1;
        let skip = usize::try_from(next - self.base).unwrap_or(usize::MAX);
        for slot in self.slots.iter_mut().skip(skip) {
            slot.unread -= 1;
        }
    }

    /// Drops the first item. Readers that have not taken it lapse.
    fn evict(&mut self) {
        let Some(slot) = self.slots.pop_front() else {
            return;
        };
        self.base += 1;
        self.bytes -= size(&slot.item);
        if slot.unread > 0 {
            self.following -= slot.unread;
            for later in &mut self.slots {
                later.unread -= slot.unread;
            }
        }
    }

    /// Drops the items that everybody has taken, unless somebody catches up and may need them.
    fn drop_read(&mut self) {
        if self.catching_up > 0 {
            return;
        }
        while self.slots.front().is_some_and(|slot| slot.unread == 0) {
            self.evict();
        }
        if self.slots.is_empty() && self.slots.capacity() > 64 {
            self.slots.shrink_to(16);
        }
    }

    fn wake_all(&mut self) {
        for reader in self.readers.iter_mut().flatten() {
            if let Some(waker) = reader.waker.take() {
                waker.wake();
            }
        }
    }
}

impl Reader {
    fn wait(&mut self, waker: &Waker) {
        match &self.waker {
            Some(known) if known.will_wake(waker) => {}
            _ => self.waker = Some(waker.clone()),
        }
    }
}

/// What an item holds in memory, about.
fn size(item: &Item) -> usize {
    match item {
        Item::Frame(_, placed) => placed.frame.as_ref().map_or(0, |frame| frame.size()),
        Item::Gap(_) | Item::Reset(..) | Item::Unreadable(_) => 0,
    }
}
