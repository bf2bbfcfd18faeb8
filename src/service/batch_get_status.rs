//! The status of many users at once.

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::{GetStatus, GetStatusQuery, PlatformStatus};
use crate::domain::error::{CorruptRecord, VaultError};
use crate::domain::id::{PlatformId, TenantId, UserId};

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
    /// The snapshot, unless a record of this user cannot be trusted.
    pub platforms: Result<Vec<PlatformStatus>, CorruptRecord>,
}

/// Users that are read at once. The store serves other calls too.
const AT_ONCE: usize = 16;

// === impl BatchGetStatus ===

impl BatchGetStatus {
    /// Takes the snapshots, in the order of the query.
    ///
    /// # Errors
    ///
    /// As for one user, but for a record that cannot be trusted: that is said of its user.
    pub async fn run(&self, query: BatchGetStatusQuery) -> Result<Vec<UserStatus>, VaultError> {
        let BatchGetStatusQuery { tenant, users, platforms } = query;
        let snapshots = users.into_iter().map(|user| {
            let query = GetStatusQuery { tenant: tenant.clone(), user, platforms: platforms.clone() };
            self.of_one(query)
        });
        stream::iter(snapshots).buffered(AT_ONCE).try_collect().await
    }

    async fn of_one(&self, query: GetStatusQuery) -> Result<UserStatus, VaultError> {
        let platforms = match self.each.run(&query).await {
            Ok(platforms) => Ok(platforms),
            Err(VaultError::Corrupt(corrupt)) => Err(corrupt),
            Err(error) => return Err(error),
        };
        Ok(UserStatus { user: query.user, platforms })
    }
}
