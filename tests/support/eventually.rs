//! Waits for a condition, with a bound: the only way a test here waits for time to pass.

use std::time::Duration;

/// No condition may stay unmet for longer.
const BOUND: Duration = Duration::from_secs(30);

/// How often the condition is looked at.
const LOOK: Duration = Duration::from_millis(10);

/// Waits until there is something, and returns it. Fails the test, naming what it waited for, when the bound passes.
#[track_caller]
pub(crate) fn eventually<T>(what: &str, look: impl AsyncFnMut() -> Option<T>) -> impl Future<Output = T> {
    let from = std::panic::Location::caller();
    async move { within(BOUND, look).await.unwrap_or_else(|| panic!("{from}: never happened: {what}")) }
}

async fn within<T>(bound: Duration, mut look: impl AsyncFnMut() -> Option<T>) -> Option<T> {
    let looking = async {
        let mut looks = tokio::time::interval(LOOK);
        loop {
            looks.tick().await;
            if let Some(found) = look().await {
                return found;
            }
        }
    };
    tokio::time::timeout(bound, looking).await.ok()
}
