//! The history checker: what happened in a run, judged after the run.
//!
//! A case records what every publisher attempted, how each attempt ended, and what every subscriber
//! got ([`Recorder`]); under faults nobody can say beforehand what must come out. [`History::check`]
//! then decides whether what came out is one that the contract allows. It knows no clock and no
//! broker: times and observations are data, so each check is itself tested with a history made by
//! hand that only this check refuses.
//!
//! Every payload is a [`Value`] that no other publish carries, which is what makes the judgement exact
//! and cheap: all checks are O(n log n), without search.

mod history;
mod index;
mod places;
mod plan;
mod recorder;
mod report;
mod streams;
#[cfg(test)]
mod tests;
mod value;

pub use self::{
    history::{Ending, Final, History, Observation, Publish, Read, Subscriber, SubscriberStart},
    plan::Plan,
    recorder::{Observer, Publisher, ReadTicket, Recorder, Ticket},
    report::{Check, Report, Totals, Violation},
    value::Value,
};

use self::index::LogIndex;

impl History {
    /// Judges the history.
    pub fn check(&self, plan: &Plan) -> Report {
        let mut report = Report::new(Totals::of(self));
        plan.check_vacuity(self, &mut report);
        for log in self.logs() {
            let index = LogIndex::new(self, &log, &mut report);
            places::check(&index, plan, &mut report);
            streams::check(&index, plan, &mut report);
        }
        report
    }
}
