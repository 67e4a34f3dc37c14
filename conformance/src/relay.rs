//! Changes what a listener delivers.

use scaleout_core::{Arrival, Epoch, Listener, StoredFrame};
use tokio::task::JoinHandle;

/// A listener that delivers what `change` makes of each arrival. Dropping it drops the inner one.
pub(crate) fn map(
    mut inner: Listener,
    mut change: impl FnMut(Arrival) -> Vec<Arrival> + Send + 'static,
) -> Listener {
    let (sender, outer) = Listener::channel();
    let task = tokio::spawn(async move {
        loop {
            match inner.next().await {
                Ok(arrival) => {
                    if !change(arrival)
                        .into_iter()
                        .all(|arrival| sender.send(arrival))
                    {
                        return;
                    }
                }
                Err(error) => return sender.end(error),
            }
        }
    });
    outer.with_guard(AbortOnDrop(task))
}

/// The arrival of a frame.
pub(crate) fn frame(epoch: Epoch, frame: StoredFrame) -> Arrival {
    Arrival::Frame { epoch, frame }
}

/// Ends a task with what depends on it.
pub(crate) struct AbortOnDrop(pub(crate) JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}
