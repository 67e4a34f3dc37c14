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
    Gap, Position, Reset, ResetReason, Sequence,
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
    /// Where the log stood before its first item, if the broker could not tell.
    origin: Sequence,
    /// Readers by id, with the waker of each one that waits.
    readers: Vec<Option<Reader>>,
    /// How many readers follow the window.
    following: u32,
    /// How many readers catch up, or have lapsed and will: for them the window is kept full.
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
                origin: Sequence::ZERO,
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
        wake_all(state);
    }

    /// Adds items, and wakes the readers.
    pub(crate) fn push(&self, items: impl IntoIterator<Item = Item>) {
        let mut state = self.lock();
        let before = state.base + state.slots.len() as u64;
        for item in items {
            if state.tail == Order::UNKNOWN {
                let (epoch, first) = match &item {
                    Item::Frame(epoch, placed) => (*epoch, placed.first),
                    Item::Gap(gap) => (gap.epoch, gap.first),
                    // The others come only after one of these.
                    Item::Reset(reset, sequence) => (reset.epoch, sequence.next()),
                    Item::Unreadable(frame) => (frame.epoch, frame.first),
                };
                state.origin = first.previous();
                state.tail = Position::new(epoch, state.origin);
            }
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
        wake_all(state);
    }

    /// Ends the window: readers take what is left, and then learn of it.
    pub(crate) fn end(&self) {
        let mut state = self.lock();
        state.ended = true;
        wake_all(state);
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
            _ => state.catching_up -= 1,
        }
        state.drop_read();
        // Its waker may hold the last handle of a task, and that one other readers of this window.
        drop(state);
        drop(reader);
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
        state.follow(id, index);
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
                reader.next = None;
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

    /// Lets a lapsed reader follow the window from its oldest item on. Returns what this skips. For
    /// brokers whose history cannot be read.
    pub(crate) fn join_oldest(&self, id: ReaderId, position: Position) -> Option<Item> {
        let mut state = self.lock();
        let oldest = state.slots.front().map_or(state.tail, |slot| slot.before);
        let index = state.base;
        state.follow(id, index);
        let position = if position == Order::UNKNOWN {
            Position::new(oldest.epoch, state.origin)
        } else {
            position
        };
        if oldest.epoch != position.epoch {
            let reset = Reset::new(oldest.epoch, ResetReason::EpochChanged);
            return Some(Item::Reset(reset, oldest.sequence));
        }
        let first = position.sequence.next();
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

    /// Lets a reader that catches up take the items from `index` on.
    fn follow(&mut self, id: ReaderId, index: u64) {
        if let Some(reader) = self.reader(id) {
            reader.next = Some(index);
            self.catching_up -= 1;
            self.following += 1;
            let skip = usize::try_from(index - self.base).unwrap_or(usize::MAX);
            for slot in self.slots.iter_mut().skip(skip) {
                slot.unread += 1;
            }
            self.drop_read();
        }
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
            self.catching_up += slot.unread;
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
}

/// Wakes the readers, after the lock is let go: a waker may run anything, such as dropping one of
/// the very subscriptions that it wakes.
fn wake_all(mut state: MutexGuard<'_, State>) {
    let readers = state.readers.iter_mut().flatten();
    let wakers: Vec<_> = readers.filter_map(|reader| reader.waker.take()).collect();
    drop(state);
    for waker in wakers {
        waker.wake();
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

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;
    use crate::Epoch;

    const EPOCH: Epoch = Epoch::new(1);

    fn at(sequence: u64) -> Position {
        Position::new(EPOCH, Sequence::new(sequence))
    }

    /// The smallest item there is: its bounds are all that matters here.
    fn item(sequence: u64) -> Item {
        Item::Gap(Gap::new(
            EPOCH,
            Sequence::new(sequence),
            Sequence::new(sequence),
        ))
    }

    fn window(max_frames: usize) -> Window {
        let window = Window::new(max_frames, usize::MAX);
        window.start(at(0));
        window
    }

    fn take(window: &Window, reader: ReaderId) -> Option<u64> {
        match window.take(reader, Waker::noop()) {
            Taken::Item(item) => Some(item.settles().sequence.get()),
            Taken::Pending => None,
            other => panic!("{other:?}"),
        }
    }

    fn len(window: &Window) -> usize {
        window.lock().slots.len()
    }

    #[test]
    fn an_item_is_dropped_once_every_reader_took_it() {
        let window = window(10);
        let (a, b) = (window.attach(), window.attach());
        assert_eq!(window.join(a, at(0)), Joined::Yes);
        assert_eq!(window.join(b, at(0)), Joined::Yes);
        window.push([item(1), item(2)]);
        assert_eq!(take(&window, a), Some(1));
        assert_eq!(len(&window), 2);
        assert_eq!(take(&window, b), Some(1));
        assert_eq!(len(&window), 1);
        window.detach(b);
        assert_eq!(take(&window, a), Some(2));
        assert_eq!(take(&window, a), None);
        assert_eq!(len(&window), 0);
    }

    #[test]
    fn a_reader_that_is_too_slow_lapses_and_the_others_do_not() {
        let window = window(2);
        let (slow, fast) = (window.attach(), window.attach());
        window.join(slow, at(0));
        window.join(fast, at(0));
        for n in 1..=5 {
            window.push([item(n)]);
            assert_eq!(take(&window, fast), Some(n));
        }
        assert!(matches!(window.take(slow, Waker::noop()), Taken::Lapsed));
        assert_eq!(window.join(slow, at(0)), Joined::No);
        assert_eq!(window.join(slow, at(4)), Joined::Yes);
        assert_eq!(take(&window, slow), Some(5));
        assert_eq!(len(&window), 0);
    }

    #[test]
    fn items_are_kept_for_readers_that_catch_up() {
        let window = window(10);
        let (reader, late) = (window.attach(), window.attach());
        window.join(reader, at(0));
        window.push([item(1), item(2)]);
        assert_eq!(
            (take(&window, reader), take(&window, reader)),
            (Some(1), Some(2))
        );
        assert_eq!(window.join(late, at(1)), Joined::Yes);
        assert_eq!(take(&window, late), Some(2));
        assert_eq!(len(&window), 0);
    }

    #[test]
    fn another_epoch_is_not_covered() {
        let window = window(10);
        let reader = window.attach();
        let elsewhere = Position::new(Epoch::new(2), Sequence::new(0));
        assert_eq!(window.join(reader, elsewhere), Joined::No);
    }

    #[test]
    fn the_end_comes_after_the_last_item() {
        let window = window(10);
        let reader = window.attach();
        window.join(reader, at(0));
        window.push([item(1)]);
        window.end();
        assert_eq!(take(&window, reader), Some(1));
        assert!(matches!(window.take(reader, Waker::noop()), Taken::Ended));
    }
}
