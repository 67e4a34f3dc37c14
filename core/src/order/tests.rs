//! The machine against simulated brokers.

use proptest::prelude::*;

use super::*;
use crate::{FrameBuilder, Message, PublisherId};

const EPOCH: Epoch = Epoch::new(1);

fn rules(dense: bool, history: bool) -> Arc<Rules> {
    Arc::new(Rules {
        dense,
        counters: !dense,
        history,
        lookback: if dense { 0 } else { 64 },
        slot: 1,
        hole_timeout: Duration::from_secs(5),
    })
}

fn stored(publisher: u8, counter: u64, first: u64, len: u32) -> StoredFrame {
    let mut builder = FrameBuilder::new();
    for _ in 0..len {
        builder.push(None, &Message::new("m"));
    }
    StoredFrame {
        first: Sequence::new(first),
        len,
        bytes: builder
            .finish(PublisherId::new([publisher; 16]), counter)
            .bytes()
            .clone(),
    }
}

/// A log: the truth that the machine is held against.
struct Log {
    epoch: Epoch,
    floor: u64,
    frames: Vec<StoredFrame>,
}

impl Log {
    /// Frames of these lengths, numbered densely.
    fn dense(lens: &[u32]) -> Self {
        let mut first = 1;
        let mut frames = Vec::new();
        for (index, &len) in lens.iter().enumerate() {
            frames.push(stored(7, index as u64 + 1, first, len));
            first += u64::from(len);
        }
        Self {
            epoch: EPOCH,
            floor: 1,
            frames,
        }
    }

    fn head(&self) -> Sequence {
        self.frames.last().map_or(Sequence::ZERO, StoredFrame::last)
    }

    fn page(&self, after: Position, limit: usize) -> Page {
        let after = if after.epoch == self.epoch {
            after.sequence
        } else {
            Sequence::ZERO
        };
        Page {
            epoch: self.epoch,
            floor: Sequence::new(self.floor),
            head: self.head(),
            frames: self
                .frames
                .iter()
                .filter(|f| f.first.get() >= self.floor && f.last() > after)
                .take(limit)
                .cloned()
                .collect(),
        }
    }
}

struct Machine {
    order: Order,
    out: Vec<Item>,
    now: Instant,
}

impl Machine {
    fn new(order: Order) -> Self {
        Self {
            order,
            out: Vec::new(),
            now: Instant::now(),
        }
    }

    fn resume(rules: Arc<Rules>, after: u64) -> Self {
        Self::new(Order::resume(
            rules,
            Position::new(EPOCH, Sequence::new(after)),
        ))
    }

    fn live(&mut self, epoch: Epoch, frame: StoredFrame) {
        self.order
            .live(epoch, Placed::decode(frame), self.now, &mut self.out);
    }

    /// Reads history for as long as the machine wants it.
    fn read(&mut self, log: &Log, limit: usize) {
        for _ in 0..10_000 {
            if !self.order.wants() {
                return;
            }
            let page = log.page(self.order.read_from(), limit);
            self.order.page(page, &mut self.out);
        }
        panic!("the machine reads for ever");
    }

    /// What came out, one word an item.
    fn told(&self) -> Vec<String> {
        self.out
            .iter()
            .map(|item| match item {
                Item::Frame(_, placed) => format!("{}-{}", placed.first, placed.last()),
                Item::Gap(gap) => format!("gap {}-{}", gap.first, gap.last),
                Item::Reset(reset, after) => format!("{:?} after {after}", reset.reason),
                Item::Unreadable(frame) => format!("unreadable {}-{}", frame.first, frame.last),
            })
            .collect()
    }
}

mod lost;
mod sparse;

#[test]
fn a_hole_is_read_from_history_once() {
    let log = Log::dense(&[1, 2, 1]);
    let mut machine = Machine::resume(rules(true, true), 0);
    machine.live(EPOCH, log.frames[0].clone());
    machine.live(EPOCH, log.frames[2].clone());
    assert!(machine.order.wants());
    machine.read(&log, 10);
    machine.live(EPOCH, log.frames[2].clone());
    assert_eq!(machine.told(), ["1-1", "2-3", "4-4"]);
}

#[test]
fn what_was_trimmed_is_a_gap_with_its_bounds() {
    let mut log = Log::dense(&[1; 10]);
    log.floor = 6;
    let mut machine = Machine::resume(rules(true, true), 2);
    machine.read(&log, 3);
    assert_eq!(
        machine.told(),
        ["gap 3-5", "6-6", "7-7", "8-8", "9-9", "10-10"]
    );
}

#[test]
fn what_the_log_skips_is_a_gap() {
    let mut log = Log::dense(&[1; 5]);
    log.frames.remove(2);
    let mut machine = Machine::resume(rules(true, true), 0);
    machine.read(&log, 1);
    assert_eq!(machine.told(), ["1-1", "2-2", "gap 3-3", "4-4", "5-5"]);
}

#[test]
fn a_log_that_has_nothing_where_its_head_says_so_is_a_gap() {
    let log = Page {
        epoch: EPOCH,
        floor: Sequence::FIRST,
        head: Sequence::new(4),
        frames: Vec::new(),
    };
    let mut machine = Machine::resume(rules(true, true), 0);
    machine.order.page(log, &mut machine.out);
    assert_eq!(machine.told(), ["gap 1-4"]);
    assert!(!machine.order.wants());
}

#[test]
fn a_new_epoch_is_a_reset_and_its_frames_follow_from_the_first() {
    let mut log = Log::dense(&[2, 1]);
    log.epoch = Epoch::new(2);
    let mut machine = Machine::resume(rules(true, true), 9);
    machine.order.wants = false;
    machine.live(log.epoch, log.frames[1].clone());
    machine.read(&log, 10);
    assert_eq!(machine.told(), ["EpochChanged after 0", "1-2", "3-3"]);
}

#[test]
fn a_stale_frame_of_an_old_epoch_is_dropped() {
    let log = Log::dense(&[1, 1]);
    let mut machine = Machine::resume(rules(true, true), 2);
    machine.live(Epoch::new(9), log.frames[0].clone());
    machine.read(&log, 10);
    assert!(machine.told().is_empty());
}

#[test]
fn a_position_beyond_the_head_is_a_reset_to_the_head() {
    let log = Log::dense(&[1; 3]);
    let mut machine = Machine::resume(rules(true, true), 8);
    machine.read(&log, 10);
    assert_eq!(machine.told(), ["AheadOfHead after 3"]);
}

#[test]
fn a_frame_that_cannot_be_read_is_told_and_skipped() {
    let mut log = Log::dense(&[1, 2, 1]);
    log.frames[1].bytes = vec![9, 9, 9].into();
    let mut machine = Machine::resume(rules(true, true), 0);
    machine.read(&log, 10);
    assert_eq!(machine.told(), ["1-1", "unreadable 2-3", "4-4"]);
}

#[test]
fn a_retry_that_the_broker_stored_twice_is_dropped() {
    let mut machine = Machine::resume(rules(false, true), 0);
    machine.order.wants = false;
    machine.live(EPOCH, stored(1, 1, 10, 1));
    machine.live(EPOCH, stored(1, 1, 20, 1));
    machine.live(EPOCH, stored(1, 2, 30, 1));
    assert_eq!(machine.told(), ["10-10", "30-30"]);
    assert_eq!(machine.order.position().sequence.get(), 30);
}

#[test]
fn a_retry_is_recognised_after_a_resume_between_the_two() {
    let log = Log {
        epoch: EPOCH,
        floor: 1,
        frames: vec![
            stored(1, 1, 10, 1),
            stored(1, 1, 20, 1),
            stored(1, 2, 30, 1),
        ],
    };
    let mut machine = Machine::resume(rules(false, true), 10);
    machine.read(&log, 2);
    assert_eq!(machine.told(), ["30-30"]);
}

#[test]
fn a_jump_of_a_counter_is_a_loss_where_sequences_do_not_show_it() {
    let log = Log {
        epoch: EPOCH,
        floor: 1,
        frames: vec![
            stored(1, 1, 10, 1),
            stored(1, 3, 30, 1),
            stored(2, 5, 40, 1),
        ],
    };
    let mut machine = Machine::resume(rules(false, true), 0);
    machine.order.wants = false;
    machine.live(EPOCH, log.frames[0].clone());
    machine.live(EPOCH, log.frames[1].clone());
    machine.read(&log, 10);
    assert_eq!(machine.told(), ["10-10", "gap 11-29", "30-30", "40-40"]);
}

#[test]
fn without_history_a_late_frame_closes_the_hole() {
    let mut machine = Machine::new(Order::at_head(rules(false, false), Order::UNKNOWN));
    machine.live(EPOCH, stored(1, 1, 10, 1));
    machine.live(EPOCH, stored(1, 3, 30, 1));
    assert!(machine.order.deadline().is_some());
    machine.live(EPOCH, stored(1, 2, 20, 1));
    assert_eq!(machine.told(), ["10-10", "20-20", "30-30"]);
    assert_eq!(machine.order.deadline(), None);
}

#[test]
fn without_history_a_hole_is_given_up_in_time() {
    let mut machine = Machine::new(Order::at_head(rules(false, false), Order::UNKNOWN));
    machine.live(EPOCH, stored(1, 1, 10, 1));
    machine.live(EPOCH, stored(1, 3, 30, 1));
    let deadline = machine.order.deadline().unwrap();
    let (now, out) = (machine.now, &mut machine.out);
    machine.order.expire(now, out);
    machine.order.expire(deadline, out);
    machine.live(EPOCH, stored(1, 2, 20, 1));
    machine.live(EPOCH, stored(1, 4, 40, 1));
    assert_eq!(machine.told(), ["10-10", "gap 11-29", "30-30", "40-40"]);
}

/// What a broker may do to the frames on their way.
#[derive(Clone, Debug)]
enum Fate {
    Deliver(usize),
    Trim(u64),
    Reconnect,
}

fn fates() -> impl Strategy<Value = Vec<Fate>> {
    prop::collection::vec(
        prop_oneof![
            8 => (0_usize..40).prop_map(Fate::Deliver),
            1 => (1_u64..60).prop_map(Fate::Trim),
            1 => Just(Fate::Reconnect),
        ],
        0..120,
    )
}

proptest! {
    /// Whatever is delivered, dropped, repeated, reordered or trimmed: every message comes out once
    /// and in order, or lies in exactly one gap, and only trimmed ones do.
    #[test]
    fn every_message_is_handed_out_once_or_named_as_lost(
        lens in prop::collection::vec(1_u32..4, 1..40),
        fates in fates(),
        limit in 1_usize..8,
    ) {
        let mut log = Log::dense(&lens);
        let mut machine = Machine::resume(rules(true, true), 0);
        let mut trimmed = 0;
        for fate in fates {
            match fate {
                Fate::Deliver(index) => {
                    if let Some(frame) = log.frames.get(index) {
                        machine.live(EPOCH, frame.clone());
                    }
                }
                Fate::Trim(floor) => {
                    let floor = log
                        .frames
                        .iter()
                        .map(|f| f.first.get())
                        .filter(|first| *first <= floor)
                        .max()
                        .unwrap_or(1);
                    log.floor = log.floor.max(floor);
                    trimmed = log.floor - 1;
                }
                Fate::Reconnect => machine.order.want(),
            }
            if machine.order.wants() {
                machine.read(&log, limit);
            }
        }
        machine.order.want();
        machine.read(&log, limit);

        let mut next = 1;
        for item in &machine.out {
            match item {
                Item::Frame(epoch, placed) => {
                    prop_assert_eq!(*epoch, EPOCH);
                    prop_assert_eq!(placed.first.get(), next);
                    next = placed.last().get() + 1;
                }
                Item::Gap(gap) => {
                    prop_assert_eq!(gap.first.get(), next);
                    prop_assert!(gap.last.get() <= trimmed);
                    next = gap.last.get() + 1;
                }
                other => prop_assert!(false, "unexpected {:?}", other),
            }
        }
        prop_assert_eq!(next, log.head().get() + 1);
    }
}
