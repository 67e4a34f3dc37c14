//! Each case as a test of its own, for test targets with `harness = false`.
//!
//! ```no_run
//! # use scaleout_core::{Connector, Error, ErrorKind, Result};
//! # fn connector(_: &str) -> Result<Connector> { Err(Error::new(ErrorKind::Unsupported, "an example")) }
//! use scaleout_conformance::{UrlTarget, libtest::Run};
//!
//! fn main() -> std::process::ExitCode {
//!     Run::new(UrlTarget::new("mybroker://localhost/", connector))
//!         .expect_skips("I01 no proxy for this broker\n")
//!         .main()
//! }
//! ```

use std::{process::ExitCode, sync::Arc};

use libtest_mimic::{Arguments, Failed, Trial};
use scaleout_core::{Backend, Result};
use tokio::time::Instant;

use crate::{
    Case, Class, Level, Need, Target, Verdict, cases,
    mutants::{self, Mutant},
    runner::{self, Settings},
    skips,
};

/// The main function of a test target that sees the cases of these classes fail: a test for each
/// mutant that one of them notices, over the target that `target` makes of the mutant's name.
///
/// With `ignored` they are listed and not run, for where there is no such broker.
pub fn mutants(
    classes: &'static [Class],
    ignored: bool,
    target: fn(&str) -> Result<Arc<dyn Target>>,
) -> ExitCode {
    // Those about several addresses are for backends whose URLs have them: see `mutants_named`.
    let elsewhere = |mutant: &Mutant| {
        let cases = mutant.cases(classes);
        cases.is_empty()
            || cases
                .iter()
                .all(|case| case.needs.contains(&Need::SeveralAddresses))
    };
    let chosen = mutants::all().filter(|mutant| !elsewhere(mutant));
    run_mutants(chosen, classes, ignored, target)
}

/// As [`mutants()`], for the mutants of these names, and cases of any class. Where the broker cannot be
/// reached, they are listed and not run, unless `SCALEOUT_REQUIRE` says otherwise.
pub fn mutants_named(
    names: &'static [&'static str],
    target: fn(&str) -> Result<Arc<dyn Target>>,
) -> ExitCode {
    let ignored = target("reach").and_then(|target| {
        let backend = target.connector(&target.url())?.backend;
        Ok(reach(&backend).is_err() && !required(backend.capabilities().name))
    });
    let ignored = match ignored {
        Ok(ignored) => ignored,
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::FAILURE;
        }
    };
    let classes = &[Class::Shared, Class::Proxied, Class::Destructive];
    let chosen = mutants::all().filter(|mutant| names.contains(&mutant.name));
    run_mutants(chosen, classes, ignored, target)
}

fn run_mutants(
    chosen: impl Iterator<Item = &'static Mutant>,
    classes: &'static [Class],
    ignored: bool,
    target: fn(&str) -> Result<Arc<dyn Target>>,
) -> ExitCode {
    #[cfg(all(unix, feature = "processes"))]
    if let Some(ended) = crate::child::main(|url| target("child")?.connector(url)) {
        return ended;
    }
    let trials = chosen
        .map(|mutant| {
            let trial = Trial::test(mutant.name, move || {
                for line in mutant.check(&target(mutant.name)?, classes)? {
                    println!("{line}");
                }
                Ok(())
            });
            trial.with_ignored_flag(ignored)
        })
        .collect();
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

/// A test target: the cases to run, and what to expect.
#[derive(Debug)]
pub struct Run {
    target: Arc<dyn Target>,
    cases: Vec<&'static Case>,
    expected_skips: Option<String>,
    extra: Vec<Trial>,
}

impl Run {
    /// All cases against this target.
    pub fn new(target: impl Target) -> Self {
        Self {
            target: Arc::new(target),
            cases: cases::all().collect(),
            expected_skips: None,
            extra: Vec::new(),
        }
    }

    /// Only cases that `keep` keeps. The list of expected skips is then only compared for those.
    #[must_use]
    pub fn filter(mut self, keep: impl Fn(&Case) -> bool) -> Self {
        self.cases.retain(|case| keep(case));
        self
    }

    /// Adds a test that fails if other cases are left out than this list names: a line each,
    /// `ID reason`.
    #[must_use]
    pub fn expect_skips(mut self, list: impl Into<String>) -> Self {
        self.expected_skips = Some(list.into());
        self
    }

    /// Adds a test that is no case.
    #[must_use]
    pub fn trial(mut self, trial: Trial) -> Self {
        self.extra.push(trial);
        self
    }

    /// Reads the arguments of a test program, and lists or runs the tests.
    ///
    /// Where the broker cannot be reached, the tests are listed as ignored, and say so; unless
    /// `SCALEOUT_REQUIRE` (names with commas between them, or `all`) names the backend: then they fail.
    pub fn main(self) -> ExitCode {
        #[cfg(all(unix, feature = "processes"))]
        if let Some(ended) = crate::child::main(|url| self.target.connector(url)) {
            return ended;
        }
        let arguments = Arguments::from_args();
        let trials = match self.trials() {
            Ok(trials) => trials,
            Err(error) => {
                eprintln!("error: {error}");
                return ExitCode::FAILURE;
            }
        };
        libtest_mimic::run(&arguments, trials).exit_code()
    }

    fn trials(self) -> Result<Vec<Trial>> {
        let connector = self.target.connector(&self.target.url())?;
        let capabilities = connector.backend.capabilities();
        let missing = match reach(&connector.backend) {
            Err(error) if !required(capabilities.name) => {
                let name = capabilities.name;
                eprintln!(
                    "note: no {name} here, so nothing is tested ({error}); SCALEOUT_REQUIRE={name} makes this a failure"
                );
                true
            }
            _ => false,
        };
        let settings = Settings::from_env();
        let mut excuses = Vec::new();
        let mut trials = self.extra;
        for case in self.cases {
            let excuse = runner::excused(case, &*self.target, &capabilities);
            let left_out = excuse.is_some();
            excuses.push((case, excuse));
            let (target, settings) = (self.target.clone(), settings.clone());
            let trial = Trial::test(name(case), move || run(case, &target, &settings));
            trials.push(trial.with_ignored_flag(left_out || missing));
        }
        if let Some(list) = self.expected_skips {
            trials.push(Trial::test("what_is_left_out_is_listed", move || {
                let excuses = excuses
                    .iter()
                    .map(|(case, excuse)| (*case, excuse.as_ref()));
                let differences = skips::differences(&list, excuses);
                if differences.is_empty() {
                    return Ok(());
                }
                Err(Failed::from(differences.join("\n")))
            }));
        }
        Ok(trials)
    }
}

/// `D::D01`: group and id, with the class for runners that treat classes differently:
/// `proxied::I01`, `destructive::J01`.
fn name(case: &Case) -> String {
    let class = match case.class {
        Class::Shared => "shared",
        Class::Proxied => "proxied",
        Class::Destructive => "destructive",
    };
    format!("{class}::{}", case.id)
}

fn run(case: &'static Case, target: &Arc<dyn Target>, settings: &Settings) -> Result<(), Failed> {
    match runner::run(case, target, settings).verdict {
        Verdict::Failed(failure) if case.level == Level::Should => {
            eprintln!("note: {} ({}): {failure}", case.id, case.title);
            Ok(())
        }
        Verdict::Failed(failure) => Err(Failed::from(format!("{}: {failure}", case.title))),
        _ => Ok(()),
    }
}

/// Whether the broker answers at all.
fn reach(backend: &impl Backend) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| error.to_string())?;
    runtime.block_on(async {
        backend.probe().await.map_err(|error| error.to_string())?;
        let deadline = Instant::now() + std::time::Duration::from_secs(1);
        backend
            .close(deadline)
            .await
            .map_err(|error| error.to_string())
    })
}

/// Whether `SCALEOUT_REQUIRE` says that tests of this backend must not be left out.
pub fn required(backend: &str) -> bool {
    std::env::var("SCALEOUT_REQUIRE")
        .is_ok_and(|list| list.split(',').any(|name| name == backend || name == "all"))
}
