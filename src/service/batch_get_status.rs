//! The status of many users at once.

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::{GetStatus, GetStatusQuery, PlatformStatus};
use crate::domain::error::{CorruptRecord, VaultError};
use crate::domain::id::{PlatformId, TenantId, UserId};
use crate::domain::policy::Permits;

/// Tells the status of the connections of many users.
pub struct BatchGetStatus {
    /// As it is told of each.
    pub each: GetStatus,
}

/// Whose status is asked for.
#[derive(Debug)]
pub struct BatchGetStatusQuery {
    /// The tenant.
    pub tenant: TenantId,
    /// The users.
    pub users: Vec<UserId>,
    /// Only these platforms; empty: every enabled one.
    pub platforms: Vec<PlatformId>,
}

/// The status of one of them.
#[derive(Debug)]
pub struct UserStatus {
    /// The user.
    pub user: UserId,
    /// The snapshot, unless there is none for this user.
    pub platforms: Result<Vec<PlatformStatus>, NoStatus>,
}

/// Why there is no snapshot for one user among others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoStatus {
    /// A record cannot be trusted.
    Corrupt(CorruptRecord),
    /// The caller may not ask for it.
    NotPermitted,
}

/// Users that are read at once. The store serves other calls too.
const AT_ONCE: usize = 16;

// === impl BatchGetStatus ===

impl BatchGetStatus {
    /// Takes the snapshots, in the order of the query.
    ///
    /// # Errors
    ///
    /// As for one user, but for a record that cannot be trusted and a user who is not permitted: that is said of the
    /// user.
    pub async fn run(&self, query: BatchGetStatusQuery, permits: &Permits) -> Result<Vec<UserStatus>, VaultError> {
        let BatchGetStatusQuery { tenant, users, platforms } = query;
        let snapshots = users.into_iter().map(|user| {
            let query = GetStatusQuery { tenant: tenant.clone(), user, platforms: platforms.clone() };
            self.of_one(query, permits)
        });
        stream::iter(snapshots).buffered(AT_ONCE).try_collect().await
    }

    async fn of_one(&self, query: GetStatusQuery, permits: &Permits) -> Result<UserStatus, VaultError> {
        let is_permitted = permits.something_of(&query.user)
            && query.platforms.iter().all(|platform| permits.connection(&query.user, platform));
        if !is_permitted {
            return Ok(UserStatus { user: query.user, platforms: Err(NoStatus::NotPermitted) });
        }
        let platforms = match self.each.run(&query, permits).await {
            Ok(platforms) => Ok(platforms),
            Err(VaultError::Corrupt(corrupt)) => Err(NoStatus::Corrupt(corrupt)),
            Err(error) => return Err(error),
        };
        Ok(UserStatus { user: query.user, platforms })
    }
}
