use scaleout_core::Capabilities;

use super::{Check, History, Report, report::Totals};

/// What a run set out to do: what the checker may hold against it.
///
/// A history in which nothing happened breaks no rule. So a plan also says how much must have
/// happened; less is a failure ([`Check::Vacuity`]), not a pass.
#[derive(Clone, Debug)]
#[must_use]
pub struct Plan {
    pub(super) dense: bool,
    pub(super) linearizable: bool,
    pub(super) gaps: bool,
    pub(super) wipes: usize,
    minimum: Totals,
}

impl Plan {
    /// The strictest plan: sequences without holes, every read up to date, no loss and no wipe, and
    /// at least one publish seen by at least one subscriber and found again at the end.
    pub fn new() -> Self {
        Self {
            dense: true,
            linearizable: true,
            gaps: false,
            wipes: 0,
            minimum: Totals {
                ok: 1,
                entries: 1,
                finals: 1,
                ..Totals::default()
            },
        }
    }

    /// The strictest plan that a backend promises to fulfil.
    ///
    /// Sequences count as dense only if every topic has a log of its own, `per_topic`.
    pub fn for_backend(capabilities: &Capabilities, per_topic: bool) -> Self {
        let mut plan = Self::new();
        plan.dense = capabilities.dense && per_topic;
        plan.linearizable = capabilities.linearizable;
        plan.minimum.finals = usize::from(capabilities.history);
        plan
    }

    /// Sequences may have holes.
    pub fn sparse(mut self) -> Self {
        self.dense = false;
        self
    }

    /// Messages may be lost, if a gap takes their place: the run outlasts the retention.
    pub fn with_gaps(mut self) -> Self {
        self.gaps = true;
        self
    }

    /// Each log loses its life up to so many times.
    pub fn with_wipes(mut self, wipes: usize) -> Self {
        self.wipes = wipes;
        self
    }

    /// At least so many publishes must have ended well.
    pub fn with_publishes(mut self, ok: usize) -> Self {
        self.minimum.ok = ok;
        self
    }

    /// At least so many messages must have reached subscribers.
    pub fn with_entries(mut self, entries: usize) -> Self {
        self.minimum.entries = entries;
        self
    }

    /// At least so many reads of a head must have been made.
    pub fn with_reads(mut self, reads: usize) -> Self {
        self.minimum.reads = reads;
        self
    }

    /// At least so many faults must have been injected.
    pub fn with_faults(mut self, faults: usize) -> Self {
        self.minimum.faults = faults;
        self
    }

    pub(super) fn check_vacuity(&self, history: &History, report: &mut Report) {
        let totals = Totals::of(history);
        let counts = [
            ("publishes that ended well", totals.ok, self.minimum.ok),
            ("messages delivered", totals.entries, self.minimum.entries),
            ("reads of a head", totals.reads, self.minimum.reads),
            ("faults", totals.faults, self.minimum.faults),
            (
                "logs read from the start at the end",
                totals.finals,
                self.minimum.finals,
            ),
        ];
        for (what, found, planned) in counts {
            if found < planned {
                report.add(Check::Vacuity, None, || {
                    format!("{found} {what}, {planned} planned")
                });
            }
        }
    }
}

impl Default for Plan {
    fn default() -> Self {
        Self::new()
    }
}
