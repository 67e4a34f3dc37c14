//! A simulated backplane makes histories: several publishers and subscriptions, lost answers, trims
//! and wipes, interleaved at random. All of them pass; each damage to one is noticed.

use proptest::{collection::vec, prelude::*, sample::Index};

use super::*;

/// One step of the simulation. Numbers choose among what is there, whatever that is.
#[derive(Clone, Debug)]
enum Step {
    Invoke(usize),
    Store(Index),
    Return(Index),
    LoseAnswer(Index),
    Reject(Index),
    Subscribe(usize, bool),
    Deliver(Index, usize),
    Read,
    Trim,
    Wipe,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..4_usize).prop_map(Step::Invoke),
        8 => any::<Index>().prop_map(Step::Store),
        8 => any::<Index>().prop_map(Step::Return),
        1 => any::<Index>().prop_map(Step::LoseAnswer),
        1 => any::<Index>().prop_map(Step::Reject),
        1 => (0..3_usize, any::<bool>()).prop_map(|(node, latest)| Step::Subscribe(node, latest)),
        8 => (any::<Index>(), 1..4_usize).prop_map(|(which, count)| Step::Deliver(which, count)),
        2 => Just(Step::Read),
        1 => Just(Step::Trim),
        1 => Just(Step::Wipe),
    ]
}

/// A log and its clients that keep the contract.
struct Simulation {
    history: History,
    time: u64,
    life: u128,
    wipes: usize,
    floor: u64,
    /// What the log of this life holds, from sequence 1; trimmed ones too, below the floor.
    log: Vec<Value>,
    /// Each publisher has at most one publish under way: its index, and where it was stored.
    under_way: [Option<(usize, Option<Position>)>; 4],
    counters: [u64; 4],
    /// Where each subscription stands; `None` before its first life.
    stands: Vec<Position>,
}

impl Simulation {
    fn run(steps: &[Step]) -> Self {
        let mut simulation = Self {
            history: History::default(),
            time: 0,
            life: 1,
            wipes: 0,
            floor: 1,
            log: Vec::new(),
            under_way: [None; 4],
            counters: [0; 4],
            stands: Vec::new(),
        };
        simulation.subscribe(0, false);
        for step in steps {
            simulation.time += 1;
            simulation.step(step);
        }
        simulation.finish()
    }

    fn epoch(&self) -> Epoch {
        Epoch::new(self.life)
    }

    fn head(&self) -> Position {
        at(self.epoch(), self.log.len() as u64)
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Invoke(publisher) => self.invoke(publisher),
            Step::Store(which) => {
                let free =
                    |(publish, stored): (usize, Option<_>)| stored.is_none().then_some(publish);
                if let Some((publisher, publish)) = self.pick(which, free) {
                    self.log.push(self.history.publishes[publish].value);
                    self.under_way[publisher] = Some((publish, Some(self.head())));
                }
            }
            Step::Return(which) => {
                let stored = |(publish, stored): (usize, Option<Position>)| {
                    stored.map(|position| (publish, position))
                };
                if let Some((publisher, (publish, position))) = self.pick(which, stored) {
                    self.history.publishes[publish].ending = ok(position, self.time);
                    self.under_way[publisher] = None;
                }
            }
            Step::LoseAnswer(which) => {
                if let Some((publisher, _)) = self.pick(which, Some) {
                    self.under_way[publisher] = None;
                }
            }
            Step::Reject(which) => {
                let free =
                    |(publish, stored): (usize, Option<_>)| stored.is_none().then_some(publish);
                if let Some((publisher, publish)) = self.pick(which, free) {
                    self.history.publishes[publish].ending = Ending::Fail;
                    self.under_way[publisher] = None;
                }
            }
            Step::Subscribe(node, latest) => self.subscribe(node, latest),
            Step::Deliver(which, count) => {
                let subscriber = which.index(self.stands.len());
                for _ in 0..count {
                    self.deliver(subscriber);
                }
            }
            Step::Read => self.history.reads.push(Read {
                topic: topic(),
                node: 0,
                invoked: Duration::from_millis(self.time),
                head: self.head(),
            }),
            Step::Trim => self.floor += (self.log.len() as u64 + 1 - self.floor) / 2,
            Step::Wipe => {
                self.life += 1;
                self.wipes += 1;
                self.floor = 1;
                self.log.clear();
            }
        }
    }

    fn invoke(&mut self, publisher: usize) {
        if self.under_way[publisher].is_some() {
            return;
        }
        let value = value(u32::try_from(publisher).unwrap(), self.counters[publisher]);
        self.counters[publisher] += 1;
        self.history
            .publishes
            .push(publish(value, self.time, Ending::Unknown));
        self.under_way[publisher] = Some((self.history.publishes.len() - 1, None));
    }

    fn pick<T>(
        &self,
        which: Index,
        fits: impl Fn((usize, Option<Position>)) -> Option<T>,
    ) -> Option<(usize, T)> {
        let under_way = self.under_way.iter().enumerate();
        let mut fitting: Vec<_> = under_way
            .filter_map(|(publisher, publish)| Some((publisher, fits((*publish)?)?)))
            .collect();
        (!fitting.is_empty()).then(|| fitting.swap_remove(which.index(fitting.len())))
    }

    fn subscribe(&mut self, node: usize, latest: bool) {
        let (start, stands) = if latest {
            (SubscriberStart::After(self.head()), self.head())
        } else {
            (SubscriberStart::Earliest, at(self.epoch(), self.floor - 1))
        };
        let mut subscriber = subscriber(start, Vec::new());
        subscriber.node = node;
        self.history.subscribers.push(subscriber);
        self.stands.push(stands);
    }

    /// Hands the next event to a subscription, if there is one.
    fn deliver(&mut self, subscriber: usize) -> bool {
        let stands = self.stands[subscriber];
        let next = stands.sequence.get() + 1;
        let (observation, stands) = if stands.epoch != self.epoch() {
            (
                Observation::EpochChanged(self.epoch()),
                at(self.epoch(), self.floor - 1),
            )
        } else if next < self.floor {
            let last = Sequence::new(self.floor - 1);
            let gap = Observation::Gap(self.epoch(), Sequence::new(next), last);
            (gap, Position::new(self.epoch(), last))
        } else if let Some(value) = self
            .log
            .get(usize::try_from(stands.sequence.get()).unwrap())
        {
            let position = at(self.epoch(), next);
            (Observation::Entry(position, Some(*value)), position)
        } else {
            return false;
        };
        self.history.subscribers[subscriber]
            .observations
            .push(observation);
        self.stands[subscriber] = stands;
        true
    }

    fn finish(mut self) -> Self {
        for subscriber in 0..self.stands.len() {
            while self.deliver(subscriber) {}
        }
        let held = self
            .log
            .iter()
            .enumerate()
            .skip(usize::try_from(self.floor).unwrap() - 1);
        let held: Vec<_> = held
            .map(|(index, value)| (index as u64 + 1, *value))
            .collect();
        self.history
            .finals
            .push(last(self.epoch(), self.floor, held));
        self
    }

    /// Says nothing of how much must have happened: a few steps may do nothing at all.
    fn plan(&self) -> Plan {
        let plan = Plan::new().with_gaps().with_wipes(self.wipes);
        plan.with_publishes(0).with_entries(0)
    }
}

/// A subscription of the last life that got messages, and the index of one of them which `fits`.
fn some_entry(
    history: &History,
    which: Index,
    fits: impl Fn(&Subscriber, usize) -> bool,
) -> Option<(usize, usize)> {
    let all = history
        .subscribers
        .iter()
        .enumerate()
        .flat_map(|(subscriber, s)| {
            let entries = s.observations.iter().enumerate();
            let entries = entries.filter(|(_, o)| matches!(o, Observation::Entry(..)));
            entries.map(move |(index, _)| (subscriber, index))
        });
    let fitting: Vec<_> = all
        .filter(|(subscriber, index)| fits(&history.subscribers[*subscriber], *index))
        .collect();
    (!fitting.is_empty()).then(|| fitting[which.index(fitting.len())])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn what_a_correct_backplane_does_passes(steps in vec(step(), 0..300)) {
        let simulation = Simulation::run(&steps);
        let report = simulation.history.check(&simulation.plan());
        prop_assert!(report.passed(), "{report}");
    }

    #[test]
    fn a_message_missing_from_a_stream_is_noticed(
        steps in vec(step(), 100..300),
        which in any::<Index>(),
    ) {
        let mut simulation = Simulation::run(&steps);
        let history = &mut simulation.history;
        let followed = |s: &Subscriber, index: usize| {
            matches!(s.observations.get(index + 1), Some(Observation::Entry(..)))
                && matches!(s.observations.get(index.wrapping_sub(1)), Some(Observation::Entry(..)))
        };
        let picked = some_entry(history, which, followed);
        prop_assume!(picked.is_some());
        let (subscriber, index) = picked.unwrap();
        history.subscribers[subscriber].observations.remove(index);
        prop_assert!(!simulation.history.check(&simulation.plan()).passed());
    }

    #[test]
    fn a_message_delivered_again_is_noticed(
        steps in vec(step(), 100..300),
        which in any::<Index>(),
    ) {
        let mut simulation = Simulation::run(&steps);
        let history = &mut simulation.history;
        let picked = some_entry(history, which, |_, _| true);
        prop_assume!(picked.is_some());
        let (subscriber, index) = picked.unwrap();
        let again = history.subscribers[subscriber].observations[index];
        history.subscribers[subscriber].observations.insert(index, again);
        prop_assert!(!simulation.history.check(&simulation.plan()).passed());
    }

    #[test]
    fn two_messages_swapped_are_noticed(
        steps in vec(step(), 100..300),
        which in any::<Index>(),
    ) {
        let mut simulation = Simulation::run(&steps);
        let history = &mut simulation.history;
        let followed = |s: &Subscriber, index: usize| {
            matches!(s.observations.get(index + 1), Some(Observation::Entry(..)))
        };
        let picked = some_entry(history, which, followed);
        prop_assume!(picked.is_some());
        let (subscriber, index) = picked.unwrap();
        history.subscribers[subscriber].observations.swap(index, index + 1);
        prop_assert!(!simulation.history.check(&simulation.plan()).passed());
    }
}
