//! The memory broker as the conformance suite sees it.

use scaleout_conformance::{Admin, BoxFuture, Need, Params, Target};
use scaleout_core::{Connector, LogName, Result};
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

    fn admin(&self) -> Option<&dyn Admin> {
        Some(self)
    }
}

impl Admin for MemoryTarget {
    fn offers(&self, need: Need) -> bool {
        matches!(
            need,
            Need::TrimToEmpty | Need::DeleteLog | Need::Subscriptions | Need::Kick
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

    fn kick<'a>(&'a self, _log: &'a LogName) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            self.memory.kick();
            Ok(())
        })
    }
}
