//! User keys: the unit of erasure. Sealed under the tenant's key, stored beside the user's connections.
//!
//! ```text
//! sealed under the tenant's key, kind 1, environment, tenant, user, no platform
//!   version = generation of the key      plaintext = key, 32 bytes [ || when, i64 BE, Unix seconds ]
//! ```
//!
//! A key with a `when` was made by an erasure: nothing that was sealed under a generation before it opens any more, also
//! where somebody puts the old key back. Those keys are overwritten, the next use of the user finds the new one.

use std::sync::Arc;

use bytes::Bytes;
use quick_cache::sync::Cache;
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::context::Context;
use super::format::Header;
use super::seal;
use super::tenant_keys::{KeyLimits, Lease, TenantKeys};
use crate::domain::error::{CorruptRecord, VaultError};
use crate::domain::id::{ConnectionKey, Environment, TenantId, UserId};
use crate::domain::ports::{Address, DataKey, Expected, Random, Store, StoreError, Stored, UserDrawer};
use crate::domain::time::Timestamp;

/// The user keys at hand, and how to obtain the others.
pub struct UserKeys {
    environment: Environment,
    tenants: Arc<TenantKeys>,
    store: Arc<dyn Store>,
    random: Arc<dyn Random>,
    held: Cache<Owner, Arc<UserKeyring>>,
    limits: KeyLimits,
}

/// Whose keys.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Owner {
    pub(super) tenant: TenantId,
    pub(super) user: UserId,
}

/// The keys of one user. Wiped when the last user of them lets go.
pub(super) struct UserKeyring {
    /// By generation, the newest first.
    keys: Vec<(u32, DataKey)>,
    /// Up to which generation everything is gone, and since when.
    erased: Option<(u32, Timestamp)>,
    lease: Arc<Lease>,
    taken_at: Instant,
}

/// What became of a generation of a key.
pub(super) enum Found<'a> {
    /// It opens what was sealed with it.
    Key(&'a [u8; 32]),
    /// It was erased at this time.
    Erased(Timestamp),
}

/// What became of sealing a user key under another generation of its tenant's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resealed {
    /// It is now.
    Done,
    /// It was already, or it is erased.
    Already,
    /// Somebody has written it meanwhile: another look tells.
    Changed,
}

/// The generation of a user's first key.
const FIRST: u32 = 1;
/// What lies in the place of a key that was erased.
const ERASED: &[u8] = b"erased";
/// How often a key that somebody else is writing is read again.
const ATTEMPTS: u32 = 16;

// === impl UserKeys ===

impl UserKeys {
    /// The user keys of one installation.
    #[must_use]
    pub fn new(
        environment: Environment,
        tenants: Arc<TenantKeys>,
        store: Arc<dyn Store>,
        random: Arc<dyn Random>,
        limits: KeyLimits,
    ) -> Self {
        // Room is made as users come: memory is for those who are here.
        let held = Cache::with_weighter(1_024, limits.users, quick_cache::UnitWeighter);
        Self { environment, tenants, store, random, held, limits }
    }

    /// Keys among which this generation is, or was. `at_hand` saves a round trip where the user's drawer was read already.
    pub(super) async fn knowing(
        &self,
        owner: &Owner,
        generation: u32,
        at_hand: Option<&UserDrawer>,
    ) -> Result<Arc<UserKeyring>, VaultError> {
        if let Some(keyring) = self.held(owner).filter(|keyring| keyring.find(generation).is_some()) {
            return Ok(keyring);
        }
        if let Some(drawer) = at_hand {
            let keyring = self.unwrap(owner, &drawer.keys).await?;
            if keyring.find(generation).is_some() {
                return Ok(self.hold(owner, keyring));
            }
        }
        let keyring = self.read(owner).await?;
        if keyring.find(generation).is_some() { Ok(keyring) } else { Err(CorruptRecord::KeyMissing.into()) }
    }

    /// Keys of which there is a newest to seal with, made if the user has none.
    pub(super) async fn for_sealing(&self, owner: &Owner) -> Result<Arc<UserKeyring>, VaultError> {
        if let Some(keyring) = self.held(owner) {
            return Ok(keyring);
        }
        for _ in 0..ATTEMPTS {
            let keyring = self.read(owner).await?;
            if keyring.newest().is_some() {
                return Ok(keyring);
            }
            if let Some(made) = self.make(owner, FIRST, None).await? {
                return Ok(self.hold(owner, made));
            }
        }
        Err(VaultError::WriteContended)
    }

    /// Whether the user was given a newer key than this.
    pub(super) async fn is_outdated(&self, owner: &Owner, generation: u32) -> Result<bool, VaultError> {
        let outdated = self.store.get(&owner.key(generation.saturating_add(1))).await?.is_some();
        if outdated {
            self.held.remove(owner);
        }
        Ok(outdated)
    }

    /// Makes everything that was sealed for a user until now unreadable for ever. `None` if nothing ever was; otherwise
    /// the last generation of keys that is gone.
    pub(super) async fn erase(&self, owner: &Owner, at: Timestamp) -> Result<Option<u32>, VaultError> {
        for _ in 0..ATTEMPTS {
            let keyring = self.read(owner).await?;
            let Some((newest, _)) = keyring.newest() else { return Ok(None) };
            let next = newest.checked_add(1).ok_or(VaultError::Internal("a user has no more keys"))?;
            if let Some(made) = self.make(owner, next, Some(at)).await? {
                self.hold(owner, made);
                for generation in FIRST..=newest {
                    self.overwrite(&owner.key(generation)).await?;
                }
                return Ok(Some(newest));
            }
        }
        Err(VaultError::WriteContended)
    }

    /// The generation of the tenant's key a user key is sealed under, as it says itself; `None` for one that is erased, or
    /// that is no key.
    #[must_use]
    pub fn parent_generation(stored: &Stored) -> Option<u32> {
        Header::parse(&stored.value).ok().map(|header| header.parent_generation)
    }

    /// Seals a user key that was read from the store under this generation of its tenant's key, if it is under an earlier
    /// one.
    ///
    /// # Errors
    ///
    /// [`VaultError::Corrupt`] if it does not open; when the store or the tenant's keys are not at hand.
    pub async fn reseal(
        &self,
        tenant: &TenantId,
        (user, generation): (&UserId, u32),
        stored: &Stored,
        to: u32,
    ) -> Result<Resealed, VaultError> {
        if stored.value == ERASED {
            return Ok(Resealed::Already);
        }
        let parent = Header::parse(&stored.value)?.parent_generation;
        if parent >= to {
            return Ok(Resealed::Already);
        }
        let owner = Owner { tenant: tenant.clone(), user: user.clone() };
        let (lease, context) = (self.tenants.lease_knowing(tenant, to).await?, self.context(&owner));
        let opened = seal::open(lease.generation(parent)?, parent, &context, &stored.value)?;
        if opened.version != u64::from(generation) {
            return Err(CorruptRecord::Commitment.into());
        }
        let sealed = seal::seal(&*self.random, lease.generation(to)?, to, opened.version, &context, &opened.plaintext);
        let expected = Expected::Version(stored.version);
        match self.store.put(&owner.key(generation), expected, Bytes::from(sealed).into()).await {
            Ok(()) => Ok(Resealed::Done),
            Err(StoreError::Conflict) => Ok(Resealed::Changed),
            Err(error) => Err(error.into()),
        }
    }

    /// Lets go of every key that is older than it may be, so that a key nobody asks for again leaves memory, too.
    pub fn sweep(&self) {
        self.held.retain(|_, keyring| self.is_good(keyring));
    }

    async fn overwrite(&self, address: &Address) -> Result<(), VaultError> {
        for _ in 0..ATTEMPTS {
            let Some(stored) = self.store.get(address).await? else { return Ok(()) };
            if stored.value == ERASED {
                return Ok(());
            }
            let erased = Bytes::from_static(ERASED).into();
            match self.store.put(address, Expected::Version(stored.version), erased).await {
                Ok(()) => return Ok(()),
                Err(StoreError::Conflict) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(VaultError::WriteContended)
    }

    /// Makes a key and stores it; `None` if somebody else was first, whose key it is then.
    async fn make(
        &self,
        owner: &Owner,
        generation: u32,
        erased_at: Option<Timestamp>,
    ) -> Result<Option<UserKeyring>, VaultError> {
        let lease = self.tenants.lease(&owner.tenant).await?;
        let mut key: DataKey = Zeroizing::new([0; 32]);
        self.random.fill(key.as_mut_slice());
        let mut plaintext = Zeroizing::new(Vec::with_capacity(40));
        plaintext.extend_from_slice(&*key);
        plaintext.extend(erased_at.into_iter().flat_map(|at| at.unix_seconds().to_be_bytes()));
        let (parent_generation, parent) = lease.active()?;
        let context = self.context(owner);
        let sealed = seal::seal(&*self.random, parent, parent_generation, u64::from(generation), &context, &plaintext);
        match self.store.put(&owner.key(generation), Expected::Absent, Bytes::from(sealed).into()).await {
            Ok(()) => {
                let erased = erased_at.map(|at| (generation.saturating_sub(1), at));
                Ok(Some(UserKeyring { keys: vec![(generation, key)], erased, lease, taken_at: Instant::now() }))
            }
            Err(StoreError::Conflict) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Reads the keys of a user, whatever is at hand. Only keys that are there are held.
    async fn read(&self, owner: &Owner) -> Result<Arc<UserKeyring>, VaultError> {
        let drawer = self.store.list_user(&owner.tenant, &owner.user).await?;
        let keyring = self.unwrap(owner, &drawer.keys).await?;
        Ok(if keyring.newest().is_some() { self.hold(owner, keyring) } else { Arc::new(keyring) })
    }

    /// Unwraps keys from the newest down to the last erasure.
    async fn unwrap(&self, owner: &Owner, stored: &[(u32, Stored)]) -> Result<UserKeyring, VaultError> {
        let taken_at = Instant::now();
        let mut lease = self.tenants.lease(&owner.tenant).await?;
        let mut newest_first: Vec<&(u32, Stored)> = stored.iter().collect();
        newest_first.sort_unstable_by_key(|(generation, _)| std::cmp::Reverse(*generation));
        let (mut keys, mut erased) = (Vec::with_capacity(1), None);
        for (generation, stored) in newest_first {
            let parent = Header::parse(&stored.value)?.parent_generation;
            if !lease.knows(parent) {
                lease = self.tenants.lease_knowing(&owner.tenant, parent).await?;
            }
            let opened = seal::open(lease.generation(parent)?, parent, &self.context(owner), &stored.value)?;
            if opened.version != u64::from(*generation) {
                return Err(CorruptRecord::Commitment.into());
            }
            let (key, when) = opened.plaintext.split_first_chunk::<32>().ok_or(CorruptRecord::Content)?;
            keys.push((*generation, Zeroizing::new(*key)));
            if !when.is_empty() {
                let at = i64::from_be_bytes(when.try_into().map_err(|_| CorruptRecord::Content)?);
                erased = Some((generation.saturating_sub(1), Timestamp::from_unix_seconds(at)));
                break;
            }
        }
        Ok(UserKeyring { keys, erased, lease, taken_at })
    }

    fn held(&self, owner: &Owner) -> Option<Arc<UserKeyring>> {
        // Checked at every use and not only when it is put in: a limit that is looked at once is no limit.
        let keyring = self.held.get(owner)?;
        if !keyring.lease.is_good(&self.limits) {
            // What fell with this key must leave memory now, not when it is next asked for.
            self.held.retain(|held, keyring| held.tenant != owner.tenant || keyring.lease.is_good(&self.limits));
            return None;
        }
        if !self.is_good(&keyring) {
            self.held.remove(owner);
            return None;
        }
        Some(keyring)
    }

    fn is_good(&self, keyring: &UserKeyring) -> bool {
        keyring.lease.is_good(&self.limits) && keyring.taken_at.elapsed() < self.limits.user
    }

    fn hold(&self, owner: &Owner, keyring: UserKeyring) -> Arc<UserKeyring> {
        let keyring = Arc::new(keyring);
        self.held.insert(owner.clone(), Arc::clone(&keyring));
        keyring
    }

    fn context(&self, owner: &Owner) -> Context {
        Context::user_key(&self.environment, &owner.tenant, &owner.user)
    }
}

// === impl Owner ===

impl Owner {
    pub(super) fn of(key: &ConnectionKey) -> Self {
        Self { tenant: key.tenant.clone(), user: key.user.clone() }
    }

    fn key(&self, generation: u32) -> Address {
        Address::UserKey { tenant: self.tenant.clone(), user: self.user.clone(), generation }
    }
}

// === impl UserKeyring ===

impl UserKeyring {
    /// The key to seal with.
    pub(super) fn newest(&self) -> Option<(u32, &[u8; 32])> {
        self.keys.first().map(|(generation, key)| (*generation, &**key))
    }

    /// What is known of a generation.
    pub(super) fn find(&self, wanted: u32) -> Option<Found<'_>> {
        if let Some((_, key)) = self.keys.iter().find(|(generation, _)| *generation == wanted) {
            return Some(Found::Key(key));
        }
        self.erased.filter(|(through, _)| wanted <= *through).map(|(_, at)| Found::Erased(at))
    }
}
