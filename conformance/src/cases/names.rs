//! A04, C. Names: any topic works, and no two meet.

use std::collections::HashSet;

use scaleout_core::{ErrorKind, Start, Topic};

use crate::{
    Case, Ctx, Failure, Node, Rng, Tail,
    failure::{ensure, ensure_eq},
};

pub(super) const CASES: &[Case] = &[
    Case::new(
        "A04",
        "topics with similar names do not hear each other",
        &[13],
        |ctx| Box::pin(similar_names(ctx)),
    ),
    Case::new("C08", "any text is a topic", &[13], |ctx| {
        Box::pin(any_text(ctx))
    }),
    Case::new(
        "C09",
        "names that are equal in their first 63 or 254 bytes are distinct",
        &[13],
        |ctx| Box::pin(long_names(ctx)),
    ),
    Case::new(
        "C10",
        "names that look like each other's escaped form are distinct",
        &[13],
        |ctx| Box::pin(escaped_names(ctx)),
    ),
    Case::new("C11", "case matters", &[13], |ctx| {
        Box::pin(case_matters(ctx))
    }),
    Case::new(
        "C12",
        "an empty or too long name is refused before anything is sent",
        &[13],
        |ctx| Box::pin(refused_names(ctx)),
    ),
    Case::new("C13", "namespaces do not hear each other", &[13], |ctx| {
        Box::pin(namespaces(ctx))
    }),
];

/// Names that somebody's escaping, quoting, pattern matching or normalising stumbles over.
pub(super) const ODD: &[&str] = &[
    "grüße",
    "日本語/チャット",
    "😀🏳️‍🌈",
    "שלום עולם",
    "مرحبا",
    // The same letter composed and decomposed: two topics.
    "\u{e9}",
    "e\u{301}",
    " ",
    "two words",
    "tab\there",
    "new\nline",
    "carriage\r\nreturn",
    "nul\0inside",
    ".",
    "..",
    "*",
    "a*",
    "a?",
    "a[b]",
    ">",
    "a.>",
    "/",
    "a//b",
    "/lead",
    "trail/",
    "#",
    "{tag}",
    "a{b}c",
    "}",
    "%",
    "%2F",
    "%s",
    "'",
    "''",
    "\"",
    "\\",
    "\\'",
    "`",
    ":",
    "a:b",
    "$sys",
    "_under",
    "0digit",
    "-dash",
    "~",
    "a,b;c",
    "select",
    "null",
    "\u{feff}bom",
    "\u{202e}right-to-left",
    "\u{7f}\u{80}",
    "\u{10ffff}",
];

/// Subscribes to all these names on one node, publishes to each on another, and checks that each
/// hears what is for it, and nothing else.
async fn check_distinct(ctx: &Ctx, names: &[String]) -> Result<(), Failure> {
    let (node, other) = (ctx.node().await?, ctx.node().await?);
    let topics: Vec<Topic> = names.iter().map(|name| ctx.topic(name)).collect();
    let mut tails: Vec<Tail> = Vec::new();
    for topic in &topics {
        tails.push(other.subscribe(topic, Start::Latest).await?);
    }
    for topic in &topics {
        node.publish(topic, format!("for {topic}")).await?;
    }
    for (topic, tail) in topics.iter().zip(&mut tails) {
        let fence = node.fence(topic).await?;
        let heard = tail.until(fence).await?;
        let wanted = format!("for {topic}");
        let only = heard.len() == 1 && heard[0].payload() == &wanted;
        ensure!(only, "{topic:?} hears {:?}", &heard[..heard.len().min(3)]);
        if ctx.capabilities().history {
            check_history(&other, topic, &wanted).await?;
        }
    }
    Ok(())
}

async fn check_history(node: &Node, topic: &Topic, wanted: &str) -> Result<(), Failure> {
    let stored = node.read_all(topic, 10).await?;
    let only = stored.len() == 2 && stored[0].payload() == wanted.as_bytes();
    ensure!(only, "{topic:?} holds {:?}", &stored[..stored.len().min(3)]);
    Ok(())
}

fn owned<S: AsRef<str>>(names: impl IntoIterator<Item = S>) -> Vec<String> {
    names
        .into_iter()
        .map(|name| name.as_ref().to_owned())
        .collect()
}

async fn similar_names(ctx: Ctx) -> Result<(), Failure> {
    let names = [
        "a", "ab", "a.b", "a/b", "A", "a ", " a", "a*", "aa", "a:b", "a\0", "b",
    ];
    check_distinct(&ctx, &owned(names)).await
}

async fn any_text(ctx: Ctx) -> Result<(), Failure> {
    check_distinct(&ctx, &owned(ODD)).await
}

async fn long_names(ctx: Ctx) -> Result<(), Failure> {
    let mut names = Vec::new();
    for common in [62, 63, 64, 127, 128, 254] {
        let prefix = "n".repeat(common);
        names.extend([format!("{prefix}1"), format!("{prefix}2")]);
    }
    // As long as allowed, of characters that take more bytes, or when escaped, more characters.
    names.extend([
        "é".repeat(127),
        "%".repeat(255),
        "\\".repeat(255),
        "日".repeat(85),
    ]);
    check_distinct(&ctx, &names).await
}

async fn escaped_names(ctx: Ctx) -> Result<(), Failure> {
    let mut names: HashSet<String> = HashSet::new();
    for name in ODD.iter().filter(|name| name.len() < 20) {
        let escapes = [
            name.replace('%', "%25").replace('/', "%2F"),
            name.escape_default().to_string(),
            name.bytes().map(|byte| format!("%{byte:02X}")).collect(),
            name.bytes().map(|byte| format!("{byte:02x}")).collect(),
            name.replace(['/', '.', ':', '*', ' '], "_"),
            name.replace('/', "."),
            format!("{name}/t/{name}"),
        ];
        names.extend(
            escapes
                .into_iter()
                .filter(|name| (1..=255).contains(&name.len())),
        );
    }
    let mut rng = ctx.rng();
    names.extend((0..100).map(|_| random_name(&mut rng)));
    let mut names: Vec<_> = names.into_iter().collect();
    names.sort_unstable();
    check_distinct(&ctx, &names).await
}

/// Few letters, so that names are often close to each other.
fn random_name(rng: &mut Rng) -> String {
    const LETTERS: &[&str] = &[
        "a", "A", "/", "%", "_", ".", "%2F", "t/", "s/", ":", "\\", "é",
    ];
    let len = 1 + rng.below(8);
    (0..len)
        .map(|_| LETTERS[rng.below(LETTERS.len())])
        .collect()
}

async fn case_matters(ctx: Ctx) -> Result<(), Failure> {
    check_distinct(
        &ctx,
        &owned(["room", "Room", "ROOM", "straße", "STRASSE", "ı", "I", "i"]),
    )
    .await
}

async fn refused_names(ctx: Ctx) -> Result<(), Failure> {
    let node = ctx.node().await?;
    for name in [String::new(), "x".repeat(256), "é".repeat(128)] {
        let kind = Topic::new(&name).map_err(|error| error.kind()).err();
        ensure_eq!(
            kind,
            Some(ErrorKind::InvalidInput),
            "a name of {} bytes",
            name.len()
        );
        let publish = node.plane().publish(name.as_str(), "x");
        let kind = ctx
            .limits()
            .within("publish", publish)
            .await?
            .map_err(|e| e.kind())
            .err();
        ensure_eq!(
            kind,
            Some(ErrorKind::InvalidInput),
            "a publish to {} bytes",
            name.len()
        );
        let subscribe = node.plane().subscribe(name.as_str(), Start::Latest);
        let kind = ctx
            .limits()
            .within("subscribe", subscribe)
            .await?
            .map_err(|e| e.kind())
            .err();
        ensure_eq!(
            kind,
            Some(ErrorKind::InvalidInput),
            "a subscription to {} bytes",
            name.len()
        );
    }
    Ok(())
}

async fn namespaces(ctx: Ctx) -> Result<(), Failure> {
    let topic = ctx.topic("t");
    let inner = format!("{}.b", ctx.namespace());
    let here = ctx.node().await?;
    let there = ctx.open().set("namespace", inner).node().await?;
    let mut tail = there.subscribe(&topic, Start::Latest).await?;
    here.publish(&topic, "not for you").await?;
    let fence = there.fence(&topic).await?;
    let heard = tail.until(fence).await?;
    ensure!(heard.is_empty(), "another namespace hears {heard:?}");
    if ctx.capabilities().history {
        let stored = there.read_all(&topic, 10).await?;
        ensure_eq!(stored.len(), 1, "messages in the other namespace");
    }
    Ok(())
}
