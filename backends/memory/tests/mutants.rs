//! Q10: every mutant of the memory backend is noticed by the cases that name it.

mod support;

use std::{process::ExitCode, sync::Arc};

use libtest_mimic::{Arguments, Failed, Trial};
use scaleout_conformance::{Target, mutants};

use self::support::MemoryTarget;

fn main() -> ExitCode {
    let trials = mutants::all()
        .map(|mutant| {
            Trial::test(mutant.name, || {
                let target: Arc<dyn Target> = Arc::new(MemoryTarget::new(mutant.name)?);
                for line in mutant.check(&target).map_err(Failed::from)? {
                    println!("{line}");
                }
                Ok(())
            })
        })
        .collect();
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}
