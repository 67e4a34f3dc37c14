//! A subscription with a fault.

use std::collections::VecDeque;

use futures_util::future::poll_immediate;
use scaleout_core::{Cursor, Event, Subscription};

use crate::{BoxFuture, Layer, Source};

/// A subscription with a fault.
#[derive(Debug)]
pub(super) struct Tails(pub(super) Fault);

#[derive(Clone, Copy, Debug)]
pub(super) enum Fault {
    NoGaps,
    ShortGaps,
    NoResets,
    Swaps,
    NoFirst,
    LosesOnCancel,
}

impl Layer for Tails {
    fn tail(&self, subscription: Subscription) -> Box<dyn Source> {
        Box::new(Faulty {
            subscription,
            fault: self.0,
            ready: VecDeque::new(),
            taken: 0,
        })
    }
}

struct Faulty {
    subscription: Subscription,
    fault: Fault,
    ready: VecDeque<Event>,
    taken: usize,
}

impl Source for Faulty {
    fn next(&mut self) -> BoxFuture<'_, Option<Event>> {
        Box::pin(async move {
            loop {
                if let Some(event) = self.ready.pop_front() {
                    return Some(event);
                }
                let event = self.subscription.next().await?;
                self.taken += 1;
                match (self.fault, event) {
                    (Fault::NoGaps, Event::Gap(_)) | (Fault::NoResets, Event::Reset(_)) => {}
                    (Fault::NoFirst, _) if self.taken == 1 => {}
                    (Fault::ShortGaps, Event::Gap(mut gap)) => {
                        gap.last = gap.last.previous();
                        return Some(Event::Gap(gap));
                    }
                    (Fault::Swaps, event) if self.taken.is_multiple_of(7) => {
                        // Only what is there already is swapped: nothing waits for the next.
                        let next = poll_immediate(self.subscription.next());
                        if let Some(Some(next)) = next.await {
                            self.taken += 1;
                            self.ready.push_back(event);
                            return Some(next);
                        }
                        return Some(event);
                    }
                    (Fault::LosesOnCancel, event) => {
                        tokio::task::yield_now().await;
                        return Some(event);
                    }
                    (_, event) => return Some(event),
                }
            }
        })
    }

    fn cursor(&self) -> Cursor {
        self.subscription.cursor()
    }
}
