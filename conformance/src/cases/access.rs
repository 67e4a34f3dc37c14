//! K. Credentials: wrong, revoked, narrow, and never shown.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use scaleout_core::{Backplane, Connector, Error, ErrorKind, Event, Start, State, Topic};

use super::{
    common::{check_same, numbered, publish_each},
    proxied::{quick, until},
};
use crate::{
    Broker, Case, Ctx, Failure, Need, Setup, Target,
    capture::Capture,
    failure::{ensure, ensure_eq},
};

pub(super) const CASES: &[Case] = &[
    Case::new(
        "K01",
        "a wrong password is said to be one, at once",
        &[11],
        |ctx| Box::pin(wrong_password(ctx)),
    )
    .destructive()
    .needs(&[Need::Password]),
    Case::new(
        "K02",
        "credentials that are revoked end in an error that says so",
        &[11],
        |ctx| Box::pin(revoked(ctx)),
    )
    .destructive()
    .needs(&[Need::Password]),
    Case::new(
        "K03",
        "what is forbidden on one log leaves the others alone",
        &[11, 13],
        |ctx| Box::pin(forbidden_log(ctx)),
    )
    .destructive()
    .needs(&[Need::Acl]),
    Case::new(
        "K04",
        "who may only read reads, and is told so when publishing",
        &[9],
        |ctx| Box::pin(read_only(ctx)),
    )
    .destructive()
    .needs(&[Need::ReadOnly]),
    Case::new(
        "K05",
        "who is not who the URL says is not spoken to",
        &[11, 15],
        |ctx| Box::pin(private(ctx)),
    )
    .destructive()
    .needs(&[Need::Tls]),
    Case::new(
        "K06",
        "no error, log line, metric or debug output shows a password",
        &[15],
        |ctx| Box::pin(no_password_shown(ctx)),
    )
    .destructive()
    .needs(&[Need::Password]),
];

/// The broker's URL with another password.
fn with_password(broker: &dyn Broker, password: &str) -> Result<String, Failure> {
    let right = broker
        .password()
        .ok_or_else(|| Failure::new("the broker asks for no password"))?;
    Ok(broker.target().url().replace(&right, password))
}

async fn wrong_password(ctx: Ctx) -> Result<(), Failure> {
    let broker = ctx.broker(Setup::volatile()).await?;
    let url = with_password(&*broker, "wrong")?;
    let target = broker.target();
    let began = Instant::now();
    let connect = Backplane::connect(target.connector(&url)?);
    let error = ctx.limits().within("the refusal", connect).await?.err();
    check_auth(error.as_ref(), "connecting")?;
    ensure!(
        began.elapsed() < ctx.limits().scaled(Duration::from_secs(2)),
        "it took its time"
    );

    // A node that tries in the background says so too, and makes nobody wait.
    let lazy = Backplane::connect_lazy(target.connector(&url)?)?;
    let refused = |h: &scaleout_core::Health| h.last_error.is_some();
    until(&ctx, &lazy, "the refusal to be shown", refused).await?;
    let began = Instant::now();
    let published = ctx
        .limits()
        .within("a publish", lazy.publish(&ctx.topic("t"), "m"))
        .await?;
    check_auth(published.err().as_ref(), "publishing")?;
    let subscribed = ctx
        .limits()
        .within(
            "a subscription",
            lazy.subscribe(&ctx.topic("t"), Start::Latest),
        )
        .await?;
    check_auth(subscribed.err().as_ref(), "subscribing")?;
    ensure!(
        began.elapsed() < ctx.limits().scaled(Duration::from_secs(2)),
        "publishing or subscribing waited"
    );
    lazy.close(Duration::from_secs(5)).await?;
    Ok(())
}

#[track_caller]
fn check_auth(error: Option<&Error>, what: &str) -> Result<(), Failure> {
    let Some(error) = error else {
        return Err(Failure::new(format!("{what} succeeded")));
    };
    ensure_eq!(error.kind(), ErrorKind::Auth, "{what}: kind of {error}");
    ensure!(!error.is_transient(), "{what}: {error} is said to pass");
    ensure_eq!(
        error.outcome(),
        scaleout_core::Outcome::NotStored,
        "{what}: outcome of {error}"
    );
    Ok(())
}

async fn revoked(ctx: Ctx) -> Result<(), Failure> {
    let broker = ctx.broker(Setup::volatile()).await?;
    let topic = ctx.topic("t");
    let node = quick(ctx.open()).at(broker.target()).node().await?;
    let mut tail = node.subscribe(&topic, Start::Latest).await?;
    node.publish(&topic, "m").await?;
    tail.entry().await?;
    broker.revoke().await?;
    let refused = |h: &scaleout_core::Health| {
        h.state == State::Interrupted && h.last_error_kind == Some(ErrorKind::Auth)
    };
    until(&ctx, node.plane(), "the refusal to be shown", refused).await?;
    let published = node.try_publish(&topic, "m").await?;
    check_auth(published.err().as_ref(), "publishing")?;
    let subscribed = node
        .try_subscribe(&ctx.topic("other"), Start::Latest)
        .await?;
    check_auth(subscribed.err().as_ref(), "subscribing")?;
    Ok(())
}

async fn forbidden_log(ctx: Ctx) -> Result<(), Failure> {
    let broker = ctx.broker(Setup::volatile()).await?;
    let topics = ["allowed", "forbidden"].map(|name| ctx.topic(name));
    let admin = quick(ctx.open()).at(broker.target()).node().await?;
    for topic in &topics {
        admin.publish(topic, "m").await?;
    }
    let allowed = admin.log(&topics[0]);
    let target = broker.restricted(std::slice::from_ref(&allowed)).await?;
    let node = quick(ctx.open())
        .set("publish_timeout", "2s")
        .at(target)
        .node()
        .await?;
    let mut tail = node.subscribe(&topics[0], Start::Earliest).await?;
    tail.take(1).await?;

    let published = node.try_publish(&topics[1], "m").await?;
    check_auth(published.err().as_ref(), "publishing to the forbidden log")?;
    let read = node.plane().read(&topics[1], None, 10);
    let read = ctx.limits().within("a read", read).await?;
    check_auth(read.err().as_ref(), "reading the forbidden log")?;
    let subscribed = node.try_subscribe(&topics[1], Start::Latest).await?;
    check_auth(
        subscribed.err().as_ref(),
        "subscribing to the forbidden log",
    )?;

    let receipts = publish_each(&node, &topics[0], &numbered(10)).await?;
    check_same(&tail.take(10).await?, &receipts, &numbered(10))?;
    let health = node.plane().health();
    ensure_eq!(
        (health.state, health.reconnects),
        (State::Connected, 0),
        "the other log's health"
    );
    Ok(())
}

async fn read_only(ctx: Ctx) -> Result<(), Failure> {
    let broker = ctx.broker(Setup::volatile()).await?;
    let topic = ctx.topic("t");
    let admin = quick(ctx.open()).at(broker.target()).node().await?;
    let receipts = publish_each(&admin, &topic, &numbered(5)).await?;
    let reader = quick(ctx.open())
        .at(broker.read_only().await?)
        .node()
        .await?;
    let mut tail = reader.subscribe(&topic, Start::Earliest).await?;
    check_same(&tail.take(5).await?, &receipts, &numbered(5))?;
    check_same(
        &reader.read_all(&topic, 100).await?,
        &receipts,
        &numbered(5),
    )?;
    let published = reader.try_publish(&topic, "m").await?;
    check_auth(published.err().as_ref(), "publishing")?;
    let receipts = publish_each(&admin, &topic, &numbered(5)).await?;
    check_same(&tail.take(5).await?, &receipts, &numbered(5))
}

async fn private(ctx: Ctx) -> Result<(), Failure> {
    let broker = ctx.broker(Setup::tls()).await?;
    let ways = broker
        .tls()
        .ok_or_else(|| Failure::new("the broker does not speak TLS"))?;
    let topic = ctx.topic("t");
    let node = ctx.open().at(broker.target()).node().await?;
    let mut tail = node.subscribe(&topic, Start::Latest).await?;
    let receipts = publish_each(&node, &topic, &numbered(5)).await?;
    check_same(&tail.take(5).await?, &receipts, &numbered(5))?;

    for (what, target) in [
        ("with another authority", ways.other_authority),
        ("by another name", ways.other_name),
    ] {
        let began = Instant::now();
        let connected = ctx.open().at(target).try_node().await?;
        check_auth(connected.err().as_ref(), what)?;
        ensure!(
            began.elapsed() < ctx.limits().scaled(Duration::from_secs(2)),
            "{what}: it took its time"
        );
    }
    let plain = quick(ctx.open()).at(ways.plain).try_node().await?;
    ensure!(plain.is_err(), "a node without TLS connected");

    // Who is right goes on.
    let more = publish_each(&node, &topic, &numbered(5)).await?;
    check_same(&tail.take(5).await?, &more, &numbered(5))
}

async fn no_password_shown(ctx: Ctx) -> Result<(), Failure> {
    const WRONG: &str = "wr0ng-marker";
    let broker = ctx.broker(Setup::volatile()).await?;
    let right = broker.password().unwrap_or_default();
    let wrong = with_password(&*broker, WRONG)?;
    let capture = Capture::default();
    // On a thread of its own: what is captured is what that thread says.
    let scene = Scene {
        topic: ctx.topic("t"),
        target: broker.target(),
        right: broker.target().url(),
        wrong,
    };
    let said = capture.clone();
    let on_stage = tokio::task::spawn_blocking(move || said.around(|| scene.play(&said)));
    ctx.limits()
        .within_time(Duration::from_secs(40), "the scene", on_stage)
        .await???;
    broker.kill().await?;

    let said = capture.said();
    ensure!(
        said.len() > 1_000,
        "only {} bytes were captured: {said}",
        said.len()
    );
    for secret in [&*right, WRONG] {
        if let Some(line) = said.lines().find(|line| line.contains(secret)) {
            return Err(Failure::new(format!("a password is shown: {line}")));
        }
    }
    Ok(())
}

/// Everything that may be tempted to show a password.
struct Scene {
    topic: Topic,
    target: Arc<dyn Target>,
    right: String,
    wrong: String,
}

impl Scene {
    fn play(&self, capture: &Capture) -> Result<(), Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Failure::new(format!("no runtime: {error}")))?;
        runtime.block_on(self.acts(capture))
    }

    async fn acts(&self, capture: &Capture) -> Result<(), Failure> {
        // URLs that are wrong in other places than the password.
        let right = &self.right;
        let odd = [
            format!("{right}?no_such_option=1"),
            format!("{right}?liveness=forever"),
            format!("{right}not/a/number"),
            right.replace("127.0.0.1", "no host"),
            right.replace("127.0.0.1:", "127.0.0.1:9"),
            right.replacen("://", ":/", 1),
        ];
        for url in odd {
            match self.target.connector(&url) {
                Ok(connector) => self.connect(connector, capture).await,
                Err(error) => capture.error(&error),
            }
        }
        self.connect(self.target.connector(&self.wrong)?, capture)
            .await;

        let lazy = Backplane::connect_lazy(self.target.connector(&self.wrong)?)?;
        let mut health = lazy.watch_health();
        // The sender lives in `lazy`.
        let _ = health.wait_for(|health| health.last_error.is_some()).await;
        capture.say(&format!("{:?} {lazy:?}", lazy.health()));
        if let Err(error) = lazy.publish(&self.topic, "m").await {
            capture.error(&error);
        }
        lazy.close(Duration::from_secs(1)).await.ok();

        let connector = self.target.connector(&self.right)?;
        capture.say(&format!("{connector:?}"));
        let node = Backplane::connect(connector).await?;
        let tail = node.subscribe(&self.topic, Start::Latest).await?;
        let receipt = node.publish(&self.topic, "m").await?;
        let backend = node.backend();
        capture.say(&format!(
            "{node:?} {backend:?} {tail:?} {receipt:?} {:?}",
            self.target
        ));
        node.close(Duration::from_secs(1)).await?;
        if let Err(error) = node.publish(&self.topic, "m").await {
            capture.error(&error);
        }
        let mut tail = tail;
        while let Some(event) = tail.next().await {
            if let Event::Closed(Some(error)) = &event {
                capture.error(error);
            }
            capture.say(&format!("{event:?}"));
        }
        Ok(())
    }

    async fn connect(&self, connector: Connector, capture: &Capture) {
        capture.say(&format!("{connector:?}"));
        match Backplane::connect(connector).await {
            Ok(node) => drop(node.close(Duration::from_secs(1)).await),
            Err(error) => capture.error(&error),
        }
    }
}
