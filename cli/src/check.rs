//! `scaleout check`: the conformance suite against the user's own broker.

use std::{
    io::{self, IsTerminal, Write},
    process::ExitCode,
};

use scaleout_conformance::{Class, Outcome, Report, Suite, UrlTarget, Verdict};
use serde::Serialize;

use crate::output::printable;

/// Check that your broker keeps the contract
///
/// Runs the shared cases of the conformance suite in a namespace of their own. They store little and
/// disturb nobody else on the broker.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The broker, such as redis://127.0.0.1/
    url: String,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Summary<'a> {
    backend: &'a str,
    cases: usize,
    passed: usize,
    failed: usize,
    skipped: usize,
    not_applicable: usize,
    failures: &'a [String],
    warnings: &'a [String],
    seed: u64,
}

fn target(url: String) -> UrlTarget {
    #[cfg(feature = "rabbitmq")]
    if url.starts_with("amqp") {
        return UrlTarget::new(url, scaleout::connector)
            .with_retention(|frames| {
                // A small frame takes some 300 bytes of a segment, and one segment always stays.
                let segment = frames * 400;
                vec![
                    ("segment_bytes".to_owned(), segment.to_string()),
                    ("retention_bytes".to_owned(), (2 * segment).to_string()),
                ]
            })
            .with_remove(|url| Box::pin(async move { scaleout_rabbitmq::remove(&url).await }));
    }
    #[cfg(feature = "servicebus")]
    if url.starts_with("servicebus:") || url.starts_with("Endpoint=") {
        return UrlTarget::new(url, scaleout::connector)
            .with_remove(|url| Box::pin(async move { scaleout::servicebus::remove(&url).await }));
    }
    #[cfg(feature = "postgres")]
    let remove = url.starts_with("postgres");
    // All backends that retain by number of frames call the option so.
    let target = UrlTarget::new(url, scaleout::connector)
        .with_retention(|frames| vec![("retention_frames".to_owned(), frames.to_string())]);
    #[cfg(feature = "postgres")]
    if remove {
        return target
            .with_remove(|url| Box::pin(async move { scaleout::postgres::remove(&url).await }));
    }
    target
}

pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let target = target(args.url);
    let mut suite = Suite::new(target).class(Class::Shared);
    if io::stderr().is_terminal() {
        suite = suite.on_progress(progress);
    }
    let report = suite.run().await?;
    let mut out = io::stdout();
    if args.json {
        serde_json::to_writer(&mut out, &summary(&report))?;
        writeln!(out)?;
    } else {
        writeln!(out, "{report}")?;
    }
    if !report.is_ok() {
        // Its guards against hanging are made for a machine and a broker that do nothing else.
        let hint =
            "note: if it is merely slow here, SCALEOUT_TIMEOUT_FACTOR=4 gives every case more time";
        let _ = writeln!(io::stderr(), "{hint}");
    }
    Ok(if report.is_ok() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// A line per case. That standard error is gone is no reason to stop checking.
fn progress(outcome: &Outcome) {
    let case = outcome.case;
    let verdict = match &outcome.verdict {
        Verdict::Passed => format!("passed in {} ms", outcome.elapsed.as_millis()),
        Verdict::Failed(failure) => format!("FAILED: {failure}"),
        Verdict::Skipped(reason) => format!("skipped: {reason}"),
        Verdict::NotApplicable => "not applicable".to_owned(),
        other => format!("{other:?}"),
    };
    let _ = writeln!(
        io::stderr(),
        "{} {}: {}",
        case.id,
        case.title,
        printable(&verdict)
    );
}

fn summary(report: &Report) -> Summary<'_> {
    Summary {
        backend: report.backend,
        cases: report.cases,
        passed: report.passed,
        failed: report.failed,
        skipped: report.skipped,
        not_applicable: report.not_applicable,
        failures: &report.failures,
        warnings: &report.warnings,
        seed: report.seed,
    }
}
