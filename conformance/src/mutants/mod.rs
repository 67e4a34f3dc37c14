//! Mutants: targets that are broken in one way each, and the cases that must notice.
//!
//! A case that has never been seen to fail proves nothing. Each mutant here stands around a target
//! that keeps the contract, breaks one thing, and names cases that pass against the target and must
//! every one fail against the mutant. [`Mutant::check`] runs them. That is case Q10, which the memory
//! backend's tests do for all mutants; the author of another backend can do it over theirs.

mod clocks;
mod epochs;
mod halfway;
mod hook;
mod listens;
mod names;
mod nodes;
mod numbers;
mod outages;
mod reads;
mod store;
mod target;
mod urls;

use std::{sync::Arc, thread};

pub use self::target::MutantTarget;
use crate::{
    Case, Class, Target, Verdict, cases,
    runner::{self, Settings},
};

/// How much sooner than usual a mutant counts as hanging: many of them make a case wait for ever.
const IMPATIENCE: f64 = 0.1;

/// One way to be broken.
#[derive(Clone, Copy, Debug)]
pub struct Mutant {
    /// Its name: `drop-nth`.
    pub name: &'static str,
    /// What it does wrong.
    pub title: &'static str,
    /// The ids of the cases of which each must fail.
    pub killed_by: &'static [&'static str],
    /// Breaks a target.
    pub mutate: fn(Arc<dyn Target>) -> MutantTarget,
    /// Makes a target that the cases apply to.
    base: fn(Arc<dyn Target>) -> Arc<dyn Target>,
}

impl Mutant {
    /// A mutant of any target.
    pub const fn new(
        name: &'static str,
        title: &'static str,
        killed_by: &'static [&'static str],
        mutate: fn(Arc<dyn Target>) -> MutantTarget,
    ) -> Self {
        Self {
            name,
            title,
            killed_by,
            mutate,
            base: |target| target,
        }
    }

    /// A mutant of a target that claims less: its cases do not apply to one that claims everything.
    #[must_use]
    pub const fn over(mut self, base: fn(Arc<dyn Target>) -> Arc<dyn Target>) -> Self {
        self.base = base;
        self
    }

    /// The cases of these classes that must notice it.
    pub fn cases(&self, classes: &[Class]) -> Vec<&'static Case> {
        let cases = self.killed_by.iter().filter_map(|id| cases::find(id));
        cases.filter(|case| classes.contains(&case.class)).collect()
    }

    /// Runs those of its cases that are of these classes against the target and against the mutant
    /// of it. Blocks; must not be called from within a runtime.
    ///
    /// # Errors
    ///
    /// What is wrong: there is no such case, or one does not apply, fails against the target, or does
    /// not notice the mutant. Otherwise, what each case said about the mutant.
    pub fn check(
        &self,
        target: &Arc<dyn Target>,
        classes: &[Class],
    ) -> Result<Vec<String>, String> {
        let cases = self.cases(classes);
        if cases.is_empty() {
            return Err(format!("no case of {classes:?} is for {}", self.name));
        }
        let cases = cases
            .into_iter()
            .map(|case| move || self.check_case(case, target));
        // At once: most of the time is spent waiting for what a mutant never does.
        thread::scope(|scope| {
            let running: Vec<_> = cases.map(|check| scope.spawn(check)).collect();
            let joined = running.into_iter().map(|check| {
                check
                    .join()
                    .unwrap_or_else(|_| Err("a thread of the suite panicked".to_owned()))
            });
            joined.collect()
        })
    }

    fn check_case(&self, case: &'static Case, target: &Arc<dyn Target>) -> Result<String, String> {
        let settings = Settings::from_env();
        // Another run, and so another namespace: nothing of the first is in its way.
        let mut impatient = Settings::from_env();
        impatient.seed = settings.seed;
        impatient.limits = settings.limits.shortened(IMPATIENCE);
        match verdict(case, &(self.base)(target.clone()), &settings)? {
            Verdict::Passed => {}
            other => return Err(format!("without the mutant {} is {other:?}", case.id)),
        }
        let broken: Arc<dyn Target> = Arc::new((self.mutate)(target.clone()));
        match verdict(case, &broken, &impatient)? {
            Verdict::Failed(failure) => Ok(format!("{}: {failure}", case.id)),
            other => Err(format!(
                "{} does not notice {}: {other:?}",
                case.id, self.name
            )),
        }
    }
}

fn verdict(
    case: &'static Case,
    target: &Arc<dyn Target>,
    settings: &Settings,
) -> Result<Verdict, String> {
    use scaleout_core::Backend as _;
    let connector = target
        .connector(&target.url())
        .map_err(|error| error.to_string())?;
    let capabilities = connector.backend.capabilities();
    Ok(match runner::excused(case, &**target, &capabilities) {
        Some(excuse) => excuse,
        None => runner::run(case, target, settings).verdict,
    })
}

const LISTS: &[&[Mutant]] = &[
    store::MUTANTS,
    numbers::MUTANTS,
    names::MUTANTS,
    reads::MUTANTS,
    listens::MUTANTS,
    nodes::MUTANTS,
    epochs::MUTANTS,
    clocks::MUTANTS,
    outages::MUTANTS,
    halfway::MUTANTS,
    urls::MUTANTS,
];

/// All mutants.
pub fn all() -> impl Iterator<Item = &'static Mutant> {
    LISTS.iter().copied().flatten()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use crate::cases;

    /// Cases that look at what no target can change, or that do not have to hold.
    const WITHOUT: &[&str] = &[
        "C12", // the core's own check of names
        "G12", // a should
        "M07", // a mutant would have to hang this process
        "Q03", // the core's own table
        "Q08", // the compiler's
    ];

    #[test]
    fn every_mutant_has_a_name_of_its_own_and_a_case() {
        let mut names = BTreeSet::new();
        for mutant in super::all() {
            assert!(names.insert(mutant.name), "{} is used twice", mutant.name);
            assert!(!mutant.killed_by.is_empty(), "{}", mutant.name);
            let unknown = mutant.killed_by.iter().find(|id| cases::find(id).is_none());
            assert_eq!(unknown, None, "{}", mutant.name);
        }
    }

    #[test]
    fn every_case_has_a_mutant_that_it_notices() {
        let noticed: BTreeSet<_> = super::all().flat_map(|mutant| mutant.killed_by).collect();
        let without: Vec<_> = cases::all()
            .filter(|case| !noticed.contains(&case.id))
            .map(|case| case.id)
            .collect();
        assert_eq!(without, WITHOUT);
    }
}
