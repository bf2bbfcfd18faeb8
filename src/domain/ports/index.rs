//! Finding records without being told where they are: what is due, what has changed, everything there is.

use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;

use super::store::{Address, StoreError, Stored, Version};
use crate::domain::id::{ConnectionKey, TenantId, UserId};
use crate::domain::time::Timestamp;

/// One of the parts every store is divided into, so that instances can share out the work of walking it. Everything of
/// one user is in one part; which one never changes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Partition(u8);

/// What is kept in the clear beside a sealed record so that it can be found. Anybody who can write to the store can
/// write hints, so whoever acts on one opens the record first.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Hints {
    /// What the record was when it was written.
    pub state: StateHint,
    /// When its access token expires, to the second.
    pub expires_at: Option<Timestamp>,
    /// When somebody should look at it next, to the second; `None`: never.
    pub due_at: Option<Timestamp>,
}

/// What a record was when it was written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum StateHint {
    /// No connection, but a key or a lease.
    #[default]
    None,
    /// A connection that is alive.
    Alive,
    /// A connection whose user has to connect again.
    Dead,
    /// What a deleted connection left behind.
    Deleted,
}

/// A connection that is due.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Due {
    /// Since when.
    pub at: Timestamp,
    /// Which.
    pub key: ConnectionKey,
}

/// A place in the sequence of changes of one partition. Only the store that made it can read it: to any other, one that
/// holds the same records included, it is forgotten, or corrupt; at most 32 bytes.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct ChangeCursor(pub Vec<u8>);

/// A connection was written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Change {
    /// Which.
    pub key: ConnectionKey,
    /// As which version.
    pub version: Version,
    /// As what.
    pub state: StateHint,
}

/// What was written after a place in the sequence.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Changes {
    /// These, each with the place after it, and the place after all of them. Empty: nothing yet.
    Next {
        /// In the order in which they were written.
        changes: Vec<(Change, ChangeCursor)>,
        /// Where to go on.
        cursor: ChangeCursor,
    },
    /// The store no longer knows what came after that place: read everything, and begin at the end again.
    Forgotten,
}

/// What is scanned.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Scope {
    /// Everything but leases and the epoch: what belongs to the vault, and not to where it is kept.
    All,
    /// The connections and user keys of one tenant.
    Tenant(TenantId),
}

/// A place in a scan. Only the store that made it can read it; at most 1 KiB.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ScanCursor(pub Vec<u8>);

/// A part of a scan.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Page {
    /// What was found. Everything of one user is in one page.
    pub items: Vec<Item>,
    /// Where to go on; `None`: that was all.
    pub next: Option<ScanCursor>,
}

/// What a scan found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Item {
    /// Where.
    pub address: Address,
    /// What.
    pub stored: Stored,
    /// And beside it.
    pub hints: Hints,
}

/// Whom a store tells of changes while they happen.
pub trait Listener: Send + Sync {
    /// Something of this user was written, here or by another instance. Called soon, perhaps more than once.
    fn changed(&self, tenant: &TenantId, user: &UserId);

    /// Everything that was committed before `as_of`, anywhere, has been told.
    fn caught_up(&self, as_of: Instant);

    /// Changes may have gone untold: whatever is remembered may be old.
    fn lost(&self);
}

/// Whether a store tells of changes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pushes {
    /// All of them, before the write that made them returns.
    AtOnce,
    /// All of them, except while it is not connected. While it is, [`Listener::caught_up`] is called several times a
    /// second.
    WhileConnected,
    /// None.
    Never,
}

/// The indices every store keeps beside its records.
///
/// - A record is in the index, or no longer in it, from the moment its `put` returns: they change together or not at
///   all.
/// - `due` returns the connections of a partition whose `due_at` is not after `by`, the earliest first, at most `limit`;
///   its cost grows with what it returns, not with what is stored.
/// - `changes` returns what was written to connections of a partition after a place, at most `limit`, each change of one
///   connection after the changes before it. Without a place it returns none, and the end. Changes are remembered for a
///   day at least, or, where a store bounds their number, the last [`CHANGES_KEPT`] of a partition. A store may return a
///   change again that it has returned before; it never leaves one out.
/// - `scan` returns everything that was there during the whole of it exactly once, in pages of about `limit` items.
/// - `listen` calls the listener for as long as the store lives, from threads of its own.
/// - Every call ends within the store's own time limit.
#[async_trait]
pub trait Index: Send + Sync {
    /// Finds what is due.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`] or [`StoreError::Corrupt`].
    async fn due(&self, partition: Partition, by: Timestamp, limit: usize) -> Result<Vec<Due>, StoreError>;

    /// Finds what has changed.
    ///
    /// # Errors
    ///
    /// As for `due`.
    async fn changes(
        &self,
        partition: Partition,
        after: Option<&ChangeCursor>,
        limit: usize,
    ) -> Result<Changes, StoreError>;

    /// Finds everything.
    ///
    /// # Errors
    ///
    /// As for `due`; [`StoreError::Corrupt`] also for a cursor this store did not make.
    async fn scan(&self, scope: &Scope, after: Option<&ScanCursor>, limit: usize) -> Result<Page, StoreError>;

    /// Tells this listener of changes from now on.
    fn listen(&self, listener: Arc<dyn Listener>) -> Pushes;
}

/// How many changes of a partition a store remembers at least, where it bounds their number.
pub const CHANGES_KEPT: usize = 65_536;

// === impl Partition ===

impl Partition {
    /// How many there are. It is part of the stored format.
    pub const COUNT: u8 = 16;

    /// The one of what belongs to none.
    pub(super) const FIRST: Self = Self(0);

    /// The partition of everything of this user.
    #[must_use]
    pub fn of(tenant: &TenantId, user: &UserId) -> Self {
        Self::hash([tenant.as_str(), user.as_str()])
    }

    /// The partition of the keys of this tenant.
    #[must_use]
    pub fn of_tenant(tenant: &TenantId) -> Self {
        Self::hash([tenant.as_str(), ""])
    }

    /// All of them.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..Self::COUNT).map(Self)
    }

    /// The one with this number.
    #[must_use]
    pub const fn numbered(number: u8) -> Option<Self> {
        if number < Self::COUNT { Some(Self(number)) } else { None }
    }

    /// Its number.
    #[must_use]
    pub const fn number(self) -> u8 {
        self.0
    }

    /// FNV-1a, which every implementation can compute and which need not resist anybody: whoever could fill one
    /// partition on purpose chooses user ids, and gains slowness for himself.
    fn hash(parts: [&str; 2]) -> Self {
        let hash = parts
            .iter()
            .flat_map(|part| part.bytes().chain(std::iter::once(b'/')))
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        // Of ids that differ little, single bits differ little: every bit has a say.
        let folded = [32, 16, 8, 4].iter().fold(hash, |hash, bits| hash ^ (hash >> bits));
        Self(u8::try_from(folded % u64::from(Self::COUNT)).unwrap_or(0))
    }
}

// === impl StateHint ===

impl StateHint {
    /// The number it is stored as.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::None => 0,
            Self::Alive => 1,
            Self::Dead => 2,
            Self::Deleted => 3,
        }
    }

    /// The one that is stored as this number.
    #[must_use]
    pub const fn numbered(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::None),
            1 => Some(Self::Alive),
            2 => Some(Self::Dead),
            3 => Some(Self::Deleted),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partition(tenant: &str, user: &str) -> u8 {
        Partition::of(&tenant.parse().unwrap(), &user.parse().unwrap()).number()
    }

    #[test]
    fn the_partition_of_a_user_never_changes() {
        let known = [("default", "u1"), ("default", "u2"), ("acme", "u1"), ("acme", "alice@example.com")];
        assert_eq!(known.map(|(tenant, user)| partition(tenant, user)), [2, 14, 0, 7]);
    }

    #[test]
    fn users_spread_evenly_over_the_partitions() {
        let mut counts = [0_u32; Partition::COUNT as usize];
        for user in 0..16_000 {
            let at = usize::from(partition("default", &format!("user-{user}")));
            if let Some(count) = counts.get_mut(at) {
                *count += 1;
            }
        }
        assert!(counts.iter().all(|count| (800..=1_200).contains(count)), "{counts:?}");
    }

    #[test]
    fn a_state_is_the_number_it_is_stored_as() {
        let states = [StateHint::None, StateHint::Alive, StateHint::Dead, StateHint::Deleted];
        assert!(states.iter().all(|state| StateHint::numbered(state.number()) == Some(*state)));
        assert_eq!(StateHint::numbered(4), None);
    }
}
