//! Brokers whose history cannot be read, and whose listener says that it may have missed something.

use super::*;

const SLOT: u64 = 8;
const NEXT: Epoch = Epoch::new(8);

fn rules() -> Arc<Rules> {
    Arc::new(Rules {
        dense: false,
        counters: true,
        history: false,
        lookback: 0,
        slot: SLOT,
        hole_timeout: Duration::from_secs(5),
    })
}

fn frame(counter: u64, number: u64) -> StoredFrame {
    StoredFrame::in_slot(number, SLOT, 1, stored(1, counter, 1, 1).bytes)
}

fn machine() -> Machine {
    Machine::new(Order::at_head(rules(), Order::UNKNOWN))
}

fn lose(machine: &mut Machine, epoch: Epoch) {
    machine.order.lost(epoch, machine.now, &mut machine.out);
}

#[test]
fn what_lies_between_the_last_frame_and_the_next_is_a_gap() {
    let mut machine = machine();
    machine.live(EPOCH, frame(1, 0));
    lose(&mut machine, EPOCH);
    machine.live(EPOCH, frame(5, 4));
    machine.live(EPOCH, frame(6, 5));
    assert_eq!(machine.told(), ["7-7", "gap 8-38", "39-39", "47-47"]);
}

#[test]
fn neighbouring_numbers_show_that_nothing_was_lost() {
    let mut machine = machine();
    machine.live(EPOCH, frame(1, 0));
    lose(&mut machine, EPOCH);
    machine.live(EPOCH, frame(2, 1));
    assert_eq!(machine.told(), ["7-7", "15-15"]);
}

#[test]
fn a_loss_before_anything_came_reaches_back_to_the_beginning() {
    let mut machine = machine();
    lose(&mut machine, EPOCH);
    machine.live(EPOCH, frame(3, 2));
    assert_eq!(machine.told(), ["gap 1-22", "23-23"]);
}

#[test]
fn another_life_is_told_before_a_frame_of_it_comes() {
    let mut machine = machine();
    machine.live(EPOCH, frame(1, 0));
    lose(&mut machine, NEXT);
    assert!(matches!(machine.out.last(), Some(Item::Reset(reset, _)) if reset.epoch == NEXT));
    machine.live(NEXT, frame(1, 0));
    assert_eq!(machine.out.len(), 3, "{:?}", machine.told());
}

#[test]
fn a_repetition_after_a_loss_is_still_one() {
    let mut machine = machine();
    machine.live(EPOCH, frame(1, 0));
    lose(&mut machine, EPOCH);
    machine.live(EPOCH, frame(1, 1));
    assert_eq!(machine.told(), ["7-7"]);
}
