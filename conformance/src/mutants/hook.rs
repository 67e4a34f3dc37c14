//! [`Hook`]: changes one operation of a backend.

use std::{
    fmt,
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use scaleout_core::{
    AnyBackend, Appended, Backend, Capabilities, EncodedFrame, Frame, FrameBuilder, Listener,
    LogName, Message, Page, Position, PublisherId, Result, Topic,
};
use tokio::time::Instant;

use super::MutantTarget;
use crate::Target;

/// Changes what it overrides. One hook stands around all backends of a target, so what it holds is
/// what a broken broker would hold.
pub(super) trait Hook: fmt::Debug + Send + Sync + Sized + 'static {
    fn capabilities(&self, inner: &Inner) -> Capabilities {
        inner.backend.capabilities()
    }

    fn probe(&self, inner: &Inner) -> impl Future<Output = Result<()>> + Send {
        inner.backend.probe()
    }

    fn append(
        &self,
        inner: &Inner,
        log: &LogName,
        frame: &EncodedFrame,
    ) -> impl Future<Output = Result<Appended>> + Send {
        inner.backend.append(log, frame)
    }

    fn read(
        &self,
        inner: &Inner,
        log: &LogName,
        after: Option<Position>,
        limit: usize,
    ) -> impl Future<Output = Result<Page>> + Send {
        inner.backend.read(log, after, limit)
    }

    fn listen(
        &self,
        inner: &Inner,
        log: &LogName,
        after: Option<Position>,
    ) -> impl Future<Output = Result<Listener>> + Send {
        inner.backend.listen(log, after)
    }
}

/// One of the backends that the hook stands around.
#[derive(Debug)]
pub(super) struct Inner {
    pub(super) backend: AnyBackend,
    /// Which of them: it tells nodes apart.
    pub(super) index: usize,
}

/// A target all of whose backends the hook stands around.
pub(super) fn hooked(target: Arc<dyn Target>, hook: impl Hook) -> MutantTarget {
    let hook = Arc::new(hook);
    let opened = AtomicUsize::new(0);
    MutantTarget::backend(target, move |backend| {
        AnyBackend::new(Hooked {
            inner: Inner {
                backend,
                index: opened.fetch_add(1, Ordering::Relaxed),
            },
            hook: hook.clone(),
        })
    })
}

#[derive(Debug)]
struct Hooked<H> {
    inner: Inner,
    hook: Arc<H>,
}

impl<H: Hook> Backend for Hooked<H> {
    fn capabilities(&self) -> Capabilities {
        self.hook.capabilities(&self.inner)
    }

    async fn probe(&self) -> Result<()> {
        self.hook.probe(&self.inner).await
    }

    async fn append(&self, log: &LogName, frame: &EncodedFrame) -> Result<Appended> {
        self.hook.append(&self.inner, log, frame).await
    }

    async fn read(&self, log: &LogName, after: Option<Position>, limit: usize) -> Result<Page> {
        self.hook.read(&self.inner, log, after, limit).await
    }

    async fn listen(&self, log: &LogName, after: Option<Position>) -> Result<Listener> {
        self.hook.listen(&self.inner, log, after).await
    }

    async fn close(&self, deadline: Instant) -> Result<()> {
        self.inner.backend.close(deadline).await
    }
}

/// The messages of a frame, with their topics where the log carries several.
pub(super) type Messages = Vec<(Option<Topic>, Message)>;

/// Takes a frame apart.
pub(super) fn messages(frame: &EncodedFrame) -> Messages {
    let Ok(frame) = Frame::decode(frame.bytes().clone()) else {
        return Vec::new();
    };
    let messages = frame.messages().iter().enumerate();
    messages
        .map(|(index, message)| (frame.topic(index).cloned(), message.clone()))
        .collect()
}

/// Puts a frame together. There must be at least one message.
pub(super) fn frame(publisher: PublisherId, counter: u64, messages: &Messages) -> EncodedFrame {
    let mut builder = FrameBuilder::new();
    for (topic, message) in messages {
        builder.push(topic.as_ref(), message);
    }
    builder.finish(publisher, counter)
}

/// The same frame with other messages.
pub(super) fn with_messages(original: &EncodedFrame, messages: &Messages) -> EncodedFrame {
    frame(original.publisher(), original.counter(), messages)
}
