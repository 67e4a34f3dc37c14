//! [`Topics`]: which topic carries what is sent to whom.

use crate::{Error, ErrorKind, Result, Topic, hub::id::NodeTag};

/// The topics of one hub. All begin with its name, so that hubs share a backplane without meeting.
#[derive(Clone, Debug)]
pub(super) struct Topics {
    hub: String,
}

/// Whom the messages of a topic are for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Audience {
    All,
    Group(String),
    User(String),
    /// Connections of one node.
    Connections,
}

impl Topics {
    pub(super) fn new(hub: &str) -> Result<Self> {
        if hub.is_empty() || hub.contains('/') || hub.len() > 100 {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                format!("{hub:?} cannot be the name of a hub; use 1 to 100 bytes without a slash"),
            ));
        }
        Ok(Self {
            hub: hub.to_owned(),
        })
    }

    /// What everybody gets.
    pub(super) fn all(&self) -> Result<Topic> {
        Topic::new(format!("{}/all", self.hub))
    }

    /// What the members of a group get.
    pub(super) fn group(&self, name: &str) -> Result<Topic> {
        self.named("group", name)
    }

    /// What all connections of a user get.
    pub(super) fn user(&self, id: &str) -> Result<Topic> {
        self.named("user", id)
    }

    /// Whose messages a topic carries; `None` for what the nodes tell each other.
    pub(super) fn audience(&self, topic: &Topic) -> Option<Audience> {
        let rest = topic.as_str().strip_prefix(&self.hub)?.strip_prefix('/')?;
        let Some((kind, name)) = rest.split_once('/') else {
            return (rest == "all").then_some(Audience::All);
        };
        match kind {
            "group" => Some(Audience::Group(name.to_owned())),
            "user" => Some(Audience::User(name.to_owned())),
            "node" => Some(Audience::Connections),
            _ => None,
        }
    }

    fn named(&self, kind: &str, name: &str) -> Result<Topic> {
        if name.is_empty() {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                format!("a {kind}'s name must not be empty"),
            ));
        }
        Topic::new(format!("{}/{kind}/{name}", self.hub))
            .map_err(|error| error.context(format!("the {kind}'s name is too long")))
    }

    /// What the nodes tell each other.
    pub(super) fn nodes(&self) -> Result<Topic> {
        Topic::new(format!("{}/nodes", self.hub))
    }

    /// What single connections of one node get.
    pub(super) fn node(&self, node: &str) -> Result<Topic> {
        Topic::new(format!("{}/node/{node}", self.hub))
    }

    pub(super) fn own(&self, node: &NodeTag) -> Result<Topic> {
        self.node(node.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_within_its_hub() {
        let topics = Topics::new("chat").unwrap();
        assert_eq!(topics.all().unwrap().as_str(), "chat/all");
        assert_eq!(topics.group("a/b").unwrap().as_str(), "chat/group/a/b");
    }

    #[test]
    fn a_topic_tells_whom_it_is_for() {
        let topics = Topics::new("chat").unwrap();
        let audience = |topic: Result<Topic>| topics.audience(&topic.unwrap());
        assert_eq!(audience(topics.all()), Some(Audience::All));
        assert_eq!(
            audience(topics.group("a/b")),
            Some(Audience::Group("a/b".into()))
        );
        assert_eq!(
            audience(topics.user("all")),
            Some(Audience::User("all".into()))
        );
        assert_eq!(audience(topics.node("n")), Some(Audience::Connections));
        assert_eq!(audience(topics.nodes()), None);
    }

    #[test]
    fn a_name_that_cannot_be_a_topic_is_refused() {
        for name in ["", "a/b"] {
            assert_eq!(
                Topics::new(name).unwrap_err().kind(),
                ErrorKind::InvalidInput
            );
        }
        let topics = Topics::new("chat").unwrap();
        for name in [String::new(), "x".repeat(300)] {
            assert_eq!(
                topics.group(&name).unwrap_err().kind(),
                ErrorKind::InvalidInput
            );
        }
    }
}
