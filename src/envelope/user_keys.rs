//! User keys: the unit of erasure. Sealed under the tenant's key, stored beside the user's connections.

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
use crate::domain::id::{Environment, TenantId, UserId};
use crate::domain::ports::{Address, DataKey, Expected, Random, Store, StoreError, Stored};

/// The generation of a user's first key.
pub(super) const FIRST: u32 = 1;

/// The user keys at hand, and how to obtain the others.
pub struct UserKeys {
    environment: Environment,
    tenants: Arc<TenantKeys>,
    store: Arc<dyn Store>,
    random: Arc<dyn Random>,
    held: Cache<Owner, Arc<UserKey>>,
    limits: KeyLimits,
}

/// Whose key, and which.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Owner {
    pub(super) tenant: TenantId,
    pub(super) user: UserId,
    pub(super) generation: u32,
}

/// One key of one user. Wiped when the last user of it lets go.
pub(super) struct UserKey {
    key: DataKey,
    lease: Arc<Lease>,
    taken_at: Instant,
}

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

    /// A key that exists: to open what was sealed with it. `at_hand` saves a round trip where it was read already.
    pub(super) async fn existing(&self, owner: Owner, at_hand: Option<&Stored>) -> Result<Arc<UserKey>, VaultError> {
        if let Some(key) = self.held(&owner) {
            return Ok(key);
        }
        let lease = self.tenants.lease(&owner.tenant).await?;
        let stored = match at_hand {
            Some(stored) => Some(stored.clone()),
            None => self.store.get(&owner.address()).await?,
        };
        let stored = stored.ok_or(VaultError::Corrupt(CorruptRecord::KeyMissing))?;
        self.unwrap(owner, lease, &stored.value)
    }

    /// The key to seal with, made if the user has none.
    pub(super) async fn for_sealing(
        &self,
        tenant: &TenantId,
        user: &UserId,
    ) -> Result<(u32, Arc<UserKey>), VaultError> {
        let owner = Owner { tenant: tenant.clone(), user: user.clone(), generation: FIRST };
        if let Some(key) = self.held(&owner) {
            return Ok((FIRST, key));
        }
        let lease = self.tenants.lease(tenant).await?;
        if let Some(stored) = self.store.get(&owner.address()).await? {
            return Ok((FIRST, self.unwrap(owner, lease, &stored.value)?));
        }
        let mut key: DataKey = Zeroizing::new([0; 32]);
        self.random.fill(key.as_mut_slice());
        let context = Context::user_key(&self.environment, tenant, user);
        let (parent_generation, parent) = lease.active()?;
        let sealed = seal::seal(&*self.random, parent, parent_generation, u64::from(FIRST), &context, &*key);
        match self.store.put(&owner.address(), Expected::Absent, Bytes::from(sealed).into()).await {
            Ok(()) => Ok((FIRST, self.hold(owner, UserKey { key, lease, taken_at: Instant::now() }))),
            // Another call was first, and its key is the user's. Ours has sealed nothing.
            Err(StoreError::Conflict) => Ok((FIRST, self.existing(owner, None).await?)),
            Err(error) => Err(error.into()),
        }
    }

    fn held(&self, owner: &Owner) -> Option<Arc<UserKey>> {
        // Checked at every use and not only when it is put in: a limit that is looked at once is no limit.
        let key = self.held.get(owner)?;
        if !key.lease.is_good(&self.limits) {
            // What fell with this key must leave memory now, not when it is next asked for.
            self.held.retain(|held, key| held.tenant != owner.tenant || key.lease.is_good(&self.limits));
            return None;
        }
        if key.taken_at.elapsed() >= self.limits.user {
            self.held.remove(owner);
            return None;
        }
        Some(key)
    }

    fn hold(&self, owner: Owner, key: UserKey) -> Arc<UserKey> {
        let key = Arc::new(key);
        self.held.insert(owner, Arc::clone(&key));
        key
    }

    fn unwrap(&self, owner: Owner, lease: Arc<Lease>, sealed: &[u8]) -> Result<Arc<UserKey>, VaultError> {
        let parent_generation = Header::parse(sealed)?.parent_generation;
        let context = Context::user_key(&self.environment, &owner.tenant, &owner.user);
        let opened = seal::open(lease.generation(parent_generation)?, parent_generation, &context, sealed)?;
        if opened.version != u64::from(owner.generation) {
            return Err(VaultError::Corrupt(CorruptRecord::Commitment));
        }
        let bytes: [u8; 32] = opened.plaintext.as_slice().try_into().map_err(|_| CorruptRecord::Content)?;
        Ok(self.hold(owner, UserKey { key: Zeroizing::new(bytes), lease, taken_at: Instant::now() }))
    }
}

// === impl Owner ===

impl Owner {
    fn address(&self) -> Address {
        Address::UserKey { tenant: self.tenant.clone(), user: self.user.clone(), generation: self.generation }
    }
}

// === impl UserKey ===

impl UserKey {
    pub(super) fn bytes(&self) -> &[u8; 32] {
        &self.key
    }
}
