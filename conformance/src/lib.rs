//! The conformance suite: what every `scaleout` backend must keep, and the proof that it does.
//!
//! A [`Case`] is data: an id, a title, the clauses of the contract it checks, what it needs, and an
//! async function. So the same cases run as `cargo test` of a backend ([`libtest`]), from the
//! `scaleout check` command against a user's own broker ([`Suite`]), and in the repository of
//! somebody who writes a backend of their own: implement [`Target`], or use [`UrlTarget`].
//!
//! ```no_run
//! # async fn check(connector: fn(&str) -> scaleout_core::Result<scaleout_core::Connector>)
//! # -> scaleout_core::Result<()> {
//! use scaleout_conformance::{Class, Suite, UrlTarget};
//!
//! let target = UrlTarget::new("mybroker://localhost/", connector);
//! let report = Suite::new(target).class(Class::Shared).run().await?;
//! assert!(report.is_ok(), "{report}");
//! # Ok(())
//! # }
//! ```
//!
//! # What makes a case honest
//!
//! - Nothing here retries, deduplicates or reconnects on behalf of what is tested.
//! - That something does *not* arrive is shown by a fence: a message published after it that does.
//!   A deadline is only ever a guard against hanging; `SCALEOUT_TIMEOUT_FACTOR` stretches all of them.
//! - What is random comes from a seed that every failure names; `SCALEOUT_SEED` sets it.
//! - A case that cannot run is counted and says why. Backends keep the list of those in a file, and
//!   any difference fails ([`Suite::expect_skips`]). A run in which no case ran fails.
//! - Each case is seen to fail: [`mutants`] are broken in one way each, and name the case that must
//!   notice.
//!
//! # Map
//!
//! `case` what a case is; `cases` all of them, a file per idea; `target` and `broker` what a backend
//! lends the suite; `ctx`, `node` and `bare` what a case works with; `runner`, `suite` and `report`
//! how cases are run; `child` a client in another process; `clock` what a process takes for the time; `checker` judges recorded histories; `proxy` breaks connections.

mod bare;
pub mod broker;
mod capture;
mod case;
pub mod cases;
pub mod checker;
#[cfg(all(unix, feature = "processes"))]
pub mod child;
mod clock;
mod ctx;
mod failure;
#[cfg(feature = "libtest")]
pub mod libtest;
mod limits;
pub mod mutants;
mod node;
pub mod proxy;
mod relay;
mod report;
mod rng;
mod runner;
mod skips;
mod suite;
mod target;
mod url;

use std::{future::Future, pin::Pin};

pub use self::{
    bare::{Bare, BarePublisher, frame},
    broker::{Broker, Setup, Tls},
    case::{Case, Claim, Class, Level, Need, Run},
    clock::Clock,
    ctx::{Ctx, Open},
    failure::{Failure, ResultExt},
    limits::Limits,
    node::{Fence, Layer, Node, Source, Tail},
    report::{Outcome, Report, Verdict},
    rng::Rng,
    suite::Suite,
    target::{Admin, Params, Target, UrlTarget},
};

/// A boxed future, as the object-safe traits here return it.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;
