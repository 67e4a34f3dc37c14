//! The memory broker as the conformance suite sees it.

use std::{sync::Arc, time::Duration};

use scaleout_conformance::{Admin, BoxFuture, Broker, Need, Params, Setup, Target};
use scaleout_core::{Connector, Epoch, LogName, Result};
use scaleout_memory::{Memory, connector};

/// A broker of this process, and the way past the nodes.
#[derive(Debug)]
pub(crate) struct MemoryTarget {
    name: String,
    memory: Memory,
}

impl MemoryTarget {
    /// The broker of this name. It lives as long as the target.
    pub(crate) fn new(name: &str) -> Result<Self> {
        Ok(Self {
            name: name.to_owned(),
            memory: Memory::named(name)?,
        })
    }
}

impl Target for MemoryTarget {
    fn url(&self) -> String {
        format!("memory:{}", self.name)
    }

    fn connector(&self, url: &str) -> Result<Connector> {
        connector(url)
    }

    fn retention_frames(&self, frames: usize) -> Option<Params> {
        Some(vec![("retention_frames".to_owned(), frames.to_string())])
    }

    fn retention_age(&self, age: Duration) -> Option<Params> {
        Some(vec![(
            "retention_age".to_owned(),
            format!("{}s", age.as_secs()),
        )])
    }

    fn admin(&self) -> Option<&dyn Admin> {
        Some(self)
    }

    fn offers_broker(&self, need: Need) -> bool {
        matches!(need, Need::Wipe | Need::Kick)
    }

    fn broker(&self, _: Setup) -> BoxFuture<'_, Result<Box<dyn Broker>>> {
        Box::pin(async {
            let name = format!("owned-{:x}", Epoch::random().get());
            let broker = MemoryBroker(Arc::new(Self::new(&name)?));
            Ok(Box::new(broker) as Box<dyn Broker>)
        })
    }
}

impl Admin for MemoryTarget {
    fn offers(&self, need: Need) -> bool {
        matches!(
            need,
            Need::TrimToEmpty | Need::DeleteLog | Need::Subscriptions | Need::Evict
        )
    }

    fn trim_to_empty<'a>(&'a self, log: &'a LogName) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            self.memory.trim(log, 0);
            Ok(())
        })
    }

    fn delete_log<'a>(&'a self, log: &'a LogName) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            self.memory.delete(log);
            Ok(())
        })
    }

    fn subscriptions<'a>(&'a self, log: &'a LogName) -> BoxFuture<'a, Result<usize>> {
        Box::pin(async move { Ok(self.memory.listeners(log)) })
    }

    /// A log of the memory broker is one thing, and goes as a whole.
    fn evict<'a>(&'a self, log: &'a LogName, part: usize) -> BoxFuture<'a, Result<bool>> {
        Box::pin(async move { Ok(part == 0 && self.memory.delete(log)) })
    }
}

/// A broker of a name that nobody else uses. It has no process that could end.
#[derive(Debug)]
struct MemoryBroker(Arc<MemoryTarget>);

impl Broker for MemoryBroker {
    fn target(&self) -> Arc<dyn Target> {
        self.0.clone()
    }

    fn wipe(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async {
            self.0.memory.wipe();
            Ok(())
        })
    }

    fn kick(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async {
            self.0.memory.kick();
            Ok(())
        })
    }
}
