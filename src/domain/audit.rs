//! What is written down about every operation.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::id::{ConnectionKey, EngineId, PlatformId, RequestId, TenantId, UserId};
use super::method::Action;
use super::spiffe::SpiffeId;
use super::time::Timestamp;

/// One line of the audit trail. Every text in it is checked or from a closed vocabulary; none is a secret.
#[derive(Debug, Clone)]
pub struct AuditEntry {
    /// When the operation was decided.
    pub at: Timestamp,
    /// Which call it belongs to.
    pub request_id: RequestId,
    /// The engine, once it has proven who it is.
    pub engine: Option<EngineId>,
    /// The key it proved itself with: the public part.
    pub key_id: Option<String>,
    /// Where the call came from.
    pub peer: Option<Arc<str>>,
    /// The workload the certificate of its connection names.
    pub spiffe_id: Option<SpiffeId>,
    /// What was asked for.
    pub action: AuditAction,
    /// Whose connection, as far as the request was readable.
    pub subject: Subject,
    /// How it ended.
    pub result: AuditResult,
    /// Why, in one word from a closed vocabulary; empty when there is nothing to add.
    pub reason: &'static str,
    /// How long it took until this line was written.
    pub latency: Duration,
    /// The version of the record that was read or written.
    pub record_version: Option<u64>,
    /// How many users or connections were told of, where an operation tells of many.
    pub items: Option<u64>,
    /// What the access token that is released or stored is recognised by.
    pub token_fp: Option<Fingerprint>,
}

/// What a token is recognised by in the trail: a keyed digest, of which nobody without the key can tell whose it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint(pub [u8; 16]);

/// Whose connection an operation is about.
#[derive(Debug, Clone, Default)]
pub struct Subject {
    /// The tenant.
    pub tenant: Option<TenantId>,
    /// The user.
    pub user: Option<UserId>,
    /// The platform; `None` also where the operation is about all of them.
    pub platform: Option<PlatformId>,
    /// The engine or key that is administered, as `sync` or `sync/4J7QX2M9ZK3T`.
    pub target: Option<Arc<str>>,
}

impl From<&ConnectionKey> for Subject {
    fn from(key: &ConnectionKey) -> Self {
        Self {
            tenant: Some(key.tenant.clone()),
            user: Some(key.user.clone()),
            platform: Some(key.platform.clone()),
            target: None,
        }
    }
}

/// What was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuditAction {
    /// A method of the API.
    Call(super::method::Method),
    /// A path the API does not have.
    UnknownMethod,
    /// Everything was written into a file, sealed.
    Export,
    /// Everything of a user was made unreadable for ever.
    Erase,
    /// A tenant's key was given a new generation.
    RotateKey,
    /// A tenant's user keys were sealed under its newest generation.
    Rewrap,
    /// A retired generation of a tenant's key was condemned, or destroyed.
    DestroyKey,
    /// A tenant's keys were wrapped anew by the key service.
    ReencryptKeys,
    /// Records were set back from a file.
    Restore,
    /// Everything was copied into another store, sealed.
    Copy,
    /// The first engine that may administer others was made, or given a new key.
    Init,
    /// A refresh at the platform, on behalf of whoever asked for the token.
    Refresh,
    /// The end of a stream that was opened before.
    StreamEnd,
}

/// How an operation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuditResult {
    /// It was done; if it releases a secret, the secret leaves after this line is written.
    Ok,
    /// The caller may not do this, or is nobody.
    Denied,
    /// It could not be done.
    Failed,
    /// The caller went away before the end.
    Cancelled,
}

// === impl Fingerprint ===

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

// === impl AuditAction ===

impl AuditAction {
    /// Whether it releases secrets or changes them, so that its line has to outlast the machine where that is asked for.
    #[must_use]
    pub const fn moves_secrets(self) -> bool {
        match self {
            Self::Call(method) => matches!(method.action(), Action::Get) || method.action().changes(),
            Self::Export
            | Self::Restore
            | Self::Copy
            | Self::Refresh
            | Self::Init
            | Self::Erase
            | Self::RotateKey
            | Self::Rewrap
            | Self::DestroyKey
            | Self::ReencryptKeys => true,
            Self::UnknownMethod | Self::StreamEnd => false,
        }
    }

    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Call(method) => method.word(),
            Self::UnknownMethod => "unknown",
            Self::Refresh => "refresh",
            Self::StreamEnd => "watch_end",
            Self::Erase => "erase",
            Self::RotateKey => "rotate_key",
            Self::Rewrap => "rewrap",
            Self::DestroyKey => "destroy_key",
            Self::ReencryptKeys => "reencrypt_keys",
            Self::Init => "init",
            Self::Export => "export",
            Self::Restore => "restore",
            Self::Copy => "copy",
        }
    }
}

// === impl AuditResult ===

impl AuditResult {
    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Denied => "denied",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}
