//! Where work goes that outlives a call.

use std::pin::Pin;

/// Where work goes that must outlive the call that began it.
pub trait Tasks: Send + Sync {
    /// Runs a piece of work to its end. Shutdown waits for it, up to the drain deadline.
    fn spawn(&self, name: &'static str, work: Pin<Box<dyn Future<Output = ()> + Send>>);

    /// Ends when no new work should be begun, and what never ends by itself should end. Where nobody asks for that,
    /// never.
    fn stopping(&self) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(std::future::pending())
    }
}
