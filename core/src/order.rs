//! [`Order`]: the sans-IO machine that turns what a broker delivers into one stream without
//! repetitions, in which every loss is named.
//!
//! It has no clock, no socket and no task: frames, pages and the time are passed in, items come out,
//! and [`Order::wants`] says when history should be read. The node's feed drives one per log; a
//! subscription that reads history drives one of its own.

mod publishers;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::time::Instant;

use self::publishers::{Publishers, Seen};
use crate::{
    Capabilities, Epoch, Frame, FrameError, Gap, Page, Position, Reset, ResetReason, Sequence,
    StoredFrame, Unreadable,
};

/// Frames that are held while a missing one is waited for, where history cannot be read.
const MAX_HELD: usize = 4_096;

/// What the machine needs to know of a backend.
#[derive(Clone, Debug)]
pub struct Rules {
    /// A hole in the sequences is a loss.
    pub dense: bool,
    /// The publishers' counters are watched: for repetitions that the broker lets through, and for
    /// losses that the sequences do not show.
    pub counters: bool,
    /// History can be read.
    pub history: bool,
    /// How many sequences before its position a resume reads, to learn the publishers' counters.
    pub lookback: u64,
    /// How many sequences there are to one number of the broker.
    pub slot: u64,
    /// How long a missing frame is waited for where history cannot be read.
    pub hole_timeout: Duration,
}

impl Rules {
    /// The rules for a backend.
    pub fn new(capabilities: &Capabilities, hole_timeout: Duration) -> Self {
        Self {
            dense: capabilities.dense,
            counters: !(capabilities.dense && capabilities.dedup),
            history: capabilities.history,
            lookback: capabilities.lookback,
            slot: capabilities.slot.max(1),
            hole_timeout,
        }
    }
}

/// A frame with its place, decoded or not.
#[derive(Clone, Debug)]
pub struct Placed {
    /// Sequence of its first message.
    pub first: Sequence,
    /// How many messages it holds.
    pub len: u32,
    /// The frame, or why it cannot be read.
    pub frame: Result<Arc<Frame>, FrameError>,
}

impl Placed {
    /// Decodes a stored frame. One that holds another number of messages than the broker counted is
    /// malformed.
    pub fn decode(stored: StoredFrame) -> Self {
        let StoredFrame { first, len, bytes } = stored;
        let frame = match Frame::decode(bytes) {
            Ok(frame) if frame.messages().len() == len as usize => Ok(Arc::new(frame)),
            Ok(_) => Err(FrameError::Malformed(
                "it does not hold as many messages as the broker counted",
            )),
            Err(error) => Err(error),
        };
        Self { first, len, frame }
    }

    /// Sequence of its last message.
    pub fn last(&self) -> Sequence {
        self.first.plus(u64::from(self.len.saturating_sub(1)))
    }
}

/// What comes out, in order. After each item the log is settled up to [`Item::settles`].
#[derive(Clone, Debug)]
pub enum Item {
    /// A frame; a reader skips the messages up to its own position.
    Frame(Epoch, Placed),
    /// These messages are lost.
    Gap(Gap),
    /// The log starts anew, just after this sequence of the reset's epoch.
    Reset(Reset, Sequence),
    /// This frame was skipped.
    Unreadable(Unreadable),
}

impl Item {
    /// Up to where the log is settled once this item is handed out.
    pub fn settles(&self) -> Position {
        match self {
            Self::Frame(epoch, placed) => Position::new(*epoch, placed.last()),
            Self::Gap(gap) => Position::new(gap.epoch, gap.last),
            Self::Reset(reset, sequence) => Position::new(reset.epoch, *sequence),
            Self::Unreadable(frame) => Position::new(frame.epoch, frame.last),
        }
    }
}

/// The ordering machine of one log.
#[derive(Debug)]
pub struct Order {
    rules: Arc<Rules>,
    /// Everything up to here is settled: handed out, or reported as lost.
    position: Position,
    /// From where on history has yet to be read for the publishers' counters, before the position.
    learn: Option<Sequence>,
    /// History should be read.
    wants: bool,
    publishers: Publishers,
    /// Without history: frames beyond a hole, and since when the hole is open.
    held: BTreeMap<Sequence, Placed>,
    hole_since: Option<Instant>,
    /// Without history: what comes before the next frame is lost.
    lost: bool,
}

impl Order {
    /// Where a log stands whose position the broker cannot tell before a frame arrives.
    pub const UNKNOWN: Position = Position::new(Epoch::new(0), Sequence::ZERO);

    /// A machine that continues just after `position`. It wants to read history first, unless there
    /// is none.
    pub fn resume(rules: Arc<Rules>, position: Position) -> Self {
        let sequence = position.sequence.get();
        let back = (rules.lookback > 0).then(|| sequence.saturating_sub(rules.lookback));
        Self {
            position,
            learn: back.map(Sequence::new),
            wants: rules.history,
            rules,
            publishers: Publishers::default(),
            held: BTreeMap::new(),
            hole_since: None,
            lost: false,
        }
    }

    /// A machine that knows that `position` is the log's head. It wants to read history first only
    /// where the publishers' counters have to be learned from it: a repetition of a frame may still
    /// be on its way.
    pub fn at_head(rules: Arc<Rules>, position: Position) -> Self {
        let resumed = Self::resume(rules, position);
        Self {
            wants: resumed.wants && resumed.learn.is_some(),
            ..resumed
        }
    }

    /// Up to where the log is settled.
    pub fn position(&self) -> Position {
        self.position
    }

    /// Whether history should be read, after [`Order::read_from`], and given to [`Order::page`].
    pub fn wants(&self) -> bool {
        self.wants
    }

    /// Asks for a read of history, as after every interruption.
    pub fn want(&mut self) {
        self.wants = self.rules.history;
    }

    /// Where to read history from: the position; at first, a little before it where the publishers'
    /// counters have to be learned.
    pub fn read_from(&self) -> Position {
        let sequence = self.learn.unwrap_or(self.position.sequence);
        Position::new(self.position.epoch, sequence)
    }

    /// When [`Order::expire`] should be called, if nothing comes before.
    pub fn deadline(&self) -> Option<Instant> {
        self.hole_since.map(|since| since + self.rules.hole_timeout)
    }

    /// Takes a frame that a listener delivered.
    pub fn live(&mut self, epoch: Epoch, placed: Placed, now: Instant, out: &mut Vec<Item>) {
        if epoch != self.position.epoch {
            if self.rules.history {
                // The frame may be older or newer than the epoch we know. The log itself tells, and
                // holds this frame if it still counts.
                self.wants = true;
                return;
            }
            if self.position == Self::UNKNOWN {
                // If something was lost before anything came, nobody can say since when.
                let before = if self.lost {
                    Sequence::ZERO
                } else {
                    placed.first.previous()
                };
                self.position = Position::new(epoch, before);
            } else {
                self.restart(epoch, placed.first.previous(), out);
            }
        }
        if placed.last() <= self.position.sequence {
            return;
        }
        if std::mem::take(&mut self.lost) {
            self.settle_loss(&placed, out);
        }
        if self.follows(&placed) && self.held.is_empty() {
            self.settle(placed, out);
            return;
        }
        if self.rules.history {
            // What is missing, and this frame too, is in the log by now.
            self.wants = true;
            return;
        }
        self.held.insert(placed.first, placed);
        self.settle_held(now, out);
        if self.held.len() > MAX_HELD {
            self.give_up_hole(now, out);
        }
    }

    /// Takes word that frames may have been lost: those between the last one and the next.
    pub fn lost(&mut self, epoch: Epoch, now: Instant, out: &mut Vec<Item>) {
        if self.rules.history {
            self.wants = true;
            return;
        }
        while !self.held.is_empty() {
            self.give_up_hole(now, out);
        }
        if epoch != self.position.epoch && self.position != Self::UNKNOWN {
            self.restart(epoch, Sequence::ZERO, out);
        }
        self.lost = true;
    }

    /// Takes a page of history that was read from [`Order::read_from`].
    pub fn page(&mut self, page: Page, out: &mut Vec<Item>) {
        let asked = self.read_from();
        self.wants = false;
        self.learn = None;
        if page.epoch != self.position.epoch {
            self.restart(page.epoch, Sequence::ZERO, out);
        } else if page.head < self.position.sequence {
            let reset = Reset::new(page.epoch, ResetReason::AheadOfHead);
            out.push(Item::Reset(reset, page.head));
            self.position.sequence = page.head;
            self.publishers = Publishers::default();
            return;
        }
        // Older frames are only here for their counters; a floor above them is no loss.
        if self.number_of(page.floor) > self.number_of(self.position.sequence.next()) {
            self.lose_until(page.floor.previous(), out);
        }
        let mut read_to = asked.sequence.min(self.position.sequence);
        let empty = page.frames.is_empty();
        for stored in page.frames {
            let placed = Placed::decode(stored);
            read_to = placed.last();
            if placed.last() <= self.position.sequence {
                self.note(&placed);
                continue;
            }
            if !self.follows(&placed) {
                self.lose_until(placed.first.previous(), out);
            }
            self.settle(placed, out);
        }
        if read_to < self.position.sequence && !empty {
            self.learn = Some(read_to);
            self.wants = true;
            return;
        }
        if read_to >= page.head {
            return;
        }
        if read_to > asked.sequence || asked != self.position {
            self.wants = true;
        } else {
            // The log says that there is more, and has nothing: it is gone.
            self.lose_until(page.head, out);
        }
    }

    /// Gives up a hole that has been open for too long.
    pub fn expire(&mut self, now: Instant, out: &mut Vec<Item>) {
        if self.deadline().is_some_and(|deadline| deadline <= now) {
            self.give_up_hole(now, out);
        }
    }

    /// The broker's number for what stands at this sequence. Between two messages of neighbouring
    /// numbers there can be no other, whatever their sequences.
    fn number_of(&self, sequence: Sequence) -> u64 {
        sequence.get() / self.rules.slot
    }

    /// Whether nothing can be missing between the position and this frame.
    fn follows(&self, placed: &Placed) -> bool {
        if self.rules.dense && placed.first > self.position.sequence.next() {
            return false;
        }
        match &placed.frame {
            Ok(frame) if self.rules.counters => {
                self.publishers.check(frame.publisher(), frame.counter()) != Seen::Ahead
            }
            _ => true,
        }
    }

    /// Hands a frame out, unless it repeats one, and settles the log up to its end.
    fn settle(&mut self, placed: Placed, out: &mut Vec<Item>) {
        let epoch = self.position.epoch;
        let after = self.position.sequence;
        self.position.sequence = placed.last();
        match &placed.frame {
            Ok(frame) => {
                let repeated = self.rules.counters
                    && self.publishers.note(frame.publisher(), frame.counter()) == Seen::Before;
                if !repeated {
                    out.push(Item::Frame(epoch, placed));
                }
            }
            Err(reason) => out.push(Item::Unreadable(Unreadable::new(
                epoch,
                placed.first.max(after.next()),
                placed.last(),
                *reason,
            ))),
        }
    }

    fn note(&mut self, placed: &Placed) {
        if let (true, Ok(frame)) = (self.rules.counters, &placed.frame) {
            self.publishers.note(frame.publisher(), frame.counter());
        }
    }

    /// Reports what lies between the position and `last`, if anything can.
    fn lose_until(&mut self, last: Sequence, out: &mut Vec<Item>) {
        let first = self.position.sequence.next();
        if first <= last {
            out.push(Item::Gap(Gap::new(self.position.epoch, first, last)));
            self.position.sequence = last;
        }
        // Counters that jump over the loss do not tell of a second one.
        self.publishers.forgive();
    }

    /// Reports what was lost before this frame, unless the broker's numbers show that nothing was.
    fn settle_loss(&mut self, placed: &Placed, out: &mut Vec<Item>) {
        let adjacent = self.number_of(self.position.sequence.next());
        if self.rules.slot == 1 || self.number_of(placed.first) > adjacent {
            self.lose_until(placed.first.previous(), out);
        }
    }

    fn restart(&mut self, epoch: Epoch, sequence: Sequence, out: &mut Vec<Item>) {
        let reset = Reset::new(epoch, ResetReason::EpochChanged);
        out.push(Item::Reset(reset, sequence));
        self.position = Position::new(epoch, sequence);
        self.publishers = Publishers::default();
        self.held.clear();
        self.hole_since = None;
    }

    fn settle_held(&mut self, now: Instant, out: &mut Vec<Item>) {
        while let Some((first, placed)) = self.held.pop_first() {
            if placed.last() <= self.position.sequence {
                continue;
            }
            if !self.follows(&placed) {
                self.held.insert(first, placed);
                self.hole_since.get_or_insert(now);
                return;
            }
            self.settle(placed, out);
        }
        self.hole_since = None;
    }

    fn give_up_hole(&mut self, now: Instant, out: &mut Vec<Item>) {
        self.hole_since = None;
        if let Some((first, placed)) = self.held.pop_first() {
            self.lose_until(first.previous(), out);
            self.settle(placed, out);
            self.settle_held(now, out);
        }
    }
}

#[cfg(test)]
mod tests;
