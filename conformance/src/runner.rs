//! Runs one case, on a runtime of its own, and looks at what it leaves behind.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use scaleout_core::Capabilities;
use tokio::{runtime::Runtime, time::timeout};

use crate::{Case, Ctx, Failure, Level, Limits, Need, Outcome, Target, Verdict};

/// How long a case may take before it counts as hanging, on a machine that does nothing else.
const CASE: Duration = Duration::from_secs(90);
/// How long what a case left behind may take to go away.
const SETTLE: Duration = Duration::from_secs(5);

/// What all cases of a run have in common.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// Part of every namespace, so that runs do not meet on a shared broker.
    pub run: String,
    pub seed: u64,
    pub limits: Limits,
}

impl Settings {
    /// A run of its own; the seed from `SCALEOUT_SEED`, or a new one.
    pub(crate) fn from_env() -> Self {
        let unique = scaleout_core::Epoch::random().get();
        let seed = std::env::var("SCALEOUT_SEED")
            .ok()
            .and_then(|text| text.parse().ok());
        Self {
            run: format!("{:08x}", (unique >> 64) & 0xffff_ffff),
            // Short enough to be typed again.
            seed: seed.unwrap_or((unique & 0xffff_ffff) as u64),
            limits: Limits::from_env(),
        }
    }
}

/// Why the case cannot run against this target, known without connecting.
pub(crate) fn excused(
    case: &Case,
    target: &dyn Target,
    capabilities: &Capabilities,
) -> Option<Verdict> {
    if let Level::Capability(claim) = case.level
        && !claim.holds(capabilities)
    {
        return Some(Verdict::NotApplicable);
    }
    let admin = |need| target.admin().is_some_and(|admin| admin.offers(need));
    for &need in case.needs {
        let offered = match need {
            Need::Claim(claim) if claim.holds(capabilities) => true,
            Need::Claim(_) => return Some(Verdict::NotApplicable),
            Need::RetentionFrames => target.retention_frames(1).is_some(),
            Need::RetentionAge => target.retention_age(Duration::from_secs(1)).is_some(),
            Need::TrimToEmpty | Need::DeleteLog | Need::Subscriptions | Need::Evict => admin(need),
            Need::Proxy => target.addr().is_some(),
            Need::SeveralAddresses => target.takes_several_addresses(),
            Need::Child => child_offered(),
            Need::Clock => clock_offered(),
            Need::Broker
            | Need::Durable
            | Need::Wipe
            | Need::Snapshot
            | Need::Password
            | Need::Fill
            | Need::Kick
            | Need::Tls
            | Need::Acl
            | Need::ReadOnly => target.offers_broker(need),
        };
        if !offered {
            return Some(Verdict::Skipped(need.missing()));
        }
    }
    None
}

#[cfg(all(unix, feature = "processes"))]
fn child_offered() -> bool {
    crate::child::is_offered()
}

#[cfg(not(all(unix, feature = "processes")))]
fn child_offered() -> bool {
    false
}

#[cfg(all(unix, feature = "processes"))]
fn clock_offered() -> bool {
    crate::clock::is_offered()
}

#[cfg(not(all(unix, feature = "processes")))]
fn clock_offered() -> bool {
    false
}

/// Runs the case. Blocks; must not be called from a runtime's worker.
///
/// A runtime of its own makes the count of tasks that the case leaves behind exact, and ends whatever
/// a failed case left running.
pub(crate) fn run(case: &'static Case, target: &Arc<dyn Target>, settings: &Settings) -> Outcome {
    let started = Instant::now();
    let result = attempt(case, target, settings)
        .map_err(|failure| failure.context(format!("seed {}", settings.seed)));
    Outcome {
        case,
        verdict: match result {
            Ok(()) => Verdict::Passed,
            Err(failure) => Verdict::Failed(failure),
        },
        elapsed: started.elapsed(),
    }
}

fn attempt(
    case: &'static Case,
    target: &Arc<dyn Target>,
    settings: &Settings,
) -> Result<(), Failure> {
    let ctx = Ctx::new(
        case,
        target.clone(),
        &settings.run,
        settings.seed,
        settings.limits,
    )?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Failure::new(format!("no runtime: {error}")))?;
    let result = runtime.block_on(async {
        let body = tokio::spawn((case.run)(ctx.clone()));
        let ended = match timeout(settings.limits.scaled(CASE), body).await {
            Ok(joined) => joined.unwrap_or_else(|error| Err(panicked(error))),
            Err(_) => Err(Failure::new("the case hangs")),
        };
        let closed = ctx.close().await;
        ended.and(closed)?;
        settled(&ctx, &runtime).await
    });
    // Whatever a failed case left running ends here; a case that passed left nothing.
    runtime.shutdown_timeout(Duration::from_secs(1));
    result
}

fn panicked(error: tokio::task::JoinError) -> Failure {
    let panic = error.into_panic();
    let message = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_default();
    Failure::new(format!("panicked: {message}"))
}

/// L08, for every case: the tasks that the case's nodes started are gone.
async fn settled(ctx: &Ctx, runtime: &Runtime) -> Result<(), Failure> {
    let deadline = Instant::now() + ctx.limits().scaled(SETTLE);
    loop {
        let alive = runtime.metrics().num_alive_tasks();
        if alive == 0 {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(Failure::new(format!(
                "L08: {alive} tasks are still alive after everything was closed"
            )));
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
