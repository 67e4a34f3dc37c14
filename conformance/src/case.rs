//! [`Case`]: one thing that a backend must keep, as data.

use scaleout_core::{Capabilities, Durability};

use crate::{BoxFuture, Ctx, Failure};

/// What a case does. It fails by returning a [`Failure`] or by panicking.
pub type Run = fn(Ctx) -> BoxFuture<'static, Result<(), Failure>>;

/// One thing that a backend must keep.
///
/// ```
/// use scaleout_conformance::{Case, Ctx, Failure};
///
/// async fn first_publish(ctx: Ctx) -> Result<(), Failure> {
///     let node = ctx.node().await?;
///     node.publish(&ctx.topic("t"), "hello").await?;
///     Ok(())
/// }
///
/// const CASE: Case = Case::new("X01", "a publish is answered", &[2], |ctx| {
///     Box::pin(first_publish(ctx))
/// });
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// Its name in reports and lists: group letter and number, `A01`.
    pub id: &'static str,
    /// What is kept, as a sentence.
    pub title: &'static str,
    /// The clauses of the contract that it checks.
    pub clauses: &'static [u8],
    /// Whom it binds.
    pub level: Level,
    /// What it does to the broker.
    pub class: Class,
    /// What the target must offer for it to run.
    pub needs: &'static [Need],
    /// What it does.
    pub run: Run,
}

impl Case {
    /// A case that binds every backend, shares the broker with others, and needs nothing special.
    pub const fn new(
        id: &'static str,
        title: &'static str,
        clauses: &'static [u8],
        run: Run,
    ) -> Self {
        Self {
            id,
            title,
            clauses,
            level: Level::Must,
            class: Class::Shared,
            needs: &[],
            run,
        }
    }

    /// Binds only backends that claim this.
    #[must_use]
    pub const fn claimed(mut self, claim: Claim) -> Self {
        self.level = Level::Capability(claim);
        self
    }

    /// Reports, but does not fail the run.
    #[must_use]
    pub const fn should(mut self) -> Self {
        self.level = Level::Should;
        self
    }

    /// Runs behind the fault proxy.
    #[must_use]
    pub const fn proxied(mut self) -> Self {
        self.class = Class::Proxied;
        self
    }

    /// Needs a broker of its own.
    #[must_use]
    pub const fn destructive(mut self) -> Self {
        self.class = Class::Destructive;
        self
    }

    /// Needs these things of the target.
    #[must_use]
    pub const fn needs(mut self, needs: &'static [Need]) -> Self {
        self.needs = needs;
        self
    }

    /// The letter of its group.
    pub fn group(&self) -> &'static str {
        &self.id[..1]
    }
}

/// Whom a case binds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Every backend.
    Must,
    /// Every backend that claims this.
    Capability(Claim),
    /// Nobody: a failure is reported and does not fail the run.
    Should,
}

/// What a case does to the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// Shares it with others; runs in parallel.
    Shared,
    /// Reaches it through a fault proxy of its own, so only its own connections are broken.
    Proxied,
    /// Breaks it, so it starts one of its own.
    Destructive,
}

/// What a backend may claim in its [`Capabilities`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Claim {
    /// [`Capabilities::dense`]
    Dense,
    /// [`Capabilities::history`]
    History,
    /// Not [`Claim::History`]
    NoHistory,
    /// [`Capabilities::receipts`]
    Receipts,
    /// [`Capabilities::dedup`]
    Dedup,
    /// [`Capabilities::linearizable`]
    Linearizable,
    /// [`Capabilities::trim`]
    Trim,
    /// [`Capabilities::trim_age`]
    TrimAge,
    /// [`Durability::ProcessCrash`] or better
    SurvivesCrash,
    /// Not [`Claim::SurvivesCrash`]
    LostOnCrash,
}

impl Claim {
    /// Whether a backend claims it.
    pub fn holds(self, capabilities: &Capabilities) -> bool {
        match self {
            Self::Dense => capabilities.dense,
            Self::History => capabilities.history,
            Self::NoHistory => !capabilities.history,
            Self::Receipts => capabilities.receipts,
            Self::Dedup => capabilities.dedup,
            Self::Linearizable => capabilities.linearizable,
            Self::Trim => capabilities.trim,
            Self::TrimAge => capabilities.trim_age,
            Self::SurvivesCrash => capabilities.durability >= Durability::ProcessCrash,
            Self::LostOnCrash => capabilities.durability < Durability::ProcessCrash,
        }
    }
}

/// What a case needs of the [`Target`](crate::Target).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Need {
    /// The backend claims it; where it does not, the case is not applicable.
    Claim(Claim),
    /// [`Target::retention_frames`](crate::Target::retention_frames)
    RetentionFrames,
    /// [`Target::retention_age`](crate::Target::retention_age)
    RetentionAge,
    /// [`Admin::trim_to_empty`](crate::Admin::trim_to_empty)
    TrimToEmpty,
    /// [`Admin::delete_log`](crate::Admin::delete_log)
    DeleteLog,
    /// [`Admin::subscriptions`](crate::Admin::subscriptions)
    Subscriptions,
    /// [`Admin::evict`](crate::Admin::evict)
    Evict,
    /// [`Target::addr`](crate::Target::addr): the broker is reached over TCP.
    Proxy,
    /// [`Target::takes_several_addresses`](crate::Target::takes_several_addresses)
    SeveralAddresses,
    /// A process of its own for a subscriber, which a test program runs itself as: see `child`.
    Child,
    /// Processes that see another time than this one: `libfaketime`.
    Clock,
    /// [`Target::broker`](crate::Target::broker): a broker process of its own, which can be ended,
    /// stopped and started again.
    Broker,
    /// A broker process of its own whose data survive it: [`Setup::durable`](crate::Setup::durable)
    /// and [`Setup::persistent`](crate::Setup::persistent).
    Durable,
    /// A broker of its own that can be wiped while it runs: [`Broker::wipe`](crate::Broker::wipe).
    Wipe,
    /// A persistent broker of its own whose data can be put back:
    /// [`Broker::snapshot`](crate::Broker::snapshot).
    Snapshot,
    /// A broker of its own with a password: [`Broker::password`](crate::Broker::password) and
    /// [`Broker::revoke`](crate::Broker::revoke).
    Password,
    /// A broker of its own that can run out of memory: [`Broker::fill`](crate::Broker::fill).
    Fill,
    /// A broker of its own that can throw its clients out: [`Broker::kick`](crate::Broker::kick).
    Kick,
    /// A broker of its own that speaks TLS: [`Setup::tls`](crate::Setup::tls).
    Tls,
    /// A broker of its own that can forbid single logs:
    /// [`Broker::restricted`](crate::Broker::restricted).
    Acl,
    /// A broker of its own that can forbid to publish:
    /// [`Broker::read_only`](crate::Broker::read_only).
    ReadOnly,
}

impl Need {
    /// The reason for a skip, as the user reads it.
    pub(crate) fn missing(self) -> &'static str {
        match self {
            Self::Claim(_) => "the backend does not claim it",
            Self::RetentionFrames => "retention cannot be set here",
            Self::RetentionAge => "retention by age cannot be set here",
            Self::TrimToEmpty => "a log cannot be emptied from here",
            Self::DeleteLog => "a log cannot be deleted from here",
            Self::Subscriptions => "subscriptions at the broker cannot be counted from here",
            Self::Evict => "the broker cannot be made to throw data away from here",
            Self::Proxy => "the broker is not reached over TCP",
            Self::SeveralAddresses => "a URL has one address",
            Self::Child => "no client process of its own can be started here",
            Self::Clock => "no process with another clock can be started here",
            Self::Broker => "no broker process of its own can be started here",
            Self::Durable => "no broker whose data survive its process can be started here",
            Self::Wipe => "no broker that can be wiped can be started here",
            Self::Snapshot => "no broker whose data can be put back can be started here",
            Self::Password => "no broker with a password can be started here",
            Self::Fill => "no broker that can run out of memory can be started here",
            Self::Kick => "no broker that can throw clients out can be started here",
            Self::Tls => "no broker that speaks TLS can be started here",
            Self::Acl => "no broker that can forbid single logs can be started here",
            Self::ReadOnly => "no broker that can forbid to publish can be started here",
        }
    }
}
