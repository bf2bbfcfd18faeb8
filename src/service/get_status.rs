//! The status of a user's connections: one complete snapshot.

use std::sync::Arc;

use super::{Loaded, Records, enabled};
use crate::domain::catalog::{Catalog, Platform};
use crate::domain::cause::Cause;
use crate::domain::connection::{Connection, Entry, Health, LastRefresh};
use crate::domain::error::VaultError;
use crate::domain::freshness::{Freshness, judge};
use crate::domain::id::{ConnectionKey, PlatformId, TenantId, UserId};
use crate::domain::ports::Clock;
use crate::domain::time::Timestamp;

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

/// The status of one platform for one user.
#[derive(Debug)]
pub struct PlatformStatus {
    /// The platform.
    pub platform: PlatformId,
    /// Its name for people.
    pub display_name: String,
    /// Whether a token can be had.
    pub status: ConnectionStatus,
    /// Why, where there is more to say.
    pub reason: Option<Cause>,
    /// When the access token expires; `None`: it does not, or there is none.
    pub expires_at: Option<Timestamp>,
    /// The last refresh.
    pub last_refresh: Option<LastRefresh>,
    /// The granted scopes.
    pub scopes: Vec<String>,
}

/// Whether a token can be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectionStatus {
    /// It can: the token is valid, or the vault can renew it.
    Active,
    /// The user has to connect again.
    Expired,
    /// Nothing is stored.
    Missing,
}

// === impl GetStatus ===

impl GetStatus {
    /// Takes the snapshot, sorted by platform.
    ///
    /// # Errors
    ///
    /// When a platform is not enabled, or what is stored cannot be read.
    pub async fn run(&self, query: &GetStatusQuery) -> Result<Vec<PlatformStatus>, VaultError> {
        let mut platforms: Vec<&Arc<Platform>> = if query.platforms.is_empty() {
            self.catalog.iter().collect()
        } else {
            query.platforms.iter().map(|id| enabled(&self.catalog, id)).collect::<Result<_, _>>()?
        };
        platforms.sort_by(|a, b| a.profile.id.cmp(&b.profile.id));
        platforms.dedup_by(|a, b| a.profile.id == b.profile.id);
        let ids = platforms.iter().map(|platform| platform.profile.id.clone());
        let loaded = self.records.load_all(&query.tenant, &query.user, ids).await?;
        let now = self.clock.now();
        let status = |platform: &Platform| match loaded.iter().find(|(id, _)| *id == platform.profile.id) {
            Some((_, Loaded { entry: Entry::Live(connection), .. })) => {
                PlatformStatus::of(platform, query, connection, now)
            }
            Some((_, Loaded { entry: Entry::Deleted(_), .. })) | None => PlatformStatus::missing(platform),
        };
        Ok(platforms.into_iter().map(|platform| status(platform)).collect())
    }
}

// === impl PlatformStatus ===

impl PlatformStatus {
    /// What the caller should do about it.
    #[must_use]
    pub const fn suggested_action(&self) -> &'static str {
        match (self.status, self.reason) {
            (ConnectionStatus::Missing, _) => "connect",
            (ConnectionStatus::Expired, Some(Cause::AppMisconfigured)) => "contact_operator",
            (ConnectionStatus::Expired, _) => "reauth",
            (ConnectionStatus::Active, Some(_)) => "retry",
            (ConnectionStatus::Active, None) => "none",
        }
    }

    fn missing(platform: &Platform) -> Self {
        Self {
            platform: platform.profile.id.clone(),
            display_name: platform.profile.display_name.clone(),
            status: ConnectionStatus::Missing,
            reason: None,
            expires_at: None,
            last_refresh: None,
            scopes: Vec::new(),
        }
    }

    fn of(platform: &Platform, query: &GetStatusQuery, connection: &Connection, now: Timestamp) -> Self {
        let key = ConnectionKey {
            tenant: query.tenant.clone(),
            user: query.user.clone(),
            platform: platform.profile.id.clone(),
        };
        let rule = &platform.profile.refresh;
        let refreshable = connection.grant.refresh.is_some() && rule.supported;
        let stuck = match &platform.app {
            _ if !refreshable => Some(Cause::NotRefreshable),
            None => Some(Cause::AppMisconfigured),
            Some(_) => None,
        };
        let freshness = judge(&connection.grant, &key, rule.margin, std::time::Duration::ZERO, now);
        let (status, reason) = match (connection.health, freshness, stuck) {
            (Health::Dead { cause, .. }, _, _) | (Health::Alive, Freshness::Expired, Some(cause)) => {
                (ConnectionStatus::Expired, Some(cause))
            }
            (Health::Alive, _, _) => (ConnectionStatus::Active, connection.backoff.map(|backoff| backoff.cause)),
        };
        Self {
            platform: key.platform,
            display_name: platform.profile.display_name.clone(),
            status,
            reason,
            expires_at: connection.grant.expires_at,
            last_refresh: connection.last_refresh,
            scopes: connection.grant.scopes.clone(),
        }
    }
}

// === impl ConnectionStatus ===

impl ConnectionStatus {
    /// The word for it in answers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Expired => "expired",
            Self::Missing => "missing",
        }
    }
}
