//! [`Suite`]: runs many cases and reports.

use std::{fmt, sync::Arc, thread};

use scaleout_core::{Backend, Error, ErrorKind, Result};
use tokio::{sync::oneshot, task::JoinSet, time::Instant};

use crate::{
    Case, Class, Outcome, Report, Target, cases,
    runner::{self, Settings},
    skips,
};

/// Runs cases against a target and reports.
pub struct Suite {
    target: Arc<dyn Target>,
    cases: Vec<&'static Case>,
    parallel: usize,
    settings: Settings,
    expected_skips: Option<String>,
    progress: Box<dyn FnMut(&Outcome) + Send>,
}

impl Suite {
    /// All cases against this target.
    pub fn new(target: impl Target) -> Self {
        Self::of(Arc::new(target))
    }

    /// All cases against this target.
    pub fn of(target: Arc<dyn Target>) -> Self {
        Self {
            target,
            cases: cases::all().collect(),
            // Cases mostly wait for the broker.
            parallel: thread::available_parallelism().map_or(4, |cores| 2 * cores.get()),
            settings: Settings::from_env(),
            expected_skips: None,
            progress: Box::new(|_| ()),
        }
    }

    /// Only cases of this class.
    #[must_use]
    pub fn class(self, class: Class) -> Self {
        self.filter(|case| case.class == class)
    }

    /// Only cases that `keep` keeps.
    #[must_use]
    pub fn filter(mut self, keep: impl Fn(&Case) -> bool) -> Self {
        self.cases.retain(|case| keep(case));
        self
    }

    /// How many shared cases run at a time. Default: twice the number of cores.
    #[must_use]
    pub fn parallel(mut self, cases: usize) -> Self {
        self.parallel = cases.max(1);
        self
    }

    /// Sets the seed. Default: `SCALEOUT_SEED`, or a new one.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.settings.seed = seed;
        self
    }

    /// Fails the run if other cases are left out than this list names: a line each, `ID reason`.
    #[must_use]
    pub fn expect_skips(mut self, list: impl Into<String>) -> Self {
        self.expected_skips = Some(list.into());
        self
    }

    /// Called after every case.
    #[must_use]
    pub fn on_progress(mut self, progress: impl FnMut(&Outcome) + Send + 'static) -> Self {
        self.progress = Box::new(progress);
        self
    }

    /// The cases that are chosen.
    pub fn cases(&self) -> &[&'static Case] {
        &self.cases
    }

    /// Runs the cases: the shared ones in parallel, then the others one by one.
    ///
    /// # Errors
    ///
    /// What the backend answers when it cannot be reached at all. Failed cases are in the report.
    ///
    /// # Cancellation
    ///
    /// Cases that have begun run to their end on their own threads; no more are begun.
    pub async fn run(mut self) -> Result<Report> {
        let connector = self.target.connector(&self.target.url())?;
        let capabilities = connector.backend.capabilities();
        connector.backend.probe().await?;
        let deadline = Instant::now() + connector.options.request_timeout;
        connector.backend.close(deadline).await?;

        let mut outcomes = Vec::with_capacity(self.cases.len());
        let (mut shared, mut alone) = (Vec::new(), Vec::new());
        for &case in &self.cases {
            match runner::excused(case, &*self.target, &capabilities) {
                Some(verdict) => {
                    let outcome = Outcome {
                        case,
                        verdict,
                        elapsed: std::time::Duration::ZERO,
                    };
                    (self.progress)(&outcome);
                    outcomes.push(outcome);
                }
                None if case.class == Class::Shared => shared.push(case),
                None => alone.push(case),
            }
        }
        for (cases, parallel) in [(shared, self.parallel), (alone, 1)] {
            self.run_all(cases, parallel, &mut outcomes).await?;
        }
        let place = |id| self.cases.iter().position(|case| case.id == id);
        outcomes.sort_by_key(|outcome| place(outcome.case.id));

        let unexpected = self.expected_skips.as_ref().map(|list| {
            let excuses = outcomes
                .iter()
                .map(|outcome| (outcome.case, Some(&outcome.verdict)));
            skips::differences(list, excuses)
        });
        let mut report = Report::new(capabilities.name, self.settings.seed, outcomes);
        report.failures.extend(unexpected.into_iter().flatten());
        Ok(report)
    }

    async fn run_all(
        &mut self,
        cases: Vec<&'static Case>,
        parallel: usize,
        outcomes: &mut Vec<Outcome>,
    ) -> Result<()> {
        let mut waiting = cases.into_iter();
        let mut running = JoinSet::new();
        loop {
            while running.len() < parallel
                && let Some(case) = waiting.next()
            {
                let outcome = spawn(case, self.target.clone(), self.settings.clone())?;
                running.spawn(outcome);
            }
            let Some(joined) = running.join_next().await else {
                return Ok(());
            };
            let outcome = joined.ok().and_then(Result::ok).ok_or_else(|| {
                Error::new(
                    ErrorKind::Broker,
                    "a thread of the suite ended without an outcome",
                )
            })?;
            (self.progress)(&outcome);
            outcomes.push(outcome);
        }
    }
}

/// A thread for the case: it brings a runtime of its own.
fn spawn(
    case: &'static Case,
    target: Arc<dyn Target>,
    settings: Settings,
) -> Result<oneshot::Receiver<Outcome>> {
    let (sender, receiver) = oneshot::channel();
    thread::Builder::new()
        .name(case.id.to_owned())
        .spawn(move || {
            // Nobody waits any more if the run was dropped.
            let _ = sender.send(runner::run(case, &target, &settings));
        })
        .map_err(|error| {
            Error::new(ErrorKind::Broker, "no thread can be started").with_source(error)
        })?;
    Ok(receiver)
}

impl fmt::Debug for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Suite")
            .field("target", &self.target)
            .field("cases", &self.cases.len())
            .field("parallel", &self.parallel)
            .finish_non_exhaustive()
    }
}
