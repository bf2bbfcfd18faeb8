//! The status of a user's connections: one complete snapshot.

use std::sync::Arc;

use super::{PlatformStatus, Records, enabled};
use crate::domain::catalog::{Catalog, Platform};
use crate::domain::error::VaultError;
use crate::domain::id::{PlatformId, TenantId, UserId};
use crate::domain::policy::Permits;
use crate::domain::ports::Clock;

/// Tells the status of connections.
pub struct GetStatus {
    /// Of these records.
    pub records: Arc<Records>,
    /// For these platforms.
    pub catalog: Arc<Catalog>,
    /// As of now.
    pub clock: Arc<dyn Clock>,
}

/// Whose status is asked for.
#[derive(Debug)]
pub struct GetStatusQuery {
    /// The tenant.
    pub tenant: TenantId,
    /// The user.
    pub user: UserId,
    /// Only these platforms; empty: every enabled one.
    pub platforms: Vec<PlatformId>,
}

// === impl GetStatus ===

impl GetStatus {
    /// Takes the snapshot, sorted by platform: of the platforms that are permitted.
    ///
    /// # Errors
    ///
    /// When a platform is not enabled, or what is stored cannot be read.
    pub async fn run(&self, query: &GetStatusQuery, permits: &Permits) -> Result<Vec<PlatformStatus>, VaultError> {
        let mut platforms: Vec<&Arc<Platform>> = if query.platforms.is_empty() {
            self.catalog.iter().collect()
        } else {
            query.platforms.iter().map(|id| enabled(&self.catalog, id)).collect::<Result<_, _>>()?
        };
        platforms.retain(|platform| permits.connection(&query.user, &platform.profile.id));
        platforms.sort_by(|a, b| a.profile.id.cmp(&b.profile.id));
        platforms.dedup_by(|a, b| a.profile.id == b.profile.id);
        let ids = platforms.iter().map(|platform| platform.profile.id.clone());
        let outlines = self.records.outlines(&query.tenant, &query.user, ids).await?;
        let now = self.clock.now();
        // In the order of the platforms, some of which are not there.
        let mut outlines = outlines.into_iter().peekable();
        let mut status = |platform: &Platform| match outlines.next_if(|(id, _)| *id == platform.profile.id) {
            Some((_, outline)) => PlatformStatus::of(platform, &outline, now),
            None => PlatformStatus::missing(platform),
        };
        Ok(platforms.into_iter().map(|platform| status(platform)).collect())
    }
}
