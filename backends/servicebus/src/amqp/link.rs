//! [`Link`]: what a node has open to the namespace.

use std::{
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use scaleout_core::{Alive, Result};
use tokio::{
    sync::oneshot,
    task::JoinSet,
    time::{Instant, timeout},
};

use super::{connection::Connection, error::Refused, receiver::AmqpReceiver, sender::Senders};
use crate::{
    config::Config,
    error::{lost, timed_out},
};

/// Two connections, so that what is received does not wait behind what is sent, nor the other way
/// round. Tasks end with it.
pub(crate) struct Link {
    pub(super) config: Arc<Config>,
    pub(super) sending: Arc<Connection>,
    pub(super) receiving: Arc<Connection>,
    pub(super) senders: Senders,
    tasks: Mutex<JoinSet<()>>,
}

impl Link {
    pub(super) async fn open(config: Arc<Config>) -> Result<Arc<Self>> {
        let (sending, receiving) = tokio::try_join!(
            Connection::open(config.clone()),
            Connection::open(config.clone())
        )?;
        let link = Arc::new(Self {
            config,
            sending: Arc::new(sending),
            receiving: Arc::new(receiving),
            senders: Senders::default(),
            tasks: Mutex::default(),
        });
        for connection in [link.sending.clone(), link.receiving.clone()] {
            link.spawn(async move { connection.keep_claims().await });
        }
        Ok(link)
    }

    /// A round trip on each connection.
    pub(super) async fn ping(&self) -> Result<()> {
        tokio::try_join!(self.sending.ping(), self.receiving.ping()).map(drop)
    }

    /// Ends both at once.
    pub(super) fn cut(&self) {
        self.sending.cut();
        self.receiving.cut();
    }

    pub(super) async fn close(&self, deadline: Instant) {
        tokio::join!(self.sending.close(deadline), self.receiving.close(deadline));
        let mut tasks = std::mem::take(&mut *self.tasks());
        tasks.shutdown().await;
    }

    /// Receives from a subscription. `None` if there is none.
    pub(super) async fn receive(
        self: &Arc<Self>,
        topic: &str,
        subscription: &str,
    ) -> Result<Option<AmqpReceiver>> {
        let entity = format!("{topic}/Subscriptions/{subscription}");
        let link = self.clone();
        match self
            .finish(async move { AmqpReceiver::attach(link, entity).await })
            .await
        {
            Ok(receiver) => Ok(Some(receiver)),
            Err(Refused::Missing) => Ok(None),
            Err(Refused::Other(error)) => Err(error),
        }
    }

    /// Has something done to its end, also if nobody waits for it any more: the client leaves a link
    /// at the service that is given up half way.
    pub(super) async fn finish<T: Send + 'static>(
        &self,
        what: impl Future<Output = Result<T, Refused>> + Send + 'static,
    ) -> Result<T, Refused> {
        let (tell, told) = oneshot::channel();
        let limit = self.config.request_timeout;
        self.spawn(async move {
            let done = timeout(limit, what).await;
            let done = done.unwrap_or_else(|_| Err(timed_out("a new link", limit).into()));
            // Whoever asked may have gone; then it is dropped, which undoes it.
            let _ = tell.send(done);
        });
        told.await.unwrap_or_else(|_| Err(lost().into()))
    }

    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.tasks();
        while tasks.try_join_next().is_some() {}
        tasks.spawn(task);
    }

    /// Nothing that runs under the lock can panic half way.
    fn tasks(&self) -> MutexGuard<'_, JoinSet<()>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Alive for Link {
    fn is_alive(&self) -> bool {
        self.sending.is_alive() && self.receiving.is_alive()
    }
}
