//! What is known about an engine.

use std::sync::Arc;

use super::engine_key::KeyVerifier;
use super::meter::Meter;
use crate::domain::id::{EngineId, TenantId};
use crate::domain::limits::Limits;
use crate::domain::policy::Policy;
use crate::domain::registry::Principal;
use crate::domain::spiffe::SpiffeId;
use crate::domain::time::Timestamp;

/// An engine that may call.
#[derive(Debug)]
pub struct Engine {
    /// Its id.
    pub id: EngineId,
    /// In whose registry it is; `None`: it is in the configuration.
    pub home: Option<TenantId>,
    /// Which engine of this id this is: one that was deleted and made again is another.
    pub incarnation: u64,
    /// Whether it was switched off.
    pub disabled: bool,
    /// What it may do; everything else is denied.
    pub policy: Arc<Policy>,
    /// How much of it.
    pub limits: Limits,
    /// The keys it may present; more than one while they are being replaced.
    pub keys: Vec<HeldKey>,
    /// The workloads it may be; empty: whoever has its key.
    pub spiffe_ids: Vec<SpiffeId>,
}

/// A key of an engine.
#[derive(Clone, Debug)]
pub struct HeldKey {
    /// What it is recognised by.
    pub verifier: KeyVerifier,
    /// When it ends; `None`: it does not.
    pub expires_at: Option<Timestamp>,
    /// Whether it was revoked.
    pub revoked: bool,
}

/// An engine with what is counted about it, which outlives changes to the engine.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) engine: Arc<Engine>,
    pub(super) meter: Arc<Meter>,
}

// === impl Engine ===

impl Engine {
    /// An engine of the configuration.
    #[must_use]
    pub fn configured(id: EngineId, policy: Policy, limits: Limits, keys: Vec<KeyVerifier>) -> Self {
        let key = |verifier| HeldKey { verifier, expires_at: None, revoked: false };
        let keys = keys.into_iter().map(key).collect();
        let (policy, spiffe_ids) = (Arc::new(policy), Vec::new());
        Self { id, home: None, incarnation: 0, disabled: false, policy, limits, keys, spiffe_ids }
    }

    pub(super) fn principal(&self) -> Principal {
        Principal { home: self.home.clone(), engine: self.id.clone(), incarnation: self.incarnation }
    }

    /// Whether whoever showed this certificate, or none, may be this engine.
    pub(super) fn may_be(&self, workload: Option<&SpiffeId>) -> bool {
        self.spiffe_ids.is_empty() || workload.is_some_and(|id| self.spiffe_ids.contains(id))
    }
}
