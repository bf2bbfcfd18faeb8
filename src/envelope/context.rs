//! The place a sealed thing belongs to.

use crate::domain::id::{ConnectionKey, Environment, TenantId, UserId};

/// What kind of thing is sealed. The numbers are part of the format and never change meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// A user key, sealed under a tenant key.
    UserKey = 1,
    /// The tokens of a connection, sealed under a user key.
    Token = 2,
    /// A data key, sealed by the local key provider.
    LocalDataKey = 3,
    /// The registry of engines and their keys.
    EngineRegistry = 4,
    /// An answer waiting to be stored.
    OutboxEntry = 5,
    /// Where the next page of a listing begins.
    PageToken = 6,
    /// Where a stream broke off.
    ResumeToken = 7,
    /// The epoch of the store, sealed under a key of the installation.
    StoreEpoch = 8,
    /// When the keys of engines were used last.
    KeyUsage = 9,
    /// The proof of a tenant's keyring, sealed under its newest key.
    TenantKeyring = 12,
}

/// The place a sealed thing belongs to, in canonical bytes. Never stored: whoever opens recomputes it from what was
/// asked for, so that a record moved to another place does not open there.
///
/// ```text
/// "tv/1" || kind || LP(environment) || LP(tenant) || LP(user) || LP(platform)      LP(x) = u16 BE length || bytes
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Context(Vec<u8>);

const LABEL: &[u8] = b"tv/1";

// === impl Context ===

impl Context {
    /// The place of any kind; `user` and `platform` are empty where the kind has none.
    #[must_use]
    pub fn new(kind: Kind, environment: &Environment, tenant: &TenantId, user: &str, platform: &str) -> Self {
        let parts = [environment.as_str(), tenant.as_str(), user, platform];
        let length = LABEL.len() + 1 + parts.iter().map(|part| 2 + part.len()).sum::<usize>();
        let mut bytes = Vec::with_capacity(length);
        bytes.extend_from_slice(LABEL);
        bytes.push(kind as u8);
        for part in parts {
            // Identifiers are at most 128 bytes; saturating keeps the encoding total, and an over-long part unopenable.
            bytes.extend_from_slice(&u16::try_from(part.len()).unwrap_or(u16::MAX).to_be_bytes());
            bytes.extend_from_slice(part.as_bytes());
        }
        Self(bytes)
    }

    /// The place of a user's key.
    #[must_use]
    pub fn user_key(environment: &Environment, tenant: &TenantId, user: &UserId) -> Self {
        Self::new(Kind::UserKey, environment, tenant, user.as_str(), "")
    }

    /// The place of a tenant's keyring.
    #[must_use]
    pub fn tenant_keyring(environment: &Environment, tenant: &TenantId) -> Self {
        Self::new(Kind::TenantKeyring, environment, tenant, "", "")
    }

    /// The place of a connection's tokens.
    #[must_use]
    pub fn token(environment: &Environment, key: &ConnectionKey) -> Self {
        Self::new(Kind::Token, environment, &key.tenant, key.user.as_str(), key.platform.as_str())
    }

    /// The place of an answer that waits to become a connection's tokens.
    #[must_use]
    pub fn outbox_entry(environment: &Environment, key: &ConnectionKey) -> Self {
        Self::new(Kind::OutboxEntry, environment, &key.tenant, key.user.as_str(), key.platform.as_str())
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}
