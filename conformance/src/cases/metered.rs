//! [`Metered`]: how many bytes of frames a node holds.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use bytes::Bytes;
use scaleout_core::{
    AnyBackend, Appended, Arrival, Backend, Capabilities, EncodedFrame, Listener, LogName, Page,
    Position, Result, StoredFrame,
};
use tokio::time::Instant;

use crate::relay;

/// Counts the bytes of the frames that came from the broker and that somebody still holds. A decoded
/// frame shares the bytes it came in, so this is exact: queue, window and subscriptions together.
#[derive(Clone, Debug, Default)]
pub(super) struct Metered(Arc<AtomicUsize>);

impl Metered {
    /// The backend, with what comes out of it counted.
    pub(super) fn around(&self, backend: AnyBackend) -> AnyBackend {
        AnyBackend::new(MeteredBackend {
            backend,
            held: self.clone(),
        })
    }

    /// How many bytes are held now.
    pub(super) fn bytes(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    fn take(&self, mut frame: StoredFrame) -> StoredFrame {
        self.0.fetch_add(frame.bytes.len(), Ordering::Relaxed);
        frame.bytes = Bytes::from_owner(Held {
            bytes: frame.bytes,
            counter: self.0.clone(),
        });
        frame
    }
}

struct Held {
    bytes: Bytes,
    counter: Arc<AtomicUsize>,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.counter.fetch_sub(self.bytes.len(), Ordering::Relaxed);
    }
}

#[derive(Debug)]
struct MeteredBackend {
    backend: AnyBackend,
    held: Metered,
}

impl Backend for MeteredBackend {
    fn capabilities(&self) -> Capabilities {
        self.backend.capabilities()
    }

    async fn probe(&self) -> Result<()> {
        self.backend.probe().await
    }

    async fn append(&self, log: &LogName, frame: &EncodedFrame) -> Result<Appended> {
        self.backend.append(log, frame).await
    }

    async fn read(&self, log: &LogName, after: Option<Position>, limit: usize) -> Result<Page> {
        let mut page = self.backend.read(log, after, limit).await?;
        page.frames = page
            .frames
            .into_iter()
            .map(|frame| self.held.take(frame))
            .collect();
        Ok(page)
    }

    async fn listen(&self, log: &LogName, after: Option<Position>) -> Result<Listener> {
        let listener = self.backend.listen(log, after).await?;
        let held = self.held.clone();
        Ok(relay::map(listener, move |arrival| match arrival {
            Arrival::Frame { epoch, frame } => vec![relay::frame(epoch, held.take(frame))],
            other => vec![other],
        }))
    }

    async fn close(&self, deadline: Instant) -> Result<()> {
        self.backend.close(deadline).await
    }
}
