//! Where sealed records are kept, and the compare-and-swap everything rests on.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use super::index::{Hints, Partition};
use crate::domain::id::{ConnectionKey, PlatformId, TenantId, UserId};

/// The version of a stored value; the first is 1 and every write adds exactly one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub struct Version(pub u64);

/// Which history of a store this is: raised when somebody sets it back on purpose, so that what is older than one has
/// seen can be told from what was lost. A store that was never set back has none, which is 0.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Epoch(pub u64);

/// Where a value lives. Everything of one user lives together, so that one round trip fetches it all.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Address {
    /// A sealed connection.
    Connection(ConnectionKey),
    /// A sealed user key.
    UserKey {
        /// The tenant of the user.
        tenant: TenantId,
        /// The user.
        user: UserId,
        /// The generation of the key.
        generation: u32,
    },
    /// The wrapped keys of a tenant.
    TenantKeyring {
        /// The tenant.
        tenant: TenantId,
    },
    /// Who walks what is due in a partition.
    Lease {
        /// The partition.
        partition: Partition,
    },
    /// A sealed document of a tenant.
    Document {
        /// The tenant.
        tenant: TenantId,
        /// Which.
        name: DocumentName,
    },
    /// The sealed epoch of the store.
    Epoch,
}

/// The documents a tenant has, beside its keys and its users.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum DocumentName {
    /// Who may call.
    Registry,
    /// When each key was used last.
    KeyUsage,
}

/// A value and its version.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stored {
    /// Its version.
    pub version: Version,
    /// The bytes that were put, opaque to the store.
    pub value: Bytes,
}

/// What is put.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Record {
    /// The bytes, opaque to the store.
    pub value: Bytes,
    /// What it can be found by.
    pub hints: Hints,
}

/// What a write expects to find.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Expected {
    /// Nothing.
    Absent,
    /// Exactly this version.
    Version(Version),
}

/// Everything that is stored for one user.
#[derive(Clone, Debug, Default)]
pub struct UserDrawer {
    /// The sealed connections.
    pub connections: Vec<(PlatformId, Stored)>,
    /// The sealed user keys, by generation.
    pub keys: Vec<(u32, Stored)>,
}

/// Versioned compare-and-swap over opaque bytes.
///
/// - `get` returns what the last successful `put` wrote, or `None`; it never returns a value older than one that any
///   earlier call on any instance has returned or written, as long as the store itself loses nothing.
/// - `put` with `Absent` succeeds if and only if nothing is there; with `Version(v)` if and only if exactly version `v`
///   is there. The value then has version [`Expected::next`]. Otherwise the answer is [`StoreError::Conflict`] and
///   nothing has changed.
/// - Of any number of concurrent `put`s with the same expectation exactly one succeeds.
/// - `restore` writes a value with the version it had elsewhere, if and only if nothing is there or an older version.
/// - `get_recent` may return what `get` would have returned up to [`STALENESS`] ago; never less than this instance wrote.
/// - After [`StoreError::Unavailable`] a `put` may or may not have happened; putting the same again, or reading, tells.
/// - A call whose future is dropped may still take effect, and never affects the answer of any other call.
/// - Values of up to 1 MiB are kept byte for byte; a larger one is refused before anything is sent.
/// - `list_user` sees everything of one user and nothing of anybody else, in one round trip.
/// - Every call ends within the store's own time limit, whatever the store behind it does.
#[async_trait]
pub trait Store: Send + Sync {
    /// Reads one value.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`], or [`StoreError::Corrupt`] if what is there was not written by a vault.
    async fn get(&self, address: &Address) -> Result<Option<Stored>, StoreError>;

    /// Reads one value, perhaps from nearer by: for whoever would not mind having asked a moment earlier.
    ///
    /// # Errors
    ///
    /// As for `get`.
    async fn get_recent(&self, address: &Address) -> Result<Option<Stored>, StoreError> {
        self.get(address).await
    }

    /// Writes one value against an expectation.
    ///
    /// # Errors
    ///
    /// [`StoreError::Conflict`] or [`StoreError::Unavailable`].
    async fn put(&self, address: &Address, expected: Expected, record: Record) -> Result<(), StoreError>;

    /// Writes one value as it was in another store.
    ///
    /// # Errors
    ///
    /// [`StoreError::Conflict`] when this version or a later one is there; [`StoreError::Unavailable`].
    async fn restore(&self, address: &Address, version: Version, record: Record) -> Result<(), StoreError>;

    /// Reads everything of one user.
    ///
    /// # Errors
    ///
    /// As for `get`.
    async fn list_user(&self, tenant: &TenantId, user: &UserId) -> Result<UserDrawer, StoreError>;

    /// What it is, for logs: `embedded`, `redis`.
    fn kind(&self) -> &'static str;
}

/// Why the store did not do it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// What is there is not what was expected.
    #[error("the stored version is not the expected one")]
    Conflict,
    /// It cannot be reached, is too slow, or refuses. A write may or may not have happened.
    #[error("the store is unavailable ({reason})")]
    Unavailable {
        /// One word from a closed vocabulary: `timeout`, `connection`, `refused`, `too_large`, ...
        reason: &'static str,
        /// The error underneath.
        #[source]
        source: Option<Arc<dyn Error + Send + Sync>>,
    },
    /// What is there was not written by a vault.
    #[error("the stored value is not one a vault wrote")]
    Corrupt,
}

/// The most bytes a value may have.
pub const MAX_VALUE_BYTES: usize = 1_048_576;

/// The most a recent read may lag behind.
pub const STALENESS: Duration = Duration::from_secs(1);

// === impl Address ===

impl Address {
    /// The partition it belongs to.
    #[must_use]
    pub fn partition(&self) -> Partition {
        match self {
            Self::Connection(key) => Partition::of(&key.tenant, &key.user),
            Self::UserKey { tenant, user, .. } => Partition::of(tenant, user),
            Self::TenantKeyring { tenant } | Self::Document { tenant, .. } => Partition::of_tenant(tenant),
            Self::Lease { partition } => *partition,
            Self::Epoch => Partition::FIRST,
        }
    }
}

// === impl DocumentName ===

impl DocumentName {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Registry, Self::KeyUsage];

    /// The word for it: part of the stored format.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Registry => "registry",
            Self::KeyUsage => "key-usage",
        }
    }
}

// === impl Record ===

/// A value nobody has to find.
impl From<Bytes> for Record {
    fn from(value: Bytes) -> Self {
        Self { value, hints: Hints::default() }
    }
}

// === impl Version ===

impl Version {
    /// The version of a value that was just created.
    pub const FIRST: Self = Self(1);

    /// The one after this.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

// === impl Expected ===

impl Expected {
    /// The version a write with this expectation creates.
    #[must_use]
    pub const fn next(self) -> Version {
        match self {
            Self::Absent => Version::FIRST,
            Self::Version(version) => version.next(),
        }
    }
}

// === impl StoreError ===

impl StoreError {
    /// Unavailable, with nothing underneath.
    #[must_use]
    pub const fn unavailable(reason: &'static str) -> Self {
        Self::Unavailable { reason, source: None }
    }

    /// Unavailable, with the error that caused it.
    #[must_use]
    pub fn caused_by(reason: &'static str, source: impl Error + Send + Sync + 'static) -> Self {
        Self::Unavailable { reason, source: Some(Arc::new(source)) }
    }
}
