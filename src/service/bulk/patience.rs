//! How long work on a whole vault waits for a store that does not answer: longer than a caller would, because the work of
//! an hour is at stake.

use std::time::Duration;

use tokio::time::sleep;

/// Pauses between attempts, until there were enough of them.
pub(super) struct Patience {
    attempts: u32,
}

/// How often something is tried: about half a minute, beside what each attempt takes.
const ATTEMPTS: u32 = 8;
/// The first pause; it doubles with every attempt.
const FIRST: Duration = Duration::from_millis(250);
const LONGEST: Duration = Duration::from_secs(8);

// === impl Patience ===

impl Patience {
    /// Nothing was tried yet.
    pub(super) const fn new() -> Self {
        Self { attempts: 0 }
    }

    /// Waits before the next attempt; `false` when there is none.
    pub(super) async fn pause(&mut self) -> bool {
        self.attempts += 1;
        if self.attempts >= ATTEMPTS {
            return false;
        }
        sleep((FIRST * 2_u32.pow(self.attempts - 1)).min(LONGEST)).await;
        true
    }
}
