//! What is counted about one engine on this instance: its calls, and the users whose tokens it receives.

mod calls;
mod users;

use std::time::Duration;

use self::calls::Calls;
use self::users::DistinctUsers;
use crate::domain::id::{TenantId, UserId};
use crate::domain::limits::Limits;

/// The counts of one engine.
#[derive(Debug, Default)]
pub(super) struct Meter {
    calls: Calls,
    users: DistinctUsers,
}

/// A limit was reached: when to try again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exceeded {
    /// When.
    pub retry_after: Duration,
    /// Whether it is the first time in a while: worth an alarm.
    pub is_news: bool,
}

// === impl Meter ===

impl Meter {
    /// One call more, at this moment of the monotonic clock.
    pub(super) fn call(&self, limits: &Limits, now: Duration) -> Result<(), Exceeded> {
        limits.rate.map_or(Ok(()), |rate| self.calls.take(rate, now))
    }

    /// A token of this user is asked for.
    pub(super) fn user(
        &self,
        limits: &Limits,
        (tenant, user): (&TenantId, &UserId),
        now: Duration,
    ) -> Result<(), Exceeded> {
        let Some(most) = limits.max_distinct_users_per_hour else { return Ok(()) };
        self.users.admit(usize::try_from(most).unwrap_or(usize::MAX), (tenant, user), now)
    }
}
