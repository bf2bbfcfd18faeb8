//! The life of a tenant's keys: a new generation is made, seals from a moment on at which every instance has it, takes over
//! what was sealed under the generations before, and these are retired and in the end destroyed.
//!
//! All of it is written into the keyring, so that it can be stopped anywhere and gone on with by anybody.

use bytes::Bytes;

use super::keyring::{Keyring, MAX_GENERATIONS};
use super::tenant_keys::TenantKeys;
use crate::domain::error::VaultError;
use crate::domain::id::TenantId;
use crate::domain::ports::{Address, DataKey, Expected, StoreError, WrappedDataKey};
use crate::domain::time::Timestamp;
use crate::pb::store_v1 as pb;

/// A tenant's keyring, as an operator sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyringView {
    /// Its keys, the oldest first.
    pub keys: Vec<KeyView>,
    /// What was sealed under an earlier generation does not open. 0: no bound.
    pub min_generation: u32,
    /// How far user keys have been sealed under the newest generation, while that is going on.
    pub rewrap: Option<RewrapView>,
}

/// One generation of a tenant's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyView {
    /// Its number.
    pub generation: u32,
    /// When it was made.
    pub created_at: Timestamp,
    /// What it does.
    pub state: KeyState,
}

/// What a key does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyState {
    /// It opens what others may have sealed already, and seals from this time on.
    Pending(Timestamp),
    /// It seals.
    Active,
    /// It opens.
    DecryptOnly,
    /// It opens nothing any more; it can be brought back.
    Retired,
    /// It opens nothing any more, and may be destroyed from this time on.
    Condemned(Timestamp),
}

/// How far the user keys of a tenant have been sealed under another generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RewrapView {
    /// Which generation.
    pub to: u32,
    /// Since when.
    pub started_at: Timestamp,
    /// Which walk through all users it is, from 1.
    pub scan: u32,
    /// Of this walk: users seen.
    pub seen: u64,
    /// Of this walk: keys sealed anew.
    pub rewrapped: u64,
    /// Of this walk: keys that do not open.
    pub failed: u64,
    /// Of all walks: keys sealed anew.
    pub rewrapped_in_all: u64,
    /// How many users the last whole walk saw.
    pub users: Option<u64>,
    /// Whether somebody asked for a pause.
    pub paused: bool,
}

/// A walk through the users of a tenant that somebody has taken on.
#[derive(Debug, Clone)]
pub struct Walk {
    /// What is going on.
    pub view: RewrapView,
    /// Where to go on; `None`: at the beginning.
    pub cursor: Option<Vec<u8>>,
}

/// What a part of a walk has come to.
#[derive(Debug, Clone, Copy, Default)]
pub struct Steps {
    /// Users seen.
    pub seen: u64,
    /// Keys sealed anew.
    pub rewrapped: u64,
    /// Keys that do not open.
    pub failed: u64,
}

/// What comes after a part of a walk.
#[derive(Debug, Clone)]
pub enum Next {
    /// The walk goes on.
    Walk(Walk),
    /// It is over, and nothing is left under an earlier generation: those are retired.
    Done,
    /// It is over, and nothing was left; an instance may still seal under an earlier generation until this time, so that
    /// another walk after it has to tell.
    Settles(Timestamp),
    /// It is over, and these keys did not open: nothing is retired.
    Failed(u64),
}

/// Why the life of a key did not go on.
#[derive(Debug, thiserror::Error)]
pub enum KeyLifeError {
    /// The tenant has no keys.
    #[error("tenant `{0}` has no keys: nothing was ever stored for it")]
    NoKeys(TenantId),
    /// The keys of the installation itself.
    #[error(
        "the keys of the installation itself have one generation: what is derived from them cannot be sealed anew; `kms reencrypt` moves them to another key of the key service"
    )]
    System,
    /// A new generation is on its way already.
    #[error("generation {0} was made before and does not seal yet: it will from {1} (Unix seconds) on")]
    UnderWay(u32, Timestamp),
    /// There is no room for another.
    #[error("the keyring is full: destroy generations that are retired first")]
    Full,
    /// There is only one generation.
    #[error("there is nothing to seal anew: generation {0} is the only one, or the others are retired")]
    NothingToDo(u32),
    /// Somebody asked for a pause.
    #[error("it is paused: `kms resume` goes on")]
    Paused,
    /// Somebody else is at it.
    #[error("another process is at it, or was until a moment ago: try again in {0} s")]
    Busy(i64),
    /// The generation cannot be condemned or destroyed.
    #[error("generation {0} {1}")]
    NotRetired(u32, &'static str),
    /// Too early.
    #[error("generation {0} may be destroyed from {1} (Unix seconds) on")]
    TooEarly(u32, Timestamp),
    /// Store or keys are not at hand.
    #[error(transparent)]
    Vault(#[from] VaultError),
}

/// How long whoever walks may be silent.
const WORKER_LEASE_SECONDS: i64 = 20;
/// How often a keyring that somebody else changes is read again.
const ATTEMPTS: u32 = 16;
/// Clocks of instances may differ by so much.
const CLOCKS_SECONDS: i64 = 5 * 60;

// === impl TenantKeys ===

impl TenantKeys {
    /// What is on the keyring of a tenant, if it has one.
    ///
    /// # Errors
    ///
    /// When store or keys are not at hand.
    pub async fn keyring(&self, tenant: &TenantId) -> Result<Option<KeyringView>, VaultError> {
        let Some(stored) = self.parts.store.get(&address(tenant)).await? else { return Ok(None) };
        let (keyring, _) = self.parts.unwrap_all(tenant, &stored).await?;
        Ok(Some(view(&keyring, self.parts.clock.now())))
    }

    /// Makes a new generation that seals from this time on. Until then every instance has it, and opens with it.
    ///
    /// # Errors
    ///
    /// As [`KeyLifeError`] says.
    pub async fn rotate(&self, tenant: &TenantId, active_from: Timestamp) -> Result<u32, KeyLifeError> {
        if *tenant == TenantId::system() {
            return Err(KeyLifeError::System);
        }
        let now = self.parts.clock.now();
        for _ in 0..ATTEMPTS {
            let (version, mut keyring, mut keys) = self.open(tenant).await?;
            let newest = keyring.newest();
            if newest.active_from > now.unix_seconds() {
                let from = Timestamp::from_unix_seconds(newest.active_from);
                return Err(KeyLifeError::UnderWay(newest.generation, from));
            }
            if keyring.content.keys.len() >= MAX_GENERATIONS {
                return Err(KeyLifeError::Full);
            }
            let generation = newest.generation.checked_add(1).ok_or(KeyLifeError::Full)?;
            let context = self.parts.context(tenant, generation);
            let made = self.parts.provider.generate_data_key(&context).await;
            let (key, wrapped) = made.map_err(VaultError::Keys)?;
            keyring.content.active = keyring.active_at(now);
            keyring.content.keys.push(pb::WrappedKey {
                generation,
                blob: wrapped.0,
                created_at: now.unix_seconds(),
                active_from: active_from.unix_seconds(),
                destroy_after: None,
            });
            // What was going on towards the generation before goes on towards this one.
            keyring.content.rewrap = None;
            keys.push((generation, key));
            if self.write(tenant, version, &keyring, &keys).await? {
                return Ok(generation);
            }
        }
        Err(VaultError::WriteContended.into())
    }

    /// Takes on the walk in which every user key is sealed under the newest generation, or goes on with it.
    ///
    /// # Errors
    ///
    /// As [`KeyLifeError`] says.
    pub async fn take_on(&self, tenant: &TenantId, worker: u64) -> Result<Walk, KeyLifeError> {
        let now = self.parts.clock.now().unix_seconds();
        self.edit(tenant, |keyring| {
            let newest = keyring.newest();
            let to = newest.generation;
            if newest.active_from > now {
                return Err(KeyLifeError::UnderWay(to, Timestamp::from_unix_seconds(newest.active_from)));
            }
            if keyring.content.min_generation >= to || to == keyring.oldest() {
                return Err(KeyLifeError::NothingToDo(to));
            }
            let rewrap = keyring.content.rewrap.get_or_insert_with(|| pb::Rewrap {
                to,
                started_at: now,
                scan: 1,
                scan_started_at: now,
                ..pb::Rewrap::default()
            });
            if rewrap.paused {
                return Err(KeyLifeError::Paused);
            }
            if rewrap.worker != worker && rewrap.worker_until > now {
                return Err(KeyLifeError::Busy(rewrap.worker_until - now));
            }
            (rewrap.worker, rewrap.worker_until) = (worker, now + WORKER_LEASE_SECONDS);
            if rewrap.cursor.is_empty() {
                rewrap.scan_started_at = now;
            }
            Ok(walk(rewrap))
        })
        .await
    }

    /// Writes down how far a walk has come, and goes on with it unless somebody asked for a pause. Without a cursor it has
    /// come to its end.
    ///
    /// # Errors
    ///
    /// As [`KeyLifeError`] says.
    pub async fn come_by(
        &self,
        tenant: &TenantId,
        worker: u64,
        steps: Steps,
        cursor: Option<&[u8]>,
    ) -> Result<Next, KeyLifeError> {
        let now = self.parts.clock.now().unix_seconds();
        let hard = i64::try_from(self.limits.hard.as_secs()).unwrap_or(i64::MAX);
        self.edit(tenant, |keyring| {
            let pb::WrappedKey { generation: to, active_from, created_at, .. } = keyring.newest();
            let Some(rewrap) = keyring.content.rewrap.as_mut().filter(|it| it.worker == worker && it.to == to) else {
                return Err(KeyLifeError::Busy(WORKER_LEASE_SECONDS));
            };
            rewrap.seen += steps.seen;
            rewrap.rewrapped += steps.rewrapped;
            rewrap.rewrapped_in_all += steps.rewrapped;
            rewrap.failed += steps.failed;
            rewrap.worker_until = now + WORKER_LEASE_SECONDS;
            if let Some(cursor) = cursor {
                rewrap.cursor = cursor.to_vec();
                return if rewrap.paused { Err(KeyLifeError::Paused) } else { Ok(Next::Walk(walk(rewrap))) };
            }
            let (clean, failed, began) = (rewrap.rewrapped == 0, rewrap.failed, rewrap.scan_started_at);
            let again = rewrap.scan > 1 && clean;
            *rewrap = pb::Rewrap {
                scan: rewrap.scan + 1,
                scan_started_at: now,
                users: rewrap.seen,
                cursor: Vec::new(),
                seen: 0,
                rewrapped: 0,
                failed: 0,
                ..std::mem::take(rewrap)
            };
            // Whoever holds an earlier keyring may seal under it for as long as it may be held.
            let settled = active_from.max(created_at).saturating_add(hard).saturating_add(CLOCKS_SECONDS);
            if !again {
                return Ok(Next::Walk(walk(rewrap)));
            }
            rewrap.worker_until = 0;
            if failed > 0 {
                return Ok(Next::Failed(failed));
            }
            if began < settled {
                return Ok(Next::Settles(Timestamp::from_unix_seconds(settled)));
            }
            keyring.content.rewrap = None;
            keyring.content.active = to;
            keyring.content.min_generation = to;
            Ok(Next::Done)
        })
        .await
    }

    /// Asks whoever walks for a pause, or takes that back.
    ///
    /// # Errors
    ///
    /// As [`KeyLifeError`] says.
    pub async fn pause(&self, tenant: &TenantId, paused: bool) -> Result<RewrapView, KeyLifeError> {
        self.edit(tenant, |keyring| {
            let newest = keyring.newest().generation;
            let rewrap = keyring.content.rewrap.as_mut().ok_or(KeyLifeError::NothingToDo(newest))?;
            rewrap.paused = paused;
            Ok(rewrap_view(rewrap))
        })
        .await
    }

    /// Condemns a retired generation: from this time on it may be destroyed.
    ///
    /// # Errors
    ///
    /// As [`KeyLifeError`] says.
    pub async fn condemn(&self, tenant: &TenantId, generation: u32, from: Timestamp) -> Result<(), KeyLifeError> {
        self.edit(tenant, |keyring| {
            let min = keyring.content.min_generation;
            let key = keyring.content.keys.iter_mut().find(|key| key.generation == generation);
            let key = key.ok_or(KeyLifeError::NotRetired(generation, "is not on the keyring"))?;
            if generation >= min {
                return Err(KeyLifeError::NotRetired(generation, "is in use: rotate, and `kms rewrap` to the end"));
            }
            key.destroy_after.get_or_insert(from.unix_seconds());
            Ok(())
        })
        .await
    }

    /// Destroys a condemned generation: whatever is left under it anywhere is lost for ever.
    ///
    /// # Errors
    ///
    /// As [`KeyLifeError`] says.
    pub async fn destroy(&self, tenant: &TenantId, generation: u32) -> Result<(), KeyLifeError> {
        let now = self.parts.clock.now().unix_seconds();
        self.edit(tenant, |keyring| {
            let key = keyring.content.keys.iter().find(|key| key.generation == generation);
            let key = key.ok_or(KeyLifeError::NotRetired(generation, "is not on the keyring"))?;
            match key.destroy_after {
                None => Err(KeyLifeError::NotRetired(generation, "was not condemned: `kms destroy` takes two steps")),
                Some(from) if from > now => Err(KeyLifeError::TooEarly(generation, Timestamp::from_unix_seconds(from))),
                Some(_) => {
                    keyring.content.keys.retain(|key| key.generation != generation);
                    Ok(())
                }
            }
        })
        .await
    }

    /// Has every key of a tenant wrapped anew by the key service, under the key it is configured with now. How many.
    ///
    /// # Errors
    ///
    /// When store or key service are not at hand.
    pub async fn reencrypt(&self, tenant: &TenantId) -> Result<usize, KeyLifeError> {
        for _ in 0..ATTEMPTS {
            let (version, mut keyring, keys) = self.open(tenant).await?;
            for key in &mut keyring.content.keys {
                let context = self.parts.context(tenant, key.generation);
                let wrapped =
                    self.parts.provider.reencrypt(&context, &WrappedDataKey(std::mem::take(&mut key.blob))).await;
                key.blob = wrapped.map_err(VaultError::Keys)?.0;
            }
            if self.write(tenant, version, &keyring, &keys).await? {
                return Ok(keys.len());
            }
        }
        Err(VaultError::WriteContended.into())
    }

    async fn edit<T>(
        &self,
        tenant: &TenantId,
        change: impl Fn(&mut Keyring) -> Result<T, KeyLifeError> + Send,
    ) -> Result<T, KeyLifeError>
    where
        T: Send,
    {
        for _ in 0..ATTEMPTS {
            let (version, mut keyring, keys) = self.open(tenant).await?;
            let changed = change(&mut keyring);
            // A pause is told to whoever walks, and how far they came is written down all the same.
            let keep = matches!(changed, Ok(_) | Err(KeyLifeError::Paused));
            if !keep || self.write(tenant, version, &keyring, &keys).await? {
                return changed;
            }
        }
        Err(VaultError::WriteContended.into())
    }

    async fn open(&self, tenant: &TenantId) -> Result<(Expected, Keyring, Vec<(u32, DataKey)>), KeyLifeError> {
        let stored = self.parts.store.get(&address(tenant)).await.map_err(VaultError::from)?;
        let stored = stored.ok_or_else(|| KeyLifeError::NoKeys(tenant.clone()))?;
        let (keyring, unwrapped) = self.parts.unwrap_all(tenant, &stored).await?;
        Ok((Expected::Version(stored.version), keyring, unwrapped.keys))
    }

    async fn write(
        &self,
        tenant: &TenantId,
        expected: Expected,
        keyring: &Keyring,
        keys: &[(u32, DataKey)],
    ) -> Result<bool, VaultError> {
        let value = keyring.encode(&*self.parts.random, &self.parts.place(tenant), expected.next(), keys);
        match self.parts.store.put(&address(tenant), expected, Bytes::from(value).into()).await {
            Ok(()) => Ok(true),
            Err(StoreError::Conflict) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

fn address(tenant: &TenantId) -> Address {
    Address::TenantKeyring { tenant: tenant.clone() }
}

fn walk(rewrap: &pb::Rewrap) -> Walk {
    let cursor = (!rewrap.cursor.is_empty()).then(|| rewrap.cursor.clone());
    Walk { view: rewrap_view(rewrap), cursor }
}

fn view(keyring: &Keyring, now: Timestamp) -> KeyringView {
    let (active, min) = (keyring.active_at(now), keyring.content.min_generation);
    let state = |key: &pb::WrappedKey| match key.destroy_after {
        Some(from) => KeyState::Condemned(Timestamp::from_unix_seconds(from)),
        None if key.generation == active => KeyState::Active,
        None if key.generation < min => KeyState::Retired,
        None if key.generation > active => KeyState::Pending(Timestamp::from_unix_seconds(key.active_from)),
        None => KeyState::DecryptOnly,
    };
    let key = |key: &pb::WrappedKey| KeyView {
        generation: key.generation,
        created_at: Timestamp::from_unix_seconds(key.created_at),
        state: state(key),
    };
    KeyringView {
        keys: keyring.content.keys.iter().map(key).collect(),
        min_generation: min,
        rewrap: keyring.content.rewrap.as_ref().map(rewrap_view),
    }
}

fn rewrap_view(rewrap: &pb::Rewrap) -> RewrapView {
    RewrapView {
        to: rewrap.to,
        started_at: Timestamp::from_unix_seconds(rewrap.started_at),
        scan: rewrap.scan,
        seen: rewrap.seen,
        rewrapped: rewrap.rewrapped,
        failed: rewrap.failed,
        rewrapped_in_all: rewrap.rewrapped_in_all,
        users: (rewrap.scan > 1).then_some(rewrap.users),
        paused: rewrap.paused,
    }
}
