//! Places where a test may end the process, as a power cut would: after each step that cannot be taken back.

/// Ends the process here if `VAULT_FAILPOINT` names this place: `kept`, or `kept:3` for the third time it is
/// reached.
#[cfg(feature = "failpoints")]
pub(super) fn reach(place: &'static str) {
    use std::sync::atomic::{AtomicU64, Ordering};
    static REACHED: AtomicU64 = AtomicU64::new(0);
    let Ok(wanted) = std::env::var("VAULT_FAILPOINT") else { return };
    let (name, count) = wanted.split_once(':').unwrap_or((&wanted, "1"));
    if name == place && (REACHED.fetch_add(1, Ordering::SeqCst) + 1).to_string() == count {
        tracing::warn!(place, "a failpoint ends the process");
        std::process::abort();
    }
}

/// Nothing: there are no failpoints in this build.
#[cfg(not(feature = "failpoints"))]
pub(super) const fn reach(_: &'static str) {}

#[cfg(all(feature = "failpoints", not(debug_assertions)))]
compile_error!("`failpoints` is for tests and must not be in a release");
