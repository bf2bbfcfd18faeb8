//! Why a call came back without what it went for.

use std::time::Duration;

use crate::domain::audit::AuditResult;
use crate::domain::error::{InvalidArgument, VaultError};

/// Why a call was not let through, or came back without what it went for.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// Nobody, as far as the guard can tell.
    #[error("invalid credentials")]
    Unauthenticated,
    /// Somebody, but not for this.
    #[error("this engine may not do this")]
    NotPermitted(NotPermitted),
    /// Somebody, who calls more often than agreed.
    #[error("this engine calls more often than it may")]
    RateLimited {
        /// When to try again.
        retry_after: Duration,
    },
    /// Somebody, who asks for the tokens of more users than agreed.
    #[error("this engine has asked for the tokens of as many users as it may within an hour")]
    UserQuota {
        /// When another user can be asked for.
        retry_after: Duration,
    },
    /// It was let through and failed.
    #[error(transparent)]
    Failed(#[from] VaultError),
}

/// Why somebody may not: for the audit trail, never for the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotPermitted {
    /// Its policy does not say so.
    Policy,
    /// The token has scopes it must not have.
    Scopes,
    /// The tenant was switched off.
    TenantDisabled,
    /// There is no such tenant.
    UnknownTenant,
    /// It would give away what it does not have.
    BeyondOwn,
}

// === impl Refusal ===

impl Refusal {
    /// The word for it in audit lines and metrics.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Unauthenticated => "invalid_credentials",
            Self::NotPermitted(why) => why.reason(),
            Self::RateLimited { .. } => "rate_limited",
            Self::UserQuota { .. } => "user_quota_exceeded",
            Self::Failed(error) => error.reason(),
        }
    }

    pub(super) const fn audit_result(&self) -> AuditResult {
        match self {
            Self::Unauthenticated | Self::NotPermitted(_) | Self::RateLimited { .. } | Self::UserQuota { .. } => {
                AuditResult::Denied
            }
            Self::Failed(_) => AuditResult::Failed,
        }
    }
}

impl From<InvalidArgument> for Refusal {
    fn from(invalid: InvalidArgument) -> Self {
        Self::Failed(invalid.into())
    }
}

// === impl NotPermitted ===

impl NotPermitted {
    /// The word for it in audit lines.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Policy => "not_permitted",
            Self::Scopes => "scopes_exceeded",
            Self::TenantDisabled => "tenant_disabled",
            Self::UnknownTenant => "unknown_tenant",
            Self::BeyondOwn => "beyond_own_rights",
        }
    }
}
