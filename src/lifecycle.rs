//! The life of the process: what runs, and how it ends.
//!
//! On the first signal the process drains: it takes no new calls and finishes what it has begun, refreshes already sent
//! above all. A deadline, or a second signal, ends the rest.

use std::pin::Pin;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::domain::ports::Tasks;

/// What runs, and whether it should come to an end.
#[derive(Clone, Default)]
pub struct Lifecycle {
    drain: CancellationToken,
    tasks: TaskTracker,
}

// === impl Lifecycle ===

impl Lifecycle {
    /// Ends when the process should take no new work.
    pub async fn drained(&self) {
        self.drain.cancelled().await;
    }

    /// Takes no new work from now on.
    pub fn drain(&self) {
        self.drain.cancel();
    }

    /// Waits for everything that runs, at most this long. Says whether it all came to its end.
    pub async fn finish(&self, limit: Duration) -> bool {
        self.tasks.close();
        tokio::time::timeout(limit, self.tasks.wait()).await.is_ok()
    }

    /// Drains on SIGTERM or SIGINT. A second signal ends the process at once.
    pub fn drain_on_signal(&self) {
        let lifecycle = self.clone();
        // Not on the tracker: it must outlive everything that is waited for.
        #[expect(clippy::disallowed_methods, reason = "the tracker is what this task ends")]
        tokio::spawn(async move {
            signal().await;
            tracing::info!("asked to stop: finishing what has begun");
            lifecycle.drain();
            signal().await;
            tracing::warn!("asked again: stopping at once");
            std::process::exit(130);
        });
    }
}

impl Tasks for Lifecycle {
    fn spawn(&self, name: &'static str, work: Pin<Box<dyn Future<Output = ()> + Send>>) {
        let running = self.tasks.spawn(work);
        // A panic ends its task and nobody else's; it must not go unseen.
        self.tasks.spawn(async move {
            if let Err(error) = running.await
                && error.is_panic()
            {
                tracing::error!(alarm = "task_panicked", task = name, "a task ended in a panic");
            }
        });
    }

    fn stopping(&self) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(self.drain.clone().cancelled_owned())
    }
}

async fn signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminate) = signal(SignalKind::terminate()) else { return std::future::pending().await };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
}
