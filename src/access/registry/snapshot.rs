//! One state of everything that is known about engines, found by the public ids of their keys.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use super::NotVerified;
use crate::access::engine::{Engine, HeldKey, Known};
use crate::access::engine_key::KeyVerifier;
use crate::access::meter::Meter;
use crate::domain::id::{EngineId, TenantId};
use crate::domain::registry::{Document, EngineRecord, Principal};
use crate::domain::time::Timestamp;

/// One state of everything.
#[derive(Default)]
pub(super) struct Snapshot {
    keys: HashMap<Box<str>, Found>,
    engines: HashSet<EngineId>,
    /// Whether each tenant that has a record is enabled.
    tenants: HashMap<TenantId, bool>,
    meters: HashMap<Principal, Arc<Meter>>,
}

/// A key, and whose it is.
pub(super) struct Found {
    pub(super) known: Known,
    pub(super) key: HeldKey,
    pub(super) used: Arc<LastUse>,
}

/// When a key was used last: noted with every call, so it is one number.
#[derive(Debug, Default)]
pub(super) struct LastUse {
    seconds: AtomicI64,
    told: AtomicI64,
}

// === impl Snapshot ===

impl Snapshot {
    /// Of the engines of the configuration and the registries of tenants. What was counted before goes on being counted.
    pub(super) fn of(configured: &[Known], documents: &[(TenantId, Arc<Document>)], before: Option<&Self>) -> Self {
        let mut snapshot = Self::default();
        for (home, document) in documents {
            let tenants = document.tenants.iter();
            snapshot.tenants.extend(tenants.map(|(id, record)| (id.clone(), record.disabled_at.is_none())));
            for (id, record) in &document.engines {
                let engine = engine(home, id, record);
                let principal = engine.principal();
                let meter = before.and_then(|before| before.meters.get(&principal)).cloned().unwrap_or_default();
                snapshot.meters.insert(principal, Arc::clone(&meter));
                snapshot.add(&Known { engine: Arc::new(engine), meter }, before);
            }
        }
        // Last: no registry takes a key from the configuration.
        for known in configured {
            snapshot.add(known, before);
        }
        snapshot
    }

    pub(super) fn key(&self, id: &str) -> Option<&Found> {
        self.keys.get(id)
    }

    pub(super) fn has_engine(&self, id: &EngineId) -> bool {
        self.engines.contains(id)
    }

    /// Whether a tenant is enabled; `None`: it has no record.
    pub(super) fn tenant_is_open(&self, tenant: &TenantId) -> Option<bool> {
        self.tenants.get(tenant).copied()
    }

    /// Whether a key that was recognised opens anything now.
    pub(super) fn is_open(&self, found: &Found, now: Timestamp) -> Result<(), NotVerified> {
        let Found { known: Known { engine, .. }, key, .. } = found;
        if key.revoked {
            return Err(NotVerified::RevokedKey);
        }
        if key.expires_at.is_some_and(|end| now >= end) {
            return Err(NotVerified::ExpiredKey);
        }
        if engine.disabled {
            return Err(NotVerified::EngineDisabled);
        }
        match engine.home.as_ref().map(|home| self.tenant_is_open(home)) {
            Some(Some(false)) => Err(NotVerified::TenantDisabled),
            Some(Some(true) | None) | None => Ok(()),
        }
    }

    /// The keys that were used since this was asked last, by the tenant in whose registry they are.
    pub(super) fn newly_used(&self) -> BTreeMap<TenantId, BTreeMap<String, Timestamp>> {
        let mut used: BTreeMap<TenantId, BTreeMap<String, Timestamp>> = BTreeMap::new();
        for (id, found) in &self.keys {
            if let Some(home) = &found.known.engine.home
                && let Some(at) = found.used.news()
            {
                used.entry(home.clone()).or_default().insert(id.to_string(), at);
            }
        }
        used
    }

    fn add(&mut self, known: &Known, before: Option<&Self>) {
        self.engines.insert(known.engine.id.clone());
        for key in &known.engine.keys {
            let id = key.verifier.key_id.as_str();
            let used = before.and_then(|before| before.key(id)).map(|found| Arc::clone(&found.used));
            let found = Found { known: known.clone(), key: key.clone(), used: used.unwrap_or_default() };
            self.keys.insert(id.into(), found);
        }
    }
}

// === impl LastUse ===

impl LastUse {
    pub(super) fn note(&self, now: Timestamp) {
        let now = now.unix_seconds();
        // Most calls come within a second of another, and what is only read is cheap to share.
        if self.seconds.load(Ordering::Relaxed) != now {
            self.seconds.store(now, Ordering::Relaxed);
        }
    }

    pub(super) fn last(&self) -> Option<Timestamp> {
        let seconds = self.seconds.load(Ordering::Relaxed);
        (seconds > 0).then(|| Timestamp::from_unix_seconds(seconds))
    }

    fn news(&self) -> Option<Timestamp> {
        let last = self.last()?;
        (self.told.swap(last.unix_seconds(), Ordering::Relaxed) != last.unix_seconds()).then_some(last)
    }
}

fn engine(home: &TenantId, id: &EngineId, record: &EngineRecord) -> Engine {
    let keys = record.keys.iter().map(|key| HeldKey {
        verifier: KeyVerifier { key_id: key.id.clone(), verifier: key.verifier },
        expires_at: Some(key.expires_at),
        revoked: key.revoked_at.is_some(),
    });
    Engine {
        id: id.clone(),
        home: Some(home.clone()),
        incarnation: record.incarnation,
        disabled: record.disabled,
        policy: Arc::clone(&record.policy),
        limits: record.limits,
        keys: keys.collect(),
        spiffe_ids: record.spiffe_ids.iter().cloned().collect(),
    }
}
