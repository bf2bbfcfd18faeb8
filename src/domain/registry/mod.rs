//! Who may call, as it is stored: tenants, engines and their keys. Every change is a transition here, which may refuse;
//! reading, writing and sealing it is somebody else's business.
//!
//! There is one document per tenant. Engines of a tenant act for that tenant alone. The document of the system tenant
//! holds the engines of the installation, which act for the tenants they name or for all, and the tenants themselves:
//! each with the version its own document has, so that one look tells which documents have changed.

mod key;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

pub use self::key::{KeyRecord, KeyState, NewKey};
use super::id::{EngineId, TenantId};
use super::limits::Limits;
use super::policy::{Named, Policy};
use super::spiffe::SpiffeId;
use super::time::Timestamp;

/// Everything that is stored of one tenant's registry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Document {
    /// How many engines were ever made here: no two are taken for one another.
    pub incarnations: u64,
    /// The engines.
    pub engines: BTreeMap<EngineId, EngineRecord>,
    /// The tenants of the installation: in the document of the system tenant only.
    pub tenants: BTreeMap<TenantId, TenantRecord>,
}

/// A tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TenantRecord {
    /// Its name for people.
    pub display_name: String,
    /// Since when there is one.
    pub created_at: Timestamp,
    /// Since when it is switched off.
    pub disabled_at: Option<Timestamp>,
    /// How often it was changed.
    pub revision: u64,
    /// The version its own document has at least; 0: it has none.
    pub document: u64,
}

/// An engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineRecord {
    /// Which engine of this id this is.
    pub incarnation: u64,
    /// Its name for people.
    pub display_name: String,
    /// Since when there is one.
    pub created_at: Timestamp,
    /// Whether it is switched off.
    pub disabled: bool,
    /// What it may do.
    pub policy: Arc<Policy>,
    /// How much of it.
    pub limits: Limits,
    /// The workload identities it is bound to; none: it is bound to none.
    pub spiffe_ids: BTreeSet<SpiffeId>,
    /// Its keys, the latest last.
    pub keys: Vec<KeyRecord>,
    /// How often it was changed.
    pub revision: u64,
}

/// When the keys of a tenant's engines were used last, by their public ids; give or take a minute.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyUsage(pub BTreeMap<String, Timestamp>);

/// Which engine, among all there are and were: ids are unique within one registry only.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Principal {
    /// In whose registry it is; `None`: it is in the configuration.
    pub home: Option<TenantId>,
    /// Its id.
    pub engine: EngineId,
    /// Which engine of this id.
    pub incarnation: u64,
}

/// What an engine is to be.
#[derive(Clone, Debug)]
pub struct NewEngine {
    /// Its name for people.
    pub display_name: String,
    /// What it may do.
    pub policy: Policy,
    /// How much of it.
    pub limits: Limits,
    /// Whether it begins switched off.
    pub disabled: bool,
}

/// What is to be different about an engine; `None`: nothing.
#[derive(Clone, Debug, Default)]
pub struct EngineChange {
    /// Its name for people.
    pub display_name: Option<String>,
    /// What it may do.
    pub policy: Option<Policy>,
    /// How much of it.
    pub limits: Option<Limits>,
    /// Whether it is switched off.
    pub disabled: Option<bool>,
}

/// What is to be different about a tenant; `None`: nothing.
#[derive(Clone, Debug, Default)]
pub struct TenantChange {
    /// Its name for people.
    pub display_name: Option<String>,
    /// Whether it is switched off.
    pub disabled: Option<bool>,
}

/// Why a registry was not changed, or does not have what was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RegistryError {
    /// There is no such thing.
    #[error("there is no such {0}")]
    NotFound(&'static str),
    /// There is one already.
    #[error("that {0} exists already")]
    AlreadyExists(&'static str),
    /// It was changed since the caller has seen it.
    #[error("it was changed since: read it again, and decide again")]
    Changed,
    /// Two keys are the most that may be valid at a time.
    #[error("two keys are valid already, which are the most: revoke one, or wait until one ends")]
    TooManyKeys,
    /// A key that does not open anything any more is not replaced.
    #[error("this key is expired or revoked: make a new one")]
    KeyEnded,
    /// An engine of a tenant acts for nobody else.
    #[error("an engine of a tenant acts for that tenant alone")]
    ForeignTenants,
    /// Somebody would give, or take over, administration they do not have.
    #[error("nobody gives administration they do not have")]
    BeyondOwn,
    /// There are as many as there may be.
    #[error("the registry of this tenant is full")]
    Full,
    /// This installation keeps no registry.
    #[error("this installation takes its engines from its configuration alone (`registry.enabled`)")]
    Off,
}

/// The most engines of one tenant.
pub const MAX_ENGINES: usize = 1_024;
/// The most tenants of an installation that have a record.
pub const MAX_TENANTS: usize = 1_024;
/// The most keys of one engine that may be valid at a time: one, and its successor.
pub const MAX_ACTIVE_KEYS: usize = 2;
/// Keys that ended are kept so that one can see that they did; the oldest go first.
const MAX_KEYS: usize = 16;

// === impl Document ===

impl Document {
    /// One engine.
    ///
    /// # Errors
    ///
    /// [`RegistryError::NotFound`].
    pub fn engine(&self, id: &EngineId) -> Result<&EngineRecord, RegistryError> {
        self.engines.get(id).ok_or(RegistryError::NotFound("engine"))
    }

    /// Makes an engine, which has no keys yet.
    ///
    /// # Errors
    ///
    /// When there is one of this id, there are too many, or it would act for others than its tenant.
    pub fn create_engine(
        &mut self,
        home: &TenantId,
        id: &EngineId,
        new: NewEngine,
        now: Timestamp,
    ) -> Result<EngineRecord, RegistryError> {
        if self.engines.contains_key(id) {
            return Err(RegistryError::AlreadyExists("engine"));
        }
        if self.engines.len() >= MAX_ENGINES {
            return Err(RegistryError::Full);
        }
        stays_at_home(home, &new.policy)?;
        self.incarnations += 1;
        let engine = EngineRecord {
            incarnation: self.incarnations,
            display_name: new.display_name,
            created_at: now,
            disabled: new.disabled,
            policy: Arc::new(new.policy),
            limits: new.limits,
            spiffe_ids: BTreeSet::new(),
            keys: Vec::new(),
            revision: 1,
        };
        self.engines.insert(id.clone(), engine.clone());
        Ok(engine)
    }

    /// Changes an engine, if it is still what the caller has seen.
    ///
    /// # Errors
    ///
    /// When it is not there, was changed, or would act for others than its tenant.
    pub fn update_engine(
        &mut self,
        home: &TenantId,
        id: &EngineId,
        etag: Option<&str>,
        change: &EngineChange,
    ) -> Result<EngineRecord, RegistryError> {
        let engine = self.engine_mut(id, etag)?;
        let EngineChange { display_name, policy, limits, disabled } = change.clone();
        if let Some(policy) = policy {
            stays_at_home(home, &policy)?;
            engine.policy = Arc::new(policy);
        }
        engine.display_name = display_name.unwrap_or_else(|| engine.display_name.clone());
        engine.limits = limits.unwrap_or(engine.limits);
        engine.disabled = disabled.unwrap_or(engine.disabled);
        engine.revision += 1;
        Ok(engine.clone())
    }

    /// Removes an engine, with its keys. Another of the same id is another engine.
    ///
    /// # Errors
    ///
    /// When it is not there or was changed.
    pub fn delete_engine(&mut self, id: &EngineId, etag: Option<&str>) -> Result<(), RegistryError> {
        self.engine_mut(id, etag)?;
        self.engines.remove(id);
        Ok(())
    }

    /// Gives an engine one more key.
    ///
    /// # Errors
    ///
    /// When it is not there, or has two valid keys.
    pub fn create_key(&mut self, id: &EngineId, new: &NewKey, now: Timestamp) -> Result<KeyRecord, RegistryError> {
        self.engine_mut(id, None)?.add_key(new, now)
    }

    /// Gives an engine a key in the place of one of its keys, which stays valid for a while: so long at most.
    ///
    /// # Errors
    ///
    /// When engine or key are not there, the key is not valid any more, or has a successor already.
    pub fn rotate_key(
        &mut self,
        id: &EngineId,
        key: &str,
        new: &NewKey,
        (now, overlap): (Timestamp, Duration),
    ) -> Result<(KeyRecord, KeyRecord), RegistryError> {
        let engine = self.engine_mut(id, None)?;
        let old = engine.key_mut(key)?;
        if old.state(now) != KeyState::Active {
            return Err(RegistryError::KeyEnded);
        }
        let added = engine.add_key(new, now)?;
        let old = engine.key_mut(key)?;
        old.expires_at = old.expires_at.min(now + overlap);
        old.replaced_by = Some(added.id.clone());
        Ok((added, old.clone()))
    }

    /// Ends a key at once. One that was revoked stays as it is.
    ///
    /// # Errors
    ///
    /// When engine or key are not there.
    pub fn revoke_key(&mut self, id: &EngineId, key: &str, now: Timestamp) -> Result<KeyRecord, RegistryError> {
        let engine = self.engine_mut(id, None)?;
        let key = engine.key_mut(key)?;
        key.revoked_at = key.revoked_at.or(Some(now));
        let key = key.clone();
        engine.revision += 1;
        Ok(key)
    }

    /// Makes a tenant.
    ///
    /// # Errors
    ///
    /// When there is one of this id, or there are too many.
    pub fn create_tenant(
        &mut self,
        id: &TenantId,
        display_name: String,
        now: Timestamp,
    ) -> Result<TenantRecord, RegistryError> {
        if self.tenants.contains_key(id) {
            return Err(RegistryError::AlreadyExists("tenant"));
        }
        if self.tenants.len() >= MAX_TENANTS {
            return Err(RegistryError::Full);
        }
        let tenant = TenantRecord { display_name, created_at: now, disabled_at: None, revision: 1, document: 0 };
        self.tenants.insert(id.clone(), tenant.clone());
        Ok(tenant)
    }

    /// Changes a tenant, if it is still what the caller has seen.
    ///
    /// # Errors
    ///
    /// When it is not there or was changed.
    pub fn update_tenant(
        &mut self,
        id: &TenantId,
        etag: Option<&str>,
        change: &TenantChange,
        now: Timestamp,
    ) -> Result<TenantRecord, RegistryError> {
        let tenant = self.tenants.get_mut(id).ok_or(RegistryError::NotFound("tenant"))?;
        if etag.is_some_and(|etag| etag != tenant.etag()) {
            return Err(RegistryError::Changed);
        }
        if let Some(name) = &change.display_name {
            tenant.display_name.clone_from(name);
        }
        match change.disabled {
            Some(true) => tenant.disabled_at = tenant.disabled_at.or(Some(now)),
            Some(false) => tenant.disabled_at = None,
            None => {}
        }
        tenant.revision += 1;
        Ok(tenant.clone())
    }

    fn engine_mut(&mut self, id: &EngineId, etag: Option<&str>) -> Result<&mut EngineRecord, RegistryError> {
        let engine = self.engines.get_mut(id).ok_or(RegistryError::NotFound("engine"))?;
        if etag.is_some_and(|etag| etag != engine.etag()) {
            return Err(RegistryError::Changed);
        }
        Ok(engine)
    }
}

fn stays_at_home(home: &TenantId, policy: &Policy) -> Result<(), RegistryError> {
    let alone = Named::Only(BTreeSet::from([home.clone()]));
    if *home == TenantId::system() || *policy.tenants() == alone { Ok(()) } else { Err(RegistryError::ForeignTenants) }
}

// === impl RegistryError ===

impl RegistryError {
    /// The word for it in audit lines and metrics.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::NotFound(_) => "not_found",
            Self::AlreadyExists(_) => "already_exists",
            Self::Changed => "etag_mismatch",
            Self::TooManyKeys => "too_many_keys",
            Self::KeyEnded => "key_ended",
            Self::ForeignTenants => "foreign_tenants",
            Self::BeyondOwn => "beyond_own_rights",
            Self::Full => "registry_full",
            Self::Off => "registry_off",
        }
    }
}

// === impl Principal ===

impl fmt::Display for Principal {
    /// `<tenant>/<engine>`; an engine of the configuration has no tenant.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(home) = &self.home {
            write!(f, "{home}/")?;
        }
        write!(f, "{}", self.engine)
    }
}

// === impl TenantRecord ===

impl TenantRecord {
    /// What changes with every change.
    #[must_use]
    pub fn etag(&self) -> String {
        format!("{}-{}", self.created_at.unix_millis(), self.revision)
    }
}

// === impl EngineRecord ===

impl EngineRecord {
    /// What changes with every change.
    #[must_use]
    pub fn etag(&self) -> String {
        format!("{}-{}", self.incarnation, self.revision)
    }

    /// One of its keys.
    ///
    /// # Errors
    ///
    /// [`RegistryError::NotFound`].
    pub fn key(&self, id: &str) -> Result<&KeyRecord, RegistryError> {
        self.keys.iter().find(|key| key.id == id).ok_or(RegistryError::NotFound("key"))
    }

    fn key_mut(&mut self, id: &str) -> Result<&mut KeyRecord, RegistryError> {
        self.keys.iter_mut().find(|key| key.id == id).ok_or(RegistryError::NotFound("key"))
    }

    fn add_key(&mut self, new: &NewKey, now: Timestamp) -> Result<KeyRecord, RegistryError> {
        let active = self.keys.iter().filter(|key| key.state(now) == KeyState::Active).count();
        if active >= MAX_ACTIVE_KEYS {
            return Err(RegistryError::TooManyKeys);
        }
        if self.keys.len() >= MAX_KEYS
            && let Some(oldest) = self.keys.iter().position(|key| key.state(now) != KeyState::Active)
        {
            self.keys.remove(oldest);
        }
        let key = new.made_at(now);
        self.keys.push(key.clone());
        self.revision += 1;
        Ok(key)
    }
}

#[cfg(test)]
mod tests;
