//! The lives of logs: a topic that is created again is another life, and all nodes can tell by when it
//! was created.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use scaleout_core::{Epoch, Error, ErrorKind, Result};
use sha2::{Digest, Sha256};

use crate::{
    config::Config,
    http::Http,
    manage::{Manager, TopicInfo},
    names,
};

/// The topics of a namespace.
///
/// Where the URL names the node's subscription, everything is made by somebody else, and nothing is
/// asked for over HTTP: the policy may lack the right, and an emulator the interface. Then the epoch
/// comes from the topic's name, and that it was created again shows by its numbers alone.
#[derive(Debug)]
pub(crate) struct Topics {
    config: Arc<Config>,
    manager: Mutex<Way>,
}

/// How entities are made.
#[derive(Clone, Debug)]
enum Way {
    /// By somebody else.
    Given,
    Managed(Box<Manager>),
    Closed,
}

impl Topics {
    pub(crate) fn new(config: Arc<Config>, http: Http) -> Self {
        let manager = match config.subscription {
            Some(_) => Way::Given,
            None => Way::Managed(Box::new(Manager::new(&config, http))),
        };
        Self {
            config,
            manager: Mutex::new(manager),
        }
    }

    /// What the topic of a log is called.
    pub(crate) fn name(&self, log: u16) -> String {
        names::topic(&self.config.namespace, log, self.config.logs.get())
    }

    /// The present life of a log. It begins here if need be.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Incompatible`] if the topic cannot carry a log; [`ErrorKind::Auth`] if nothing may
    /// be created here.
    pub(crate) async fn life(&self, log: u16) -> Result<Epoch> {
        let topic = self.name(log);
        let Some(manager) = self.manager()? else {
            return Ok(named(&topic));
        };
        let found = self.may(manager.topic(&topic).await, &topic)?;
        if let Some(info) = found {
            return epoch(&topic, &info);
        }
        self.may(manager.create_topic(&topic).await, &topic)?;
        match manager.topic(&topic).await? {
            Some(info) => epoch(&topic, &info),
            None => Err(Error::new(
                ErrorKind::Broker,
                format!("servicebus: topic {topic} was deleted as soon as it was created"),
            )),
        }
    }

    /// Makes a subscription for this node: its name, and whether it is ours to delete.
    pub(crate) async fn subscribe(&self, topic: &str, name: &str) -> Result<()> {
        match self.manager()? {
            Some(manager) => {
                let created = manager.create_subscription(topic, name).await;
                self.may(created, topic)
            }
            None => Ok(()),
        }
    }

    /// Deletes a subscription of this node, if it is ours to delete.
    pub(crate) async fn unsubscribe(&self, topic: &str, name: &str) -> Result<()> {
        match self.manager()? {
            Some(manager) => manager.delete_subscription(topic, name).await,
            None => Ok(()),
        }
    }

    /// Ends the connections, which the client keeps for a while and with them tasks.
    pub(crate) fn close(&self) {
        *self.way() = Way::Closed;
    }

    fn manager(&self) -> Result<Option<Box<Manager>>> {
        match &*self.way() {
            Way::Given => Ok(None),
            Way::Managed(manager) => Ok(Some(manager.clone())),
            Way::Closed => Err(Error::closed()),
        }
    }

    /// Nothing that runs under the lock can panic half way.
    fn way(&self) -> MutexGuard<'_, Way> {
        self.manager.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The subscription that was made for this node, if one was.
    pub(crate) fn given(&self) -> Option<&str> {
        self.config.subscription.as_deref()
    }

    /// What to say if an entity is missing that we do not make.
    pub(crate) fn missing(&self, topic: &str) -> Error {
        let name = self.given().unwrap_or("NODE");
        Error::new(
            ErrorKind::Incompatible,
            format!(
                "servicebus: topic {topic} with subscription {name} is not there. {}",
                self.how(topic, name)
            ),
        )
    }

    fn may<T>(&self, result: Result<T>, topic: &str) -> Result<T> {
        result.map_err(|error| match error.kind() {
            ErrorKind::Auth => Error::new(
                ErrorKind::Auth,
                format!(
                    "servicebus: topics and a subscription of this node's own are needed, and this \
                     policy has no right to manage them ({error}). Use one that has, or have them made \
                     and give each node its subscription with subscription=NODE in the URL. {}",
                    self.how(topic, "NODE")
                ),
            ),
            _ => error,
        })
    }

    /// The commands that make what is needed.
    fn how(&self, topic: &str, subscription: &str) -> String {
        let namespace = self.config.host.split('.').next().unwrap_or_default();
        let of = format!("--resource-group GROUP --namespace-name {namespace}");
        let count = self.config.logs.get();
        let stem = topic.rsplit_once('/').map_or(topic, |(stem, _)| stem);
        format!(
            "For each N from 0 to {}: az servicebus topic create {of} --name {stem}/N && az servicebus \
             topic subscription create {of} --topic-name {stem}/N --name {subscription} \
             --max-delivery-count 2000",
            count - 1
        )
    }
}

fn epoch(topic: &str, info: &TopicInfo) -> Result<Epoch> {
    if info.partitioned {
        return Err(Error::new(
            ErrorKind::Incompatible,
            format!(
                "servicebus: topic {topic} is partitioned, so its messages have no one order; delete it \
                 and let it be created again without partitions, or use another namespace"
            ),
        ));
    }
    // 0 is no life's.
    Ok(Epoch::new(u128::from(info.created).max(1)))
}

/// An epoch that every node derives from a topic's name.
fn named(topic: &str) -> Epoch {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&Sha256::digest(topic.as_bytes())[..16]);
    Epoch::new(u128::from_be_bytes(bytes) | 1)
}

/// The life after one that was seen to end where nobody tells when it began.
pub(crate) fn after(epoch: Epoch) -> Epoch {
    Epoch::new(epoch.get().wrapping_add(2))
}
