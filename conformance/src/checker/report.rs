use std::fmt;

use scaleout_core::Topic;

use super::{Ending, History, Observation};

/// How many violations of one check are kept in words; the rest are counted.
const KEPT: usize = 5;

/// The checks, in the order in which their findings are most telling.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Check {
    /// A message that nobody published, or whose payload was altered.
    Unexpected,
    /// A message whose publisher was told that it is certainly not stored.
    AbortedRead,
    /// A message at two positions, or delivered twice to one subscription.
    Duplicate,
    /// A position with two messages.
    Divergence,
    /// A sequence that nothing holds, below one that something does.
    Hole,
    /// A message with a receipt that a subscription followed to the end did not get.
    LostWrite,
    /// A message with a receipt that a fresh subscription from the oldest message did not find.
    Unseen,
    /// A subscription's step to anything but the following sequence, without a gap or reset.
    Step,
    /// A publisher's messages out of its order.
    PublisherOrder,
    /// A message before one whose publish had returned when its own began.
    RealTimeOrder,
    /// A read that misses a message whose publish had returned.
    Staleness,
    /// A gap or reset without a loss, or one with wrong bounds.
    SpuriousGap,
    /// Nodes that disagree on the lives of a log.
    EpochChain,
    /// Too little happened for the run to prove anything.
    Vacuity,
}

/// A rule that the history breaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which rule.
    pub check: Check,
    /// In which topic, unless it concerns the whole run.
    pub topic: Option<Topic>,
    /// What was found.
    pub detail: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.check)?;
        if let Some(topic) = &self.topic {
            write!(f, " in {topic:?}")?;
        }
        write!(f, ": {}", self.detail)
    }
}

/// How much happened in a history.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Totals {
    /// Publishes that ended well.
    pub ok: usize,
    /// Publishes that ended as certainly not stored.
    pub fail: usize,
    /// Publishes whose outcome stayed unknown.
    pub unknown: usize,
    /// Messages that reached subscriptions.
    pub entries: usize,
    /// Gaps that subscriptions got.
    pub gaps: usize,
    /// Resets that subscriptions got.
    pub resets: usize,
    /// Reads of a head.
    pub reads: usize,
    /// Faults that were injected.
    pub faults: usize,
    /// Logs whose end state is known.
    pub finals: usize,
}

impl Totals {
    pub(super) fn of(history: &History) -> Self {
        let mut totals = Self {
            reads: history.reads.len(),
            faults: history.faults.len(),
            finals: history.finals.len(),
            ..Self::default()
        };
        for publish in &history.publishes {
            match publish.ending {
                Ending::Ok(..) => totals.ok += 1,
                Ending::Fail => totals.fail += 1,
                Ending::Unknown => totals.unknown += 1,
            }
        }
        for observation in history.subscribers.iter().flat_map(|s| &s.observations) {
            match observation {
                Observation::Entry(..) => totals.entries += 1,
                Observation::Gap(..) => totals.gaps += 1,
                Observation::EpochChanged(_) | Observation::AheadOfHead(_) => totals.resets += 1,
                Observation::Unreadable(..) | Observation::Closed => {}
            }
        }
        totals
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} publishes ok, {} failed, {} unknown; {} messages, {} gaps, {} resets delivered; \
             {} reads, {} faults",
            self.ok,
            self.fail,
            self.unknown,
            self.entries,
            self.gaps,
            self.resets,
            self.reads,
            self.faults
        )
    }
}

/// The checker's judgement.
#[derive(Clone, Debug)]
#[must_use]
pub struct Report {
    totals: Totals,
    violations: Vec<Violation>,
    more: usize,
}

impl Report {
    pub(super) fn new(totals: Totals) -> Self {
        Self {
            totals,
            violations: Vec::new(),
            more: 0,
        }
    }

    /// One broken rule can show ten thousand times; the words are only made for the first few.
    pub(super) fn add(
        &mut self,
        check: Check,
        topic: Option<&Topic>,
        detail: impl FnOnce() -> String,
    ) {
        if self.violations.iter().filter(|v| v.check == check).count() >= KEPT {
            self.more += 1;
            return;
        }
        self.violations.push(Violation {
            check,
            topic: topic.cloned(),
            detail: detail(),
        });
    }

    /// How much happened.
    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// The violations, a few of each kind.
    pub fn violations(&self) -> &[Violation] {
        &self.violations
    }

    /// Whether the history breaks no rule.
    pub fn passed(&self) -> bool {
        self.violations.is_empty()
    }

    /// The totals, or the report as text.
    ///
    /// # Errors
    ///
    /// The report's text if a rule is broken.
    pub fn into_result(self) -> Result<Totals, String> {
        if self.passed() {
            return Ok(self.totals);
        }
        Err(self.to_string())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.totals)?;
        for violation in &self.violations {
            write!(f, "\n  {violation}")?;
        }
        if self.more > 0 {
            write!(f, "\n  and {} more", self.more)?;
        }
        Ok(())
    }
}
