//! [`Lifecycle`]: the tasks of a hub on this node, and how they end.

use std::{sync::OnceLock, time::Duration};

use tokio::time::Instant;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// The tasks of one hub or endpoint.
#[derive(Debug, Default)]
pub(super) struct Lifecycle {
    tasks: TaskTracker,
    /// No new connections; those that are there say goodbye.
    closing: CancellationToken,
    /// When running methods have to be done once it is closing.
    patience: OnceLock<Instant>,
    /// Everything ends where it stands.
    kill: CancellationToken,
}

impl Lifecycle {
    /// Runs a task that ends with the hub at the latest.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let kill = self.kill.clone();
        self.tasks.spawn(async move {
            kill.run_until_cancelled(task).await;
        });
    }

    pub(super) fn is_closing(&self) -> bool {
        self.closing.is_cancelled() || self.kill.is_cancelled()
    }

    /// Resolves when it is closing. Cancel-safe.
    pub(super) async fn closing(&self) {
        self.closing.cancelled().await;
    }

    /// Until when one that is closing waits for running methods.
    pub(super) fn patience(&self) -> Instant {
        self.patience.get().copied().unwrap_or_else(Instant::now)
    }

    /// Ends all tasks: politely for half of the time, for the other half without waiting for methods,
    /// and then by force. `false` if it came to that.
    pub(super) async fn close(&self, within: Duration) -> bool {
        let _ = self.patience.set(Instant::now() + within / 2);
        self.closing.cancel();
        self.tasks.close();
        let polite = tokio::time::timeout(within, self.tasks.wait())
            .await
            .is_ok();
        if !polite {
            self.kill();
            self.tasks.wait().await;
        }
        polite
    }

    /// Ends all tasks without waiting.
    pub(super) fn kill(&self) {
        self.kill.cancel();
    }
}
