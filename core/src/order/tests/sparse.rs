//! Against brokers that number frames, with holes, and store what was tried again twice.

use super::*;

const SLOT: u64 = 8;

fn rules(lookback: u64) -> Arc<Rules> {
    Arc::new(Rules {
        dense: false,
        counters: true,
        history: true,
        lookback: lookback * SLOT,
        slot: SLOT,
        hole_timeout: Duration::from_secs(5),
    })
}

fn frame(publisher: u8, counter: u64, number: u64, len: u32) -> StoredFrame {
    StoredFrame::in_slot(number, SLOT, len, stored(publisher, counter, 1, len).bytes)
}

fn log(frames: Vec<StoredFrame>) -> Log {
    Log {
        epoch: EPOCH,
        floor: 1,
        frames,
    }
}

/// The last sequence of number `number`.
fn end(number: u64) -> u64 {
    number * SLOT + SLOT - 1
}

#[test]
fn a_frame_ends_where_the_next_slot_begins() {
    let (one, full) = (frame(1, 1, 0, 1), frame(1, 2, 1, 8));
    assert_eq!((one.first.get(), one.last().get()), (7, 7));
    assert_eq!((full.first.get(), full.last().get()), (8, 15));
}

#[test]
fn a_floor_in_the_next_slot_is_no_loss() {
    let mut log = log(vec![frame(1, 3, 3, 2), frame(1, 4, 4, 1)]);
    log.floor = log.frames[0].first.get();
    let mut machine = Machine::resume(rules(0), end(2));
    machine.read(&log, 10);
    assert_eq!(machine.told(), ["30-31", "39-39"]);
}

#[test]
fn a_floor_beyond_the_next_slot_is_a_gap() {
    let mut log = log(vec![frame(1, 4, 4, 1)]);
    log.floor = log.frames[0].first.get();
    let mut machine = Machine::resume(rules(0), end(2));
    machine.read(&log, 10);
    assert_eq!(machine.told(), ["gap 24-38", "39-39"]);
}

#[test]
fn a_floor_after_half_a_frame_is_a_gap() {
    let mut log = log(vec![frame(1, 4, 3, 1)]);
    log.floor = log.frames[0].first.get();
    // The frame of number 2 had at least one more message.
    let mut machine = Machine::resume(rules(0), end(2) - 1);
    machine.read(&log, 10);
    assert_eq!(machine.told(), ["gap 23-30", "31-31"]);
}

#[test]
fn a_frame_is_continued_where_it_was_left() {
    let log = log(vec![frame(1, 1, 2, 3), frame(1, 2, 3, 1)]);
    let mut machine = Machine::resume(rules(0), end(2) - 1);
    machine.read(&log, 10);
    assert_eq!(machine.told(), ["21-23", "31-31"]);
}

#[test]
fn a_log_that_was_emptied_goes_on() {
    let mut log = log(vec![frame(1, 9, 9, 1)]);
    log.floor = log.frames[0].first.get();
    let mut machine = Machine::resume(rules(0), end(4));
    let empty = Page {
        epoch: EPOCH,
        floor: Sequence::new(end(4) + 1),
        head: Sequence::new(end(4)),
        frames: Vec::new(),
    };
    machine.order.page(empty, &mut machine.out);
    assert!(!machine.order.wants());
    machine.live(EPOCH, log.frames[0].clone());
    assert_eq!(machine.told(), ["79-79"]);
}

#[test]
fn all_that_lies_before_the_position_is_learned_in_small_pages() {
    let log = log(vec![
        frame(1, 1, 1, 1),
        frame(2, 1, 2, 1),
        frame(3, 1, 3, 1),
        frame(1, 1, 4, 1),
        frame(2, 1, 5, 1),
        frame(3, 2, 6, 1),
    ]);
    let mut machine = Machine::resume(rules(9), end(3));
    machine.read(&log, 1);
    assert_eq!(machine.told(), ["55-55"]);
}

#[test]
fn at_the_head_the_counters_are_learned_too() {
    let mut log = log(vec![frame(1, 1, 1, 1)]);
    let head = Position::new(EPOCH, log.head());
    let mut machine = Machine::new(Order::at_head(rules(9), head));
    machine.read(&log, 10);
    // The answer to the first try was lost.
    log.frames.push(frame(1, 1, 2, 1));
    machine.live(EPOCH, log.frames[1].clone());
    machine.live(EPOCH, frame(1, 2, 3, 1));
    assert_eq!(machine.told(), ["31-31"]);
}

/// What happens at the broker or on the way.
#[derive(Clone, Debug)]
enum Fate {
    /// A publisher's next frame is stored, and the number before it left out or not.
    Append { publisher: u8, len: u32, hole: bool },
    /// A publisher's last frame is stored again.
    Repeat { publisher: u8 },
    /// The listener delivers so many frames. It leaves none out without a wake.
    Deliver(usize),
    /// The broker drops its oldest frames.
    Trim(usize),
    /// What was appended and not delivered has to be read.
    Reconnect,
    /// Another node goes on from where this one stands.
    Resume,
}

fn fates() -> impl Strategy<Value = Vec<Fate>> {
    let publisher = || 0_u8..3;
    let append = (publisher(), 1_u32..=8, any::<bool>());
    prop::collection::vec(
        prop_oneof![
            8 => append.prop_map(|(publisher, len, hole)| Fate::Append { publisher, len, hole }),
            2 => publisher().prop_map(|publisher| Fate::Repeat { publisher }),
            6 => (1_usize..4).prop_map(Fate::Deliver),
            1 => (1_usize..4).prop_map(Fate::Trim),
            1 => Just(Fate::Reconnect),
            1 => Just(Fate::Resume),
        ],
        0..150,
    )
}

struct Broker {
    log: Log,
    number: u64,
    counters: [u64; 3],
    last: [Option<u32>; 3],
    delivered: Sequence,
    /// The end of the last repetition.
    repeated: Sequence,
}

impl Broker {
    fn store(&mut self, publisher: u8, len: u32) {
        self.number += 1;
        let counter = self.counters[usize::from(publisher)];
        let stored = frame(publisher, counter, self.number, len);
        self.log.frames.push(stored);
    }

    fn holds_last(&self, publisher: u8) -> bool {
        let last = (
            PublisherId::new([publisher; 16]),
            self.counters[usize::from(publisher)],
        );
        let decoded = self
            .log
            .frames
            .iter()
            .map(|frame| Frame::decode(frame.bytes.clone()));
        decoded
            .flatten()
            .any(|frame| (frame.publisher(), frame.counter()) == last)
    }

    fn undelivered(&self) -> Vec<StoredFrame> {
        let frames = self.log.frames.iter();
        frames
            .filter(|frame| frame.last() > self.delivered)
            .cloned()
            .collect()
    }
}

proptest! {
    /// Every frame that was appended comes out once and in order, or lies in a gap, and gaps hold
    /// nothing that the broker still has.
    #[test]
    fn every_frame_is_handed_out_once_or_named_as_lost(fates in fates(), limit in 1_usize..8) {
        let mut broker = Broker {
            log: log(Vec::new()),
            number: 0,
            counters: [0; 3],
            last: [None; 3],
            delivered: Sequence::ZERO,
            repeated: Sequence::ZERO,
        };
        let mut machine = Machine::resume(rules(1_000), 0);
        let mut trimmed = Vec::new();
        for fate in fates {
            match fate {
                Fate::Append { publisher, len, hole } => {
                    broker.number += u64::from(hole);
                    broker.counters[usize::from(publisher)] += 1;
                    broker.last[usize::from(publisher)] = Some(len);
                    broker.store(publisher, len);
                }
                // Retention is longer than a publisher goes on trying.
                Fate::Repeat { publisher } if broker.holds_last(publisher) => {
                    let len = broker.last[usize::from(publisher)].unwrap_or(1);
                    broker.store(publisher, len);
                    broker.repeated = broker.log.head();
                }
                Fate::Trim(_) if broker.repeated > machine.order.position().sequence => {}
                Fate::Repeat { .. } => {}
                Fate::Deliver(count) => {
                    for frame in broker.undelivered().into_iter().take(count) {
                        broker.delivered = frame.last();
                        machine.live(EPOCH, frame);
                    }
                }
                Fate::Trim(count) => {
                    // The broker never drops the newest.
                    let count = count.min(broker.log.frames.len().saturating_sub(1));
                    if count > 0 {
                        trimmed.extend(broker.log.frames.drain(..count));
                        broker.log.floor = broker.log.frames[0].first.get();
                        // A listener that sees a number left out asks for a read.
                        machine.order.want();
                    }
                }
                Fate::Reconnect => {
                    broker.delivered = broker.log.head();
                    machine.order.want();
                }
                Fate::Resume => {
                    broker.delivered = broker.log.head();
                    machine.order = Order::resume(rules(1_000), machine.order.position());
                }
            }
            machine.read(&broker.log, limit);
        }
        machine.order.want();
        machine.read(&broker.log, limit);

        let mut position = 0;
        let mut seen = std::collections::HashSet::new();
        let mut gaps = Vec::new();
        for item in &machine.out {
            match item {
                Item::Frame(_, placed) => {
                    prop_assert!(placed.first.get() > position);
                    let frame = placed.frame.as_ref().unwrap();
                    prop_assert!(seen.insert((frame.publisher(), frame.counter())), "twice");
                }
                Item::Gap(gap) => {
                    prop_assert!(gap.first.get() > position);
                    gaps.push((gap.first, gap.last));
                }
                other => prop_assert!(false, "unexpected {:?}", other),
            }
            position = item.settles().sequence.get();
        }
        let lost = |frame: &StoredFrame| gaps.iter().any(|(a, b)| *a <= frame.first && frame.last() <= *b);
        for stored in trimmed.iter().chain(&broker.log.frames) {
            let frame = Frame::decode(stored.bytes.clone()).unwrap();
            let handed_out = seen.contains(&(frame.publisher(), frame.counter()));
            prop_assert!(handed_out || lost(stored), "missing {:?}", stored);
        }
        for kept in &broker.log.frames {
            prop_assert!(!lost(kept), "a gap covers {:?}", kept);
        }
    }
}
