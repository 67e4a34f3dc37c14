//! Publishing and closing otherwise than it should be.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use scaleout_core::{
    Appended, Backend, Backplane, EncodedFrame, Error, ErrorKind, LogName, Message, Receipt,
    Result, Topic,
};

use crate::{
    BoxFuture, Layer,
    mutants::hook::{Hook, Inner},
};

/// Closes otherwise than it should.
#[derive(Debug)]
pub(super) enum Closes {
    Abruptly,
    Never,
    Once(AtomicUsize),
}

impl Layer for Closes {
    fn close<'a>(&'a self, plane: &'a Backplane, timeout: Duration) -> BoxFuture<'a, Result<()>> {
        match self {
            Self::Abruptly => Box::pin(async move {
                plane.close(Duration::ZERO).await.ok();
                Ok(())
            }),
            Self::Never => Box::pin(std::future::ready(Ok(()))),
            Self::Once(times) if times.fetch_add(1, Ordering::Relaxed) == 0 => {
                Box::pin(plane.close(timeout))
            }
            Self::Once(_) => {
                let error = Error::new(ErrorKind::Closed, "closed before");
                Box::pin(std::future::ready(Err(error)))
            }
        }
    }
}

/// Publishes otherwise than it should.
#[derive(Debug)]
pub(super) enum Publishes {
    Vaguely,
    Eagerly,
}

impl Layer for Publishes {
    fn publish<'a>(
        &'a self,
        plane: &'a Backplane,
        topic: &'a Topic,
        message: Message,
    ) -> BoxFuture<'a, Result<Receipt>> {
        match self {
            Self::Vaguely => Box::pin(async move {
                let vague = |error: Error| {
                    Error::new(ErrorKind::Broker, error.to_string()).with_unknown_outcome()
                };
                plane.publish(topic, message).await.map_err(vague)
            }),
            Self::Eagerly => {
                let (plane, topic) = (plane.clone(), topic.clone());
                let publish = tokio::spawn(async move { plane.publish(&topic, message).await });
                Box::pin(async move {
                    publish.await.map_err(|error| {
                        Error::new(ErrorKind::Broker, "the task ended").with_source(error)
                    })?
                })
            }
        }
    }
}

/// Appends after a moment.
#[derive(Debug)]
pub(super) struct Slow;

impl Hook for Slow {
    async fn append(&self, inner: &Inner, log: &LogName, frame: &EncodedFrame) -> Result<Appended> {
        tokio::time::sleep(Duration::from_millis(20)).await;
        inner.backend.append(log, frame).await
    }
}
