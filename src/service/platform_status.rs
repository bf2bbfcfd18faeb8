//! How a connection stands, as callers are told.

use std::sync::Arc;

use crate::domain::catalog::Platform;
use crate::domain::cause::Cause;
use crate::domain::connection::{Health, LastRefresh};
use crate::domain::error::CorruptRecord;
use crate::domain::id::PlatformId;
use crate::domain::outline::Outline;
use crate::domain::time::Timestamp;

/// The status of one platform for one user.
#[derive(Debug, Clone)]
pub struct PlatformStatus {
    /// The platform.
    pub platform: PlatformId,
    /// Its name for people.
    pub display_name: String,
    /// Whether a token can be had.
    pub status: ConnectionStatus,
    /// When the access token expires; `None`: it does not, or there is none.
    pub expires_at: Option<Timestamp>,
    /// The last refresh.
    pub last_refresh: Option<LastRefresh>,
    /// The granted scopes.
    pub scopes: Arc<[String]>,
}

/// Whether a token can be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectionStatus {
    /// It can: the token is valid, or the vault can renew it. With the cause while renewing it keeps failing.
    Active(Option<Cause>),
    /// The user has to connect again.
    Expired(Cause),
    /// Nothing is stored.
    Missing,
    /// The platform is not enabled here.
    Disabled,
    /// What is stored cannot be trusted.
    Unreadable(CorruptRecord),
}

// === impl PlatformStatus ===

impl PlatformStatus {
    /// Of a connection to an enabled platform.
    pub(super) fn of(platform: &Platform, outline: &Outline, now: Timestamp) -> Self {
        let refreshable = outline.is_refreshable && platform.profile.refresh.supported;
        let stuck = match &platform.app {
            _ if !refreshable => Some(Cause::NotRefreshable),
            None => Some(Cause::AppMisconfigured),
            Some(_) => None,
        };
        let has_expired = outline.ends_at.is_some_and(|end| now >= end);
        let status = match (outline.health, has_expired, stuck) {
            (Health::Dead { cause, .. }, _, _) | (Health::Alive, true, Some(cause)) => ConnectionStatus::Expired(cause),
            (Health::Alive, _, _) => ConnectionStatus::Active(outline.backoff.map(|backoff| backoff.cause)),
        };
        Self {
            expires_at: outline.expires_at,
            last_refresh: outline.last_refresh,
            scopes: Arc::clone(&outline.scopes),
            ..Self::without(platform, status)
        }
    }

    /// Of an enabled platform without a connection.
    pub(super) fn missing(platform: &Platform) -> Self {
        Self::without(platform, ConnectionStatus::Missing)
    }

    /// Of an enabled platform, with nothing known about the connection but this.
    pub(super) fn without(platform: &Platform, status: ConnectionStatus) -> Self {
        Self {
            platform: platform.profile.id.clone(),
            display_name: platform.profile.display_name.clone(),
            status,
            expires_at: None,
            last_refresh: None,
            scopes: Arc::default(),
        }
    }
}

// === impl ConnectionStatus ===

impl ConnectionStatus {
    /// The words for it in answers, of all but [`ConnectionStatus::Missing`]: what a listing can be narrowed to.
    pub const LISTED: [&'static str; 4] = ["active", "expired", "disabled", "unreadable"];

    /// The word for it in answers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active(_) => "active",
            Self::Expired(_) => "expired",
            Self::Missing => "missing",
            Self::Disabled => "disabled",
            Self::Unreadable(_) => "unreadable",
        }
    }

    /// Why, in one word; empty where there is nothing to add.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Self::Active(cause) => cause.map_or("", Cause::as_str),
            Self::Expired(cause) => cause.as_str(),
            Self::Unreadable(corrupt) => corrupt.reason(),
            Self::Missing | Self::Disabled => "",
        }
    }

    /// What the caller should do about it.
    #[must_use]
    pub const fn suggested_action(self) -> &'static str {
        match self {
            Self::Missing => "connect",
            Self::Expired(Cause::AppMisconfigured) | Self::Disabled | Self::Unreadable(_) => "contact_operator",
            Self::Expired(_) => "reauth",
            Self::Active(Some(_)) => "retry",
            Self::Active(None) => "none",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing_can_be_narrowed_to_every_status_a_stored_connection_can_have() {
        let statuses = [
            ConnectionStatus::Active(None),
            ConnectionStatus::Expired(Cause::UserRevoked),
            ConnectionStatus::Disabled,
            ConnectionStatus::Unreadable(CorruptRecord::Tag),
        ];
        assert_eq!(statuses.map(ConnectionStatus::as_str), ConnectionStatus::LISTED);
    }
}
