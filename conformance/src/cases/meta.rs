//! K07, Q. Claims: what is not offered is refused, what is advertised is true.

use scaleout_core::{
    AnyBackend, Backplane, Cursor, Entry, Epoch, Error, ErrorKind, Event, Message, Outcome,
    Position, Receipt, Sequence, Start, Subscription,
};

use super::common::{check_same, numbered, publish_each};
use crate::{
    Case, Claim, Ctx, Failure, Need,
    failure::{ensure, ensure_eq},
};

pub(super) const CASES: &[Case] = &[
    Case::new(
        "K07",
        "a URL with a wrong option is refused before connecting",
        &[],
        |ctx| Box::pin(async move { wrong_options(&ctx) }),
    ),
    Case::new(
        "Q01",
        "history that is not claimed is refused at once",
        &[],
        |ctx| Box::pin(unclaimed_history(ctx)),
    )
    .needs(&[Need::Claim(Claim::NoHistory)]),
    Case::new(
        "Q02",
        "a frame of the advertised size is stored, and one byte more is not",
        &[9],
        |ctx| Box::pin(advertised_size(ctx)),
    ),
    Case::new(
        "Q03",
        "every kind of error says whether trying again may help",
        &[9],
        |ctx| Box::pin(async move { error_table(&ctx) }),
    ),
    Case::new(
        "Q08",
        "handles cross threads, errors and events too",
        &[],
        |ctx| {
            Box::pin(async move {
                crosses_threads(&ctx);
                Ok(())
            })
        },
    ),
    Case::new("Q09", "a runtime of one thread does", &[], |ctx| {
        Box::pin(one_thread(ctx))
    }),
];

fn wrong_options(ctx: &Ctx) -> Result<(), Failure> {
    let wrong = [
        ("no_such_option", "1"),
        ("namespace", "a/b"),
        ("publish_timeout", "10"),
        ("publish_timeout", "0s"),
        ("queue_messages", "-1"),
        ("queue_messages", "0"),
        ("when_full", "drop"),
        ("partitioning", "0"),
        ("liveness", "soon"),
        ("backoff_max", "1ms"),
    ];
    for (name, value) in wrong {
        let connector = ctx.open().set(name, value).connector();
        // What only makes sense together is looked at when a node is made of it.
        let Err(error) = connector.and_then(Backplane::connect_lazy) else {
            return Err(Failure::new(format!("{name}={value} is taken")));
        };
        ensure_eq!(
            error.kind(),
            ErrorKind::InvalidInput,
            "error of {name}={value}"
        );
        ensure!(
            error.to_string().contains(name),
            "{error} does not say that {name} is wrong"
        );
    }
    let error = ctx.open().set("no_such_option", 1).connector().err();
    let text = error.map(|error| error.to_string()).unwrap_or_default();
    ensure!(
        text.contains("namespace"),
        "{text:?} does not list what is allowed"
    );
    Ok(())
}

async fn unclaimed_history(ctx: Ctx) -> Result<(), Failure> {
    let topic = ctx.topic("t");
    let (node, bare) = (ctx.node().await?, ctx.bare().await?);
    let place = Position::new(Epoch::random(), Sequence::FIRST);
    let place = Cursor::new(topic.clone(), place);
    let plane = node.plane();
    let log = bare.log(&topic);
    let read = bare.backend();
    let errors = [
        ctx.limits().within("head", plane.head(&topic)).await?.err(),
        ctx.limits()
            .within("read", plane.read(&topic, None, 10))
            .await?
            .err(),
        ctx.limits()
            .within("read", plane.read(&topic, Some(&place), 10))
            .await?
            .err(),
        node.try_subscribe(&topic, Start::Earliest).await?.err(),
        ctx.limits()
            .within(
                "bare read",
                scaleout_core::Backend::read(read, &log, None, 10),
            )
            .await?
            .err(),
    ];
    for (index, error) in errors.into_iter().enumerate() {
        let kind = error.map(|error| error.kind());
        ensure_eq!(kind, Some(ErrorKind::Unsupported), "answer {index}");
    }
    Ok(())
}

async fn advertised_size(ctx: Ctx) -> Result<(), Failure> {
    let bare = ctx.bare().await?;
    let topic = ctx.topic("t");
    let max = ctx.capabilities().max_frame_bytes;
    let mut publisher = bare.publisher(&topic);
    let overhead = publisher.next_frame([vec![0; max / 2]]).bytes().len() - max / 2;
    // A length takes as many bytes at half the size, or one less.
    let mut size = max - overhead;
    while publisher.next_frame([vec![0; size]]).bytes().len() > max {
        size -= 1;
    }
    let frame = bare.publisher(&topic).next_frame([vec![7; size]]);
    ensure_eq!(frame.bytes().len(), max, "size of the frame");
    bare.append(publisher.log(), &frame).await?;

    let frame = bare.publisher(&topic).next_frame([vec![7; size + 1]]);
    let error = bare.try_append(publisher.log(), &frame).await?.err();
    let found = error.map(|error| (error.kind(), error.outcome()));
    ensure_eq!(
        found,
        Some((ErrorKind::TooLarge, Outcome::NotStored)),
        "one byte more"
    );
    bare.append(
        publisher.log(),
        &bare.publisher(&topic).next_frame(["after"]),
    )
    .await?;
    Ok(())
}

fn error_table(_ctx: &Ctx) -> Result<(), Failure> {
    let permanent = [
        ErrorKind::InvalidInput,
        ErrorKind::TooLarge,
        ErrorKind::Unsupported,
        ErrorKind::Auth,
        ErrorKind::Incompatible,
        ErrorKind::Closed,
    ];
    let transient = [
        ErrorKind::Unavailable,
        ErrorKind::Timeout,
        ErrorKind::Busy,
        ErrorKind::Broker,
    ];
    for (kinds, wanted) in [(&permanent[..], false), (&transient[..], true)] {
        for &kind in kinds {
            let error = Error::new(kind, "x");
            ensure_eq!(error.is_transient(), wanted, "whether {kind:?} passes");
            ensure_eq!(error.outcome(), Outcome::NotStored, "outcome of {kind:?}");
            let unknown = error.with_unknown_outcome().duplicate();
            ensure_eq!(
                unknown.outcome(),
                Outcome::Unknown,
                "outcome of {kind:?}, unknown"
            );
        }
    }
    Ok(())
}

fn crosses_threads(_ctx: &Ctx) {
    fn anywhere<T: Send + Sync + 'static>() {}
    fn send<T: Send + 'static>() {}
    anywhere::<Backplane>();
    anywhere::<AnyBackend>();
    anywhere::<Error>();
    anywhere::<Receipt>();
    anywhere::<Cursor>();
    anywhere::<Entry>();
    anywhere::<Message>();
    send::<Event>();
    send::<Subscription>();
}

async fn one_thread(ctx: Ctx) -> Result<(), Failure> {
    let inner = ctx.clone();
    let done = tokio::task::spawn_blocking(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Failure::new(error.to_string()))?;
        runtime.block_on(async {
            let topic = inner.topic("t");
            let open = inner.open().untracked();
            let (node, other) = (open.clone().node().await?, open.node().await?);
            let mut tail = other.subscribe(&topic, Start::Latest).await?;
            let payloads = numbered(100);
            let receipts = publish_each(&node, &topic, &payloads).await?;
            check_same(&tail.take(100).await?, &receipts, &payloads)?;
            for node in [node, other] {
                node.close(std::time::Duration::from_secs(5)).await??;
            }
            let left = runtime_tasks();
            ensure_eq!(left, 0, "tasks left");
            Ok::<_, Failure>(())
        })
    });
    ctx.limits()
        .within("the runtime of one thread", done)
        .await??
}

fn runtime_tasks() -> usize {
    tokio::runtime::Handle::current()
        .metrics()
        .num_alive_tasks()
}
