//! What time it is.

use std::time::Duration;

use crate::domain::id::PlatformId;
use crate::domain::time::Timestamp;

/// The time. Asked for everywhere it is a parameter of a decision; waiting is the runtime's business.
pub trait Clock: Send + Sync {
    /// The current time, as far as this machine knows it.
    fn now(&self) -> Timestamp;

    /// How much time has passed since some moment before. It never steps, whatever is done to the wall clock; between
    /// machines it means nothing.
    fn monotonic(&self) -> Duration;

    /// Hears what the clock of a platform showed a moment ago. A clock that corrects itself may learn from it.
    fn hear(&self, platform: &PlatformId, date: Timestamp) {
        let _ = (platform, date);
    }
}
