//! Why a call came back without what it went for.

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
    NotPermitted,
    /// It was let through and failed.
    #[error(transparent)]
    Failed(#[from] VaultError),
}

// === impl Refusal ===

impl Refusal {
    /// The word for it in audit lines and metrics.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Unauthenticated => "invalid_credentials",
            Self::NotPermitted => "not_permitted",
            Self::Failed(error) => error.reason(),
        }
    }

    pub(super) const fn audit_result(&self) -> AuditResult {
        match self {
            Self::Unauthenticated | Self::NotPermitted => AuditResult::Denied,
            Self::Failed(_) => AuditResult::Failed,
        }
    }
}

impl From<InvalidArgument> for Refusal {
    fn from(invalid: InvalidArgument) -> Self {
        Self::Failed(invalid.into())
    }
}
