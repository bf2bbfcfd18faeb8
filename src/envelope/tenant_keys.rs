//! Tenant keys: unwrapped by the key service, held in memory for a bounded time.
//!
//! A key is renewed in the background before its soft limit, so that no caller waits for the key service. Past the soft
//! limit a caller waits for a renewal, briefly, and goes on with the key at hand if the service cannot answer. Past the
//! hard limit nothing goes on. When the service answers with a definitive no, the key and every user key under it are
//! gone at once.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use quick_cache::sync::Cache;
use tokio::time::Instant;

use super::context::Context;
use super::keyring::{Keyring, Unwrapped};
use super::seal::derive_key;
use crate::domain::error::{CorruptRecord, VaultError};
use crate::domain::id::{Environment, TenantId};
use crate::domain::ports::{
    Address, Clock, DataKey, EncryptionContext, Expected, KeyError, KeyProvider, Random, Store, StoreError, Stored,
    Tasks, WrappedDataKey,
};

/// How long keys may be held.
#[derive(Debug, Clone, Copy)]
pub struct KeyLimits {
    /// After this a tenant key is renewed before it is used, if the key service can answer.
    pub soft: Duration,
    /// After this a tenant key is not used any more.
    pub hard: Duration,
    /// After this a user key is read and unwrapped again.
    pub user: Duration,
    /// Tenants whose keys are held at once.
    pub tenants: usize,
    /// Users whose keys are held at once.
    pub users: u64,
}

/// What the keys of all tenants are obtained with, and those at hand.
pub struct TenantKeys {
    pub(super) parts: Parts,
    slots: Cache<TenantId, Arc<Slot>>,
    pub(super) limits: KeyLimits,
    tasks: Arc<dyn Tasks>,
}

pub(super) struct Parts {
    pub(super) environment: Environment,
    pub(super) store: Arc<dyn Store>,
    pub(super) provider: Arc<dyn KeyProvider>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) random: Arc<dyn Random>,
}

/// The keys of one tenant, every generation of them.
pub(super) struct Lease {
    keyring: Unwrapped,
    epoch: u64,
    slot: Arc<Slot>,
    taken_at: Instant,
    renew_at: Instant,
}

/// Where the lease of one tenant is kept and renewed.
struct Slot {
    lease: Mutex<Option<Arc<Lease>>>,
    /// Held by the one caller that talks to the key service.
    gate: tokio::sync::Mutex<()>,
    renewing: AtomicBool,
    failure: Mutex<Option<(Instant, VaultError)>>,
    /// Grows when the key service refuses: whatever was taken before is void.
    epoch: AtomicU64,
}

/// A failure answers everybody for this long, so that a dead key service is not hammered.
const FAILURE_TTL: Duration = Duration::from_secs(1);
/// How long a caller waits for a renewal while it has a usable key in hand.
const RENEWAL_PATIENCE: Duration = Duration::from_secs(1);
/// The generation of a tenant's first key.
pub(super) const FIRST: u32 = 1;
/// How old keys must be to be obtained anew for a generation that is not among them.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

// === impl KeyLimits ===

impl Default for KeyLimits {
    fn default() -> Self {
        Self {
            soft: Duration::from_secs(15 * 60),
            hard: Duration::from_secs(4 * 3_600),
            user: Duration::from_secs(15 * 60),
            tenants: 4_096,
            users: 100_000,
        }
    }
}

// === impl TenantKeys ===

impl TenantKeys {
    /// The tenant keys of one installation.
    #[must_use]
    pub fn new(
        environment: Environment,
        store: Arc<dyn Store>,
        provider: Arc<dyn KeyProvider>,
        (clock, random, tasks): (Arc<dyn Clock>, Arc<dyn Random>, Arc<dyn Tasks>),
        limits: KeyLimits,
    ) -> Self {
        let parts = Parts { environment, store, provider, clock, random };
        Self { parts, slots: Cache::new(limits.tenants), limits, tasks }
    }

    /// A key for one purpose of the installation itself, the same on every instance and in every generation.
    ///
    /// # Errors
    ///
    /// When the keys of the installation cannot be had.
    pub async fn system_key(self: &Arc<Self>, purpose: &'static str) -> Result<DataKey, VaultError> {
        let lease = self.lease(&TenantId::system()).await?;
        let oldest = lease.keyring.keys.iter().min_by_key(|(generation, _)| *generation);
        let (_, key) = oldest.ok_or(VaultError::Corrupt(CorruptRecord::KeyMissing))?;
        Ok(derive_key(key, purpose.as_bytes()))
    }

    /// The keys of a tenant, made if it has none yet.
    pub(super) async fn lease(self: &Arc<Self>, tenant: &TenantId) -> Result<Arc<Lease>, VaultError> {
        let slot = self.slot(tenant);
        let now = Instant::now();
        let Some(lease) = slot.current() else { return self.renew(tenant, &slot).await };
        let age = now.saturating_duration_since(lease.taken_at);
        if age >= self.limits.hard {
            return self.renew(tenant, &slot).await;
        }
        if age >= self.limits.soft {
            return match tokio::time::timeout(RENEWAL_PATIENCE, self.renew(tenant, &slot)).await {
                Ok(Ok(renewed)) => Ok(renewed),
                Ok(Err(refused @ VaultError::Keys(KeyError::Refused(_)))) => Err(refused),
                Ok(Err(_)) | Err(_) => Ok(lease),
            };
        }
        if now >= lease.renew_at {
            self.renew_in_background(tenant, slot);
        }
        Ok(lease)
    }

    /// The keys of a tenant, obtained anew if this generation is not among them: somebody may have just made it.
    pub(super) async fn lease_knowing(
        self: &Arc<Self>,
        tenant: &TenantId,
        generation: u32,
    ) -> Result<Arc<Lease>, VaultError> {
        let lease = self.lease(tenant).await?;
        if lease.knows(generation) || lease.taken_at.elapsed() < LOOK_AGAIN {
            return Ok(lease);
        }
        self.renew(tenant, &self.slot(tenant)).await
    }

    /// Lets go of every key that is older than it may be, so that a key nobody asks for again leaves memory, too.
    pub fn sweep(&self) {
        for (_, slot) in self.slots.iter() {
            let mut lease = lock(&slot.lease);
            if lease.as_ref().is_some_and(|lease| lease.taken_at.elapsed() >= self.limits.hard) {
                *lease = None;
            }
        }
    }

    fn slot(&self, tenant: &TenantId) -> Arc<Slot> {
        let made = self.slots.get_or_insert_with(tenant, || Ok::<_, std::convert::Infallible>(Arc::new(Slot::new())));
        match made {
            Ok(slot) => slot,
            Err(never) => match never {},
        }
    }

    fn renew_in_background(self: &Arc<Self>, tenant: &TenantId, slot: Arc<Slot>) {
        if slot.renewing.swap(true, Ordering::AcqRel) {
            return;
        }
        let (keys, tenant) = (Arc::clone(self), tenant.clone());
        self.tasks.spawn(
            "tenant key renewal",
            Box::pin(async move {
                if let Err(error) = keys.renew(&tenant, &slot).await {
                    tracing::warn!(%tenant, reason = error.reason(), "a tenant key could not be renewed");
                }
                slot.renewing.store(false, Ordering::Release);
            }),
        );
    }

    /// Asks the key service; one caller at a time does, the others take what it got.
    async fn renew(&self, tenant: &TenantId, slot: &Arc<Slot>) -> Result<Arc<Lease>, VaultError> {
        let asked_at = Instant::now();
        let _gate = slot.gate.lock().await;
        if let Some(lease) = slot.current().filter(|lease| lease.taken_at >= asked_at) {
            return Ok(lease);
        }
        if let Some(failure) = slot.recent_failure() {
            return Err(failure);
        }
        match self.parts.obtain(tenant).await {
            Ok(keyring) => {
                let taken_at = Instant::now();
                let lease = Lease {
                    keyring,
                    epoch: slot.epoch.load(Ordering::Acquire),
                    slot: Arc::clone(slot),
                    taken_at,
                    renew_at: taken_at + self.parts.spread(self.limits.soft),
                };
                let lease = Arc::new(lease);
                *lock(&slot.lease) = Some(Arc::clone(&lease));
                *lock(&slot.failure) = None;
                Ok(lease)
            }
            Err(error) => {
                if matches!(error, VaultError::Keys(KeyError::Refused(_))) {
                    slot.void();
                    tracing::error!(%tenant, reason = error.reason(), "the key service refuses a tenant's key");
                }
                *lock(&slot.failure) = Some((Instant::now(), error.clone()));
                Err(error)
            }
        }
    }
}

// === impl Parts ===

impl Parts {
    /// Reads the tenant's keyring, or makes it, and unwraps every key on it.
    async fn obtain(&self, tenant: &TenantId) -> Result<Unwrapped, VaultError> {
        let address = Address::TenantKeyring { tenant: tenant.clone() };
        if let Some(stored) = self.store.get(&address).await? {
            return self.unwrap_all(tenant, &stored).await.map(|(_, unwrapped)| unwrapped);
        }
        let (key, wrapped) = self.provider.generate_data_key(&self.context(tenant, FIRST)).await?;
        let keyring = Keyring::first(FIRST, wrapped, self.clock.now());
        let value = keyring.encode(&*self.random, &self.place(tenant), Expected::Absent.next(), &[]);
        match self.store.put(&address, Expected::Absent, Bytes::from(value).into()).await {
            Ok(()) => Ok(Unwrapped { active: FIRST, least: 0, keys: vec![(FIRST, key)] }),
            // Another instance was first, and its key is the tenant's. Ours has sealed nothing.
            Err(StoreError::Conflict) => match self.store.get(&address).await? {
                Some(stored) => self.unwrap_all(tenant, &stored).await.map(|(_, unwrapped)| unwrapped),
                None => Err(VaultError::Corrupt(CorruptRecord::KeyMissing)),
            },
            Err(error) => Err(error.into()),
        }
    }

    /// Unwraps every key of a keyring, and believes the rest of it if it is proven.
    pub(super) async fn unwrap_all(
        &self,
        tenant: &TenantId,
        stored: &Stored,
    ) -> Result<(Keyring, Unwrapped), VaultError> {
        let keyring = Keyring::decode(stored)?;
        let mut keys = Vec::with_capacity(keyring.content.keys.len());
        for wrapped in &keyring.content.keys {
            let context = self.context(tenant, wrapped.generation);
            let key = self.provider.decrypt(&context, &WrappedDataKey(wrapped.blob.clone())).await?;
            keys.push((wrapped.generation, key));
        }
        keyring.prove(&self.place(tenant), &keys)?;
        let active = keyring.active_at(self.clock.now());
        let least = keyring.content.min_generation;
        Ok((keyring, Unwrapped { active, least, keys }))
    }

    pub(super) fn place(&self, tenant: &TenantId) -> Context {
        Context::tenant_keyring(&self.environment, tenant)
    }

    pub(super) fn context(&self, tenant: &TenantId, generation: u32) -> EncryptionContext {
        EncryptionContext { environment: self.environment.clone(), tenant: tenant.clone(), generation }
    }

    /// Between 70 % and 90 % of the soft limit, so that a fleet started together does not renew together.
    fn spread(&self, soft: Duration) -> Duration {
        let mut byte = [0];
        self.random.fill(&mut byte);
        soft / 10 * 7 + soft / 5 * u32::from(byte[0]) / 256
    }
}

// === impl Lease ===

impl Lease {
    /// The key to seal new things under.
    pub(super) fn active(&self) -> Result<(u32, &[u8; 32]), VaultError> {
        Ok((self.keyring.active, self.generation(self.keyring.active)?))
    }

    /// Whether it was on the keyring.
    pub(super) fn knows(&self, wanted: u32) -> bool {
        self.keyring.keys.iter().any(|(generation, _)| *generation == wanted)
    }

    /// The key of one generation.
    pub(super) fn generation(&self, wanted: u32) -> Result<&[u8; 32], VaultError> {
        if wanted < self.keyring.least {
            return Err(VaultError::Corrupt(CorruptRecord::KeyRetired));
        }
        let found = self.keyring.keys.iter().find(|(generation, _)| *generation == wanted);
        found.map(|(_, key)| &**key).ok_or(VaultError::Corrupt(CorruptRecord::KeyMissing))
    }

    /// Whether what was unwrapped with these keys may still be used.
    pub(super) fn is_good(&self, limits: &KeyLimits) -> bool {
        self.epoch == self.slot.epoch.load(Ordering::Acquire) && self.taken_at.elapsed() < limits.hard
    }
}

// === impl Slot ===

impl Slot {
    fn new() -> Self {
        Self {
            lease: Mutex::new(None),
            gate: tokio::sync::Mutex::new(()),
            renewing: AtomicBool::new(false),
            failure: Mutex::new(None),
            epoch: AtomicU64::new(0),
        }
    }

    fn current(&self) -> Option<Arc<Lease>> {
        lock(&self.lease).clone()
    }

    fn recent_failure(&self) -> Option<VaultError> {
        lock(&self.failure).as_ref().filter(|(at, _)| at.elapsed() < FAILURE_TTL).map(|(_, error)| error.clone())
    }

    fn void(&self) {
        self.epoch.fetch_add(1, Ordering::AcqRel);
        *lock(&self.lease) = None;
    }
}

/// A poisoned lock holds plain values that are written in one step: what is in it is whole.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
