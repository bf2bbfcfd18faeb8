//! Sealed records in the memory of this instance: a read that need not be the latest costs no round trip.
//!
//! What makes a record old is told by the store. Until it has been told, a record may be as old as [`STALENESS`]; where
//! nothing is ever told, a record is held no longer than that. Only connections are held, still sealed.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use async_trait::async_trait;
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use tokio::time::Instant;

use crate::domain::id::{PlatformId, TenantId, UserId};
use crate::domain::ports::{
    Address, Expected, Index, Listener, Pushes, Record, STALENESS, Store, StoreError, Stored, UserDrawer, Version,
};

/// A store with a memory.
pub struct NearCache {
    inner: Arc<dyn Store>,
    memory: Arc<Memory>,
    pushes: Pushes,
}

struct Memory {
    users: Cache<(TenantId, UserId), Arc<Vec<Held>>, Bytes>,
    hasher: RandomState,
    /// How often something of a user changed, by a hash of the user. What was read before a change is not remembered
    /// after it.
    epochs: [Mutex<u64>; EPOCHS],
    /// Everything that was committed before this has been told; `None`: who knows.
    told_until: RwLock<Option<Instant>>,
}

/// A record that was read.
#[derive(Clone)]
struct Held {
    platform: PlatformId,
    stored: Stored,
    asked_at: Instant,
}

/// Counts the bytes of what is held.
#[derive(Clone)]
struct Bytes;

/// When a read began, as the changes of its user see it.
#[derive(Clone, Copy)]
struct Beginning {
    epoch: u64,
    asked_at: Instant,
}

const EPOCHS: usize = 256;

/// What holding one record costs beside its value.
const OVERHEAD_BYTES: usize = 200;

// === impl NearCache ===

impl NearCache {
    /// Remembers what is read from this store, up to so many bytes, and listens to what its index tells.
    #[must_use]
    pub fn over(inner: Arc<dyn Store>, index: &dyn Index, max_bytes: u64) -> Self {
        let memory = Arc::new(Memory {
            users: Cache::with_weighter(1_024, max_bytes, Bytes),
            hasher: RandomState::new(),
            epochs: std::array::from_fn(|_| Mutex::default()),
            told_until: RwLock::new(None),
        });
        let pushes = index.listen(Arc::clone(&memory) as Arc<dyn Listener>);
        Self { inner, memory, pushes }
    }

    /// Whether what was read then may still be handed out.
    fn is_recent(&self, asked_at: Instant) -> bool {
        let since = match self.pushes {
            Pushes::AtOnce => return true,
            // It was current at least until then: a change before would have been told, and it forgotten.
            Pushes::WhileConnected => self.memory.told_until().map_or(asked_at, |told| told.max(asked_at)),
            Pushes::Never => asked_at,
        };
        since.elapsed() <= STALENESS
    }

    async fn read_and_hold(&self, address: &Address) -> Result<Option<Stored>, StoreError> {
        let Address::Connection(key) = address else { return self.inner.get(address).await };
        let user = (key.tenant.clone(), key.user.clone());
        let beginning = self.memory.begin(&user.0, &user.1);
        let found = self.inner.get(address).await?;
        match &found {
            Some(stored) => self.memory.hold(&user, &key.platform, stored, beginning),
            None => self.memory.forget(&user.0, &user.1),
        }
        Ok(found)
    }
}

#[async_trait]
impl Store for NearCache {
    async fn get(&self, address: &Address) -> Result<Option<Stored>, StoreError> {
        self.read_and_hold(address).await
    }

    async fn get_recent(&self, address: &Address) -> Result<Option<Stored>, StoreError> {
        if let Address::Connection(key) = address
            && let Some(user) = self.memory.users.get(&(key.tenant.clone(), key.user.clone()))
            && let Some(held) = user.iter().find(|held| held.platform == key.platform)
            && self.is_recent(held.asked_at)
        {
            return Ok(Some(held.stored.clone()));
        }
        self.read_and_hold(address).await
    }

    async fn put(&self, address: &Address, expected: Expected, record: Record) -> Result<(), StoreError> {
        let _forgetting = Forgetting::of(&self.memory, address);
        self.inner.put(address, expected, record).await
    }

    async fn restore(&self, address: &Address, version: Version, record: Record) -> Result<(), StoreError> {
        let _forgetting = Forgetting::of(&self.memory, address);
        self.inner.restore(address, version, record).await
    }

    async fn list_user(&self, tenant: &TenantId, user: &UserId) -> Result<UserDrawer, StoreError> {
        self.inner.list_user(tenant, user).await
    }

    fn kind(&self) -> &'static str {
        self.inner.kind()
    }
}

// === impl Memory ===

impl Memory {
    fn begin(&self, tenant: &TenantId, user: &UserId) -> Beginning {
        Beginning { epoch: *self.epoch(tenant, user), asked_at: Instant::now() }
    }

    fn hold(&self, user: &(TenantId, UserId), platform: &PlatformId, stored: &Stored, beginning: Beginning) {
        let held = Held { platform: platform.clone(), stored: stored.clone(), asked_at: beginning.asked_at };
        // Held until it is inserted, so that nothing is inserted that a change has just made old.
        let epoch = self.epoch(&user.0, &user.1);
        if *epoch != beginning.epoch {
            return;
        }
        let others = self.users.get(user);
        let others = others.iter().flat_map(|held| held.iter()).filter(|held| held.platform != *platform);
        let all: Vec<Held> = others.cloned().chain([held]).collect();
        self.users.insert(user.clone(), Arc::new(all));
    }

    fn forget(&self, tenant: &TenantId, user: &UserId) {
        let mut epoch = self.epoch(tenant, user);
        *epoch += 1;
        self.users.remove(&(tenant.clone(), user.clone()));
    }

    fn epoch(&self, tenant: &TenantId, user: &UserId) -> MutexGuard<'_, u64> {
        let [first, rest @ ..] = &self.epochs;
        let index = usize::try_from(self.hasher.hash_one((tenant, user)) % EPOCHS as u64).unwrap_or(0);
        let epoch = index.checked_sub(1).and_then(|index| rest.get(index)).unwrap_or(first);
        epoch.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn told_until(&self) -> Option<Instant> {
        *self.told_until.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell_until(&self, until: Option<Instant>) {
        *self.told_until.write().unwrap_or_else(PoisonError::into_inner) = until;
    }
}

impl Listener for Memory {
    fn changed(&self, tenant: &TenantId, user: &UserId) {
        self.forget(tenant, user);
    }

    fn caught_up(&self, as_of: std::time::Instant) {
        self.tell_until(Some(as_of.into()));
    }

    fn lost(&self) {
        self.tell_until(None);
        for epoch in &self.epochs {
            *epoch.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        }
        self.users.clear();
    }
}

/// Forgets a user when it goes: after the write, however that ended, also when nobody waited for its end.
struct Forgetting<'a>(Option<(&'a Memory, &'a TenantId, &'a UserId)>);

// === impl Forgetting ===

impl<'a> Forgetting<'a> {
    fn of(memory: &'a Memory, address: &'a Address) -> Self {
        match address {
            Address::Connection(key) => Self(Some((memory, &key.tenant, &key.user))),
            Address::UserKey { .. }
            | Address::TenantKeyring { .. }
            | Address::Document { .. }
            | Address::Lease { .. }
            | Address::Epoch => Self(None),
        }
    }
}

impl Drop for Forgetting<'_> {
    fn drop(&mut self) {
        if let Some((memory, tenant, user)) = self.0 {
            memory.forget(tenant, user);
        }
    }
}

// === impl Bytes ===

impl Weighter<(TenantId, UserId), Arc<Vec<Held>>> for Bytes {
    fn weight(&self, (tenant, user): &(TenantId, UserId), held: &Arc<Vec<Held>>) -> u64 {
        let values: usize = held.iter().map(|held| held.stored.value.len() + OVERHEAD_BYTES).sum();
        (values + tenant.as_str().len() + user.as_str().len() + OVERHEAD_BYTES) as u64
    }
}

#[cfg(test)]
mod tests;
