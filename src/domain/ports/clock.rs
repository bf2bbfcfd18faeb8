//! What time it is.

use crate::domain::time::Timestamp;

/// The wall clock. Asked for everywhere time is a parameter of a decision; waiting is the runtime's business.
pub trait Clock: Send + Sync {
    /// The current time.
    fn now(&self) -> Timestamp;
}
