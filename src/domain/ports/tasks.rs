//! Where work goes that outlives a call.

use std::pin::Pin;

/// Where work goes that must outlive the call that began it.
pub trait Tasks: Send + Sync {
    /// Runs a piece of work to its end. Shutdown waits for it, up to the drain deadline.
    fn spawn(&self, name: &'static str, work: Pin<Box<dyn Future<Output = ()> + Send>>);
}
