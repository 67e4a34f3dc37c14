//! [`Report`]: what a run showed.

use std::{fmt, time::Duration};

use crate::{Case, Failure, Level};

/// How a case ended.
#[derive(Debug)]
#[non_exhaustive]
pub enum Verdict {
    /// What it checks is kept.
    Passed,
    /// It is not.
    Failed(Failure),
    /// The target does not offer what the case needs; with the reason.
    Skipped(&'static str),
    /// The backend does not claim what the case checks.
    NotApplicable,
}

/// A case and how it ended.
#[derive(Debug)]
pub struct Outcome {
    /// The case.
    pub case: &'static Case,
    /// How it ended.
    pub verdict: Verdict,
    /// How long it took.
    pub elapsed: Duration,
}

impl Outcome {
    /// The failure, if it failed and that counts.
    pub fn failure(&self) -> Option<&Failure> {
        match &self.verdict {
            Verdict::Failed(failure) if self.case.level != Level::Should => Some(failure),
            _ => None,
        }
    }
}

/// What a run showed.
#[derive(Debug)]
#[non_exhaustive]
pub struct Report {
    /// The backend's name.
    pub backend: &'static str,
    /// How many cases were chosen.
    pub cases: usize,
    /// How many passed.
    pub passed: usize,
    /// How many failed, those not counted that only should hold.
    pub failed: usize,
    /// How many could not run against this target.
    pub skipped: usize,
    /// How many check what the backend does not claim.
    pub not_applicable: usize,
    /// What each failure says, the case's id first; then what is wrong with the run as a whole.
    pub failures: Vec<String>,
    /// What should hold, and does not.
    pub warnings: Vec<String>,
    /// Every case, in the order of the list.
    pub outcomes: Vec<Outcome>,
    /// The seed of everything random.
    pub seed: u64,
}

impl Report {
    pub(crate) fn new(backend: &'static str, seed: u64, outcomes: Vec<Outcome>) -> Self {
        let mut report = Self {
            backend,
            cases: outcomes.len(),
            passed: 0,
            failed: 0,
            skipped: 0,
            not_applicable: 0,
            failures: Vec::new(),
            warnings: Vec::new(),
            outcomes: Vec::new(),
            seed,
        };
        for outcome in &outcomes {
            let case = outcome.case;
            match &outcome.verdict {
                Verdict::Passed => report.passed += 1,
                Verdict::Skipped(_) => report.skipped += 1,
                Verdict::NotApplicable => report.not_applicable += 1,
                Verdict::Failed(failure) => {
                    let line = format!("{} {}: {failure}", case.id, case.title);
                    if case.level == Level::Should {
                        report.warnings.push(line);
                    } else {
                        report.failed += 1;
                        report.failures.push(line);
                    }
                }
            }
        }
        if report.passed + report.failed + report.warnings.len() == 0 {
            report.failures.push("no case ran".to_owned());
        }
        report.outcomes = outcomes;
        report
    }

    /// Whether some cases ran, none failed, and none was skipped unexpectedly.
    pub fn is_ok(&self) -> bool {
        self.failures.is_empty()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {} cases: {} passed, {} failed, {} skipped, {} not applicable (seed {})",
            self.backend,
            self.cases,
            self.passed,
            self.failed,
            self.skipped,
            self.not_applicable,
            self.seed
        )?;
        for failure in &self.failures {
            write!(f, "\n  FAILED {failure}")?;
        }
        for warning in &self.warnings {
            write!(f, "\n  warning {warning}")?;
        }
        Ok(())
    }
}
