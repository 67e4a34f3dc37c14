//! Mutants that confuse names.

use scaleout_core::{
    Appended, Backend, Carries, EncodedFrame, Listener, LogName, Namespace, Page, Partitioning,
    Position, Result, Topic,
};

use super::{
    Mutant,
    hook::{Hook, Inner, hooked},
};

pub(super) const MUTANTS: &[Mutant] = &[
    Mutant::new(
        "one-log",
        "keeps all topics in one log",
        &["A03", "A04", "C08", "D08"],
        |target| hooked(target, Confused(|_| "all".to_owned())),
    ),
    Mutant::new(
        "prefix-cross-talk",
        "takes what stands before a separator for the name",
        &["A04", "C08", "C10"],
        |target| hooked(target, Confused(|name| before_separator(name).to_owned())),
    ),
    Mutant::new(
        "truncate-name-63",
        "cuts names at 63 bytes, as identifiers are cut",
        &["C09"],
        |target| hooked(target, Confused(|name| at_most_63(name).to_owned())),
    ),
    Mutant::new(
        "underscores",
        "puts an underscore for what it cannot spell",
        &["C08", "C10"],
        |target| hooked(target, Confused(underscored)),
    ),
    Mutant::new(
        "fold-case",
        "does not tell capital letters from small ones",
        &["A04", "C11"],
        |target| hooked(target, Confused(|name| name.to_lowercase())),
    ),
    Mutant::new(
        "no-namespaces",
        "keeps all namespaces together",
        &["C13"],
        |target| hooked(target, NoNamespaces),
    ),
];

fn before_separator(name: &str) -> &str {
    let end = name.find(['.', '/', ':', '*']).filter(|end| *end > 0);
    &name[..end.unwrap_or(name.len())]
}

fn at_most_63(name: &str) -> &str {
    let end = (0..=63.min(name.len()))
        .rev()
        .find(|end| name.is_char_boundary(*end));
    &name[..end.unwrap_or(0)]
}

fn underscored(name: &str) -> String {
    let spelled = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    name.chars().map(spelled).collect()
}

/// Uses another log than the one that is named.
#[derive(Debug)]
struct Confused(fn(&str) -> String);

/// The same for a log of another namespace.
#[derive(Debug)]
struct NoNamespaces;

trait Rename: std::fmt::Debug + Send + Sync + 'static {
    fn rename(&self, log: &LogName) -> LogName;
}

impl Rename for Confused {
    fn rename(&self, log: &LogName) -> LogName {
        let Carries::Topic(topic) = log.carries() else {
            return log.clone();
        };
        let name = Topic::new((self.0)(topic.as_str())).unwrap_or_else(|_| topic.clone());
        LogName::of_topic(log.namespace(), &name, Partitioning::PerTopic)
    }
}

impl Rename for NoNamespaces {
    fn rename(&self, log: &LogName) -> LogName {
        let Carries::Topic(topic) = log.carries() else {
            return log.clone();
        };
        // What is common to a case: no other case is drawn in.
        let name = log.namespace().as_str();
        let common = &name[..name.find('.').unwrap_or(name.len())];
        let namespace = Namespace::new(common).unwrap_or_else(|_| log.namespace().clone());
        LogName::of_topic(&namespace, topic, Partitioning::PerTopic)
    }
}

impl<R: Rename> Hook for R {
    async fn append(&self, inner: &Inner, log: &LogName, frame: &EncodedFrame) -> Result<Appended> {
        inner.backend.append(&self.rename(log), frame).await
    }

    async fn read(
        &self,
        inner: &Inner,
        log: &LogName,
        after: Option<Position>,
        limit: usize,
    ) -> Result<Page> {
        inner.backend.read(&self.rename(log), after, limit).await
    }

    async fn listen(
        &self,
        inner: &Inner,
        log: &LogName,
        after: Option<Position>,
    ) -> Result<Listener> {
        inner.backend.listen(&self.rename(log), after).await
    }
}
