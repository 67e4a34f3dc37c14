use std::time::Duration;

use super::*;

struct Fixture {
    queue: Queue,
    settings: QueueSettings,
    now: Moment,
    tokens: u8,
}

impl Fixture {
    fn new() -> Self {
        Self {
            queue: Queue::with_dead_letters(),
            settings: QueueSettings {
                lock_duration: Duration::from_secs(30),
                max_delivery_count: 3,
                ..QueueSettings::default()
            },
            now: Moment::from_millis(1_000),
            tokens: 0,
        }
    }

    fn with_messages(count: usize) -> Self {
        let mut fixture = Self::new();
        for _ in 0..count {
            fixture.push(Message::default());
        }
        fixture
    }

    fn push(&mut self, message: Message) {
        self.queue
            .push(self.now, Arc::new(message), None, &self.settings);
    }

    fn pass(&mut self, seconds: u64) {
        self.now = self.now.after(Duration::from_secs(seconds));
        self.queue.advance(self.now, &self.settings);
    }

    fn receive(&mut self) -> Option<Delivery> {
        self.tokens += 1;
        let mode = Mode::PeekLock([self.tokens; 16]);
        self.queue.receive(self.now, mode, &self.settings)
    }

    /// Number and count of the next message, which stays locked.
    fn next(&mut self) -> Option<(u64, u32)> {
        self.receive()
            .map(|delivery| (delivery.sequence, delivery.delivery_count))
    }

    fn settle(&mut self, delivery: &Delivery, outcome: Outcome) -> Result<(), Refusal> {
        let (token, _) = delivery.lock.unwrap();
        self.queue.settle(self.now, &token, outcome, &self.settings)
    }

    fn dead(&mut self) -> Vec<Delivery> {
        self.queue.dead_letters().unwrap().peek(0, usize::MAX)
    }
}

fn lasting(seconds: u64) -> Message {
    Message {
        time_to_live: Some(Duration::from_secs(seconds)),
        ..Message::default()
    }
}

fn reason(delivery: &Delivery) -> &Property {
    let mut overrides = delivery.overrides.iter();
    &overrides
        .find(|(name, _)| name == "DeadLetterReason")
        .unwrap()
        .1
}

#[test]
fn messages_come_in_order_and_only_once_while_locked() {
    let mut fixture = Fixture::with_messages(2);
    assert_eq!(fixture.next(), Some((1, 0)));
    assert_eq!(fixture.next(), Some((2, 0)));
    assert_eq!(fixture.next(), None);
}

#[test]
fn a_completed_message_is_gone() {
    let mut fixture = Fixture::with_messages(1);
    let delivery = fixture.receive().unwrap();
    fixture.settle(&delivery, Outcome::Complete).unwrap();
    assert_eq!(
        fixture.settle(&delivery, Outcome::Complete),
        Err(Refusal::LockLost)
    );
    fixture.pass(3_600);
    assert_eq!(fixture.next(), None);
    assert_eq!(fixture.queue.len(), 0);
    assert_eq!(fixture.queue.deadline(), None);
}

#[test]
fn receive_and_delete_leaves_nothing() {
    let mut fixture = Fixture::with_messages(1);
    let (now, settings) = (fixture.now, fixture.settings.clone());
    let delivery = fixture
        .queue
        .receive(now, Mode::ReceiveAndDelete, &settings);
    assert_eq!(delivery.unwrap().lock, None);
    assert_eq!(fixture.queue.len(), 0);
}

#[test]
fn a_lock_ends_by_time_and_the_message_comes_again_before_later_ones() {
    let mut fixture = Fixture::with_messages(2);
    let first = fixture.receive().unwrap();
    fixture.pass(29);
    assert_eq!(fixture.next(), Some((2, 0)));
    fixture.pass(1);
    assert_eq!(
        fixture.settle(&first, Outcome::Complete),
        Err(Refusal::LockLost)
    );
    assert_eq!(fixture.next(), Some((1, 1)));
}

#[test]
fn a_renewed_lock_lasts_longer() {
    let mut fixture = Fixture::with_messages(1);
    let delivery = fixture.receive().unwrap();
    fixture.pass(20);
    let (token, until) = delivery.lock.unwrap();
    let renewed = fixture
        .queue
        .renew(fixture.now, &token, &fixture.settings)
        .unwrap();
    assert_eq!(renewed, until.after(Duration::from_secs(20)));
    fixture.pass(29);
    assert_eq!(fixture.next(), None);
    fixture.pass(1);
    assert_eq!(fixture.next(), Some((1, 1)));
}

#[test]
fn an_abandoned_message_comes_again_and_a_released_one_uncounted() {
    let mut fixture = Fixture::with_messages(1);
    let delivery = fixture.receive().unwrap();
    let set = vec![("why".to_owned(), Property::from("busy"))];
    fixture
        .settle(&delivery, Outcome::Abandon(set.clone()))
        .unwrap();
    let again = fixture.receive().unwrap();
    assert_eq!(again.delivery_count, 1);
    assert_eq!(again.overrides, set);
    fixture.settle(&again, Outcome::Release).unwrap();
    assert_eq!(fixture.next(), Some((1, 1)));
}

#[test]
fn a_message_that_failed_too_often_is_dead_lettered() {
    let mut fixture = Fixture::with_messages(1);
    for count in 0..3 {
        let delivery = fixture.receive().unwrap();
        assert_eq!(delivery.delivery_count, count);
        fixture
            .settle(&delivery, Outcome::Abandon(Vec::new()))
            .unwrap();
    }
    assert_eq!(fixture.next(), None);
    assert_eq!(
        reason(&fixture.dead()[0]),
        &Property::from("MaxDeliveryCountExceeded")
    );
}

#[test]
fn the_dead_letter_queue_delivers_for_ever() {
    let mut fixture = Fixture::with_messages(1);
    let delivery = fixture.receive().unwrap();
    let why = dead_letter_reason("bad", "very");
    fixture.settle(&delivery, Outcome::DeadLetter(why)).unwrap();
    let settings = fixture.settings.clone();
    for count in 0..5 {
        let mode = Mode::PeekLock([100 + count; 16]);
        let dead = fixture.queue.dead_letters().unwrap();
        let delivery = dead.receive(fixture.now, mode, &settings).unwrap();
        assert_eq!(reason(&delivery), &Property::from("bad"));
        fixture.pass(30);
    }
}

#[test]
fn a_deferred_message_is_had_by_its_number_only() {
    let mut fixture = Fixture::with_messages(1);
    let delivery = fixture.receive().unwrap();
    fixture
        .settle(&delivery, Outcome::Defer(Vec::new()))
        .unwrap();
    assert_eq!(fixture.next(), None);
    let (now, settings) = (fixture.now, fixture.settings.clone());
    let mut deferred = |token| {
        fixture
            .queue
            .receive_deferred(now, 1, Mode::PeekLock([token; 16]), &settings)
    };
    let had = deferred(200).unwrap();
    assert_eq!(had.state, MessageState::Deferred);
    assert_eq!(deferred(201), None);
    fixture.pass(30);
    assert_eq!(
        fixture.next(),
        None,
        "it is deferred again when the lock ends"
    );
    assert_eq!(fixture.queue.peek(0, 1)[0].state, MessageState::Deferred);
}

#[test]
fn a_message_expires_but_not_while_it_is_locked() {
    let mut fixture = Fixture::new();
    fixture.push(lasting(10));
    fixture.push(lasting(10));
    fixture.receive().unwrap();
    fixture.pass(10);
    assert_eq!(fixture.queue.len(), 1, "the one that is not locked is gone");
    fixture.pass(20);
    assert_eq!(fixture.queue.len(), 0, "the other one when its lock ended");
    assert!(fixture.dead().is_empty());
}

#[test]
fn an_expired_message_is_dead_lettered_where_that_is_set() {
    let mut fixture = Fixture::new();
    fixture.settings.dead_letter_on_expiration = true;
    fixture.settings.time_to_live = Duration::from_secs(5);
    fixture.push(lasting(10));
    fixture.pass(5);
    assert_eq!(
        reason(&fixture.dead()[0]),
        &Property::from("TTLExpiredException")
    );
}

#[test]
fn broken_locks_count_as_failed_deliveries() {
    let mut fixture = Fixture::with_messages(1);
    fixture.receive().unwrap();
    fixture.queue.break_locks(fixture.now, &fixture.settings);
    assert_eq!(fixture.next(), Some((1, 1)));
}
