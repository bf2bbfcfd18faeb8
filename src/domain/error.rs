//! What can go wrong in a use case, told apart by what the caller can do about it.

use std::time::Duration;

use super::cause::Cause;
use super::id::IdError;
use super::ports::{AuditUnavailable, KeyError, OutboxError, StoreError};
use super::registry::RegistryError;

/// Why a call failed. Cheap to clone, because one failure answers everybody who waited for the same refresh.
#[derive(Debug, Clone, thiserror::Error)]
pub enum VaultError {
    /// A field of the request is out of bounds.
    #[error("invalid request: {0}")]
    Invalid(#[from] InvalidArgument),
    /// Nothing is stored for this connection.
    #[error("no token is stored for this user and platform")]
    Missing,
    /// The user has to connect again.
    #[error("the token expired and cannot be renewed ({})", .cause.as_str())]
    ReauthRequired {
        /// Why.
        cause: Cause,
    },
    /// The platform refuses this installation's client.
    #[error("the platform's client is missing in this installation or refused by the platform")]
    AppMisconfigured,
    /// The platform cannot be used right now.
    #[error("the platform cannot renew the token right now ({})", .cause.as_str())]
    ProviderUnavailable {
        /// Why.
        cause: Cause,
        /// When to try again.
        retry_after: Duration,
    },
    /// Another instance is refreshing and has not finished in time.
    #[error("the token is being renewed elsewhere and is not ready yet")]
    Contended {
        /// When to try again.
        retry_after: Duration,
    },
    /// Too many callers wait for the same refresh.
    #[error("too many callers wait for the same refresh")]
    TooManyWaiters {
        /// When to try again.
        retry_after: Duration,
    },
    /// There are as many streams as there may be, of this engine or in all.
    #[error("there are too many streams")]
    TooManyStreams,
    /// Messages waited too long for their reader.
    #[error("the stream was read too slowly")]
    SlowReader,
    /// This instance is stopping.
    #[error("this instance is stopping")]
    Stopping,
    /// The record kept changing underneath the call.
    #[error("the record kept changing underneath this call")]
    WriteContended,
    /// The store failed.
    #[error("the store cannot be used")]
    Store(#[source] StoreError),
    /// The keys cannot be had.
    #[error("the keys cannot be used")]
    Keys(#[from] KeyError),
    /// The audit trail cannot be written.
    #[error("the audit trail cannot be written")]
    Audit(#[from] AuditUnavailable),
    /// What the platform would answer could not be kept, so it is not asked.
    #[error("there is no place to keep what the platform would answer")]
    Outbox(#[from] OutboxError),
    /// The stored record cannot be trusted.
    #[error("the stored record cannot be trusted")]
    Corrupt(#[from] CorruptRecord),
    /// The registry of engines was not changed, or does not have what was asked for.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// A fault of the vault itself.
    #[error("internal fault: {0}")]
    Internal(&'static str),
}

/// A field of a request is out of bounds. Says which and why, never what it held.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{field}` {fault}")]
pub struct InvalidArgument {
    /// The field, as it is named in the API.
    pub field: &'static str,
    /// What is wrong with it and what would be right.
    pub fault: Fault,
}

/// What is wrong with a field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It is not an identifier.
    #[error(transparent)]
    Id(#[from] IdError),
    /// It must be given.
    #[error("must be given")]
    Missing,
    /// It is too large.
    #[error("must be at most {0} bytes")]
    TooLarge(usize),
    /// There are too many of them.
    #[error("must have at most {0} entries")]
    TooMany(usize),
    /// It is outside its range.
    #[error("must be between {0} and {1}")]
    Range(i64, i64),
    /// It contains something it must not.
    #[error("may contain only {0}")]
    Characters(&'static str),
    /// No such platform is enabled here.
    #[error("names no platform that is enabled here")]
    UnknownPlatform,
    /// It names something twice.
    #[error("must not name anything twice")]
    Repeated,
    /// It is none of the words there are.
    #[error("must be one of {0}")]
    NoneOf(&'static str),
    /// It is not what the vault gave out for this.
    #[error("is not one that was returned for this request, tenant and filters included")]
    NotOurs,
    /// It is not shaped as it must be.
    #[error("must be {0}")]
    Shape(&'static str),
    /// It names more than this caller may.
    #[error("must be absent or name a tenant this engine acts for")]
    ForeignTenant,
}

/// A stored record that was altered, moved, truncated, replaced by an older one, or lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CorruptRecord {
    /// It is shorter than any record or not in a known format.
    #[error("not a sealed record")]
    Format,
    /// It was sealed with another key, for another place or in another version.
    #[error("sealed with another key or for another place")]
    Commitment,
    /// It was altered.
    #[error("altered after it was sealed")]
    Tag,
    /// It opened, and what is inside is not what belongs there.
    #[error("sealed correctly but not readable")]
    Content,
    /// It is older than one this instance has already seen.
    #[error("older than a version already seen")]
    Rollback,
    /// It was there before and is gone without having been deleted.
    #[error("gone without having been deleted")]
    Vanished,
    /// The key record it needs is not there.
    #[error("its key is not there")]
    KeyMissing,
    /// The key it was sealed under has been retired.
    #[error("sealed under a key that has been retired")]
    KeyRetired,
}

// === impl VaultError ===

impl VaultError {
    /// The word for it in audit lines and metrics.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Invalid(_) => "invalid_request",
            Self::Missing => "token_missing",
            Self::ReauthRequired { cause } | Self::ProviderUnavailable { cause, .. } => cause.as_str(),
            Self::AppMisconfigured => "app_misconfigured",
            Self::Contended { .. } => "refresh_contended",
            Self::TooManyWaiters { .. } => "too_many_waiters",
            Self::TooManyStreams => "too_many_streams",
            Self::SlowReader => "slow_reader",
            Self::Stopping => "stopping",
            Self::WriteContended => "write_contended",
            Self::Store(_) => "store_unavailable",
            Self::Keys(KeyError::Unavailable(_)) => "keys_unavailable",
            Self::Keys(KeyError::Refused(_)) => "keys_refused",
            Self::Audit(_) => "audit_unavailable",
            Self::Outbox(error) => error.reason(),
            Self::Corrupt(corrupt) => corrupt.reason(),
            Self::Registry(error) => error.reason(),
            Self::Internal(_) => "internal",
        }
    }
}

impl From<StoreError> for VaultError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Conflict => Self::WriteContended,
            StoreError::Corrupt => Self::Corrupt(CorruptRecord::Format),
            StoreError::Unavailable { .. } => Self::Store(error),
        }
    }
}

// === impl CorruptRecord ===

impl CorruptRecord {
    /// The word for it.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Format => "record_format",
            Self::Commitment => "record_commitment",
            Self::Tag => "record_tag",
            Self::Content => "record_content",
            Self::Rollback => "record_rollback",
            Self::Vanished => "record_vanished",
            Self::KeyMissing => "record_key_missing",
            Self::KeyRetired => "record_key_retired",
        }
    }
}
