//! The engines that may call, and the verification of what they present.
//!
//! What is known is a snapshot that is never changed, only replaced, so that a call sees one state of everything. Keys
//! are found by their public id, so that it makes no difference how many engines there are, or which of them have the
//! same name in different tenants.

mod follow;
mod snapshot;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use secrecy::ExposeSecret as _;

pub use self::follow::RegistryFollower;
use self::snapshot::Snapshot;
use super::caller::{Caller, Credentials};
use super::engine::{Engine, Known};
use super::engine_key::{EngineKey, KeyVerifier, Pepper, engine_text};
use super::refusal::NotPermitted;
use crate::domain::id::{EngineId, TenantId};
use crate::domain::policy::Named;
use crate::domain::registry::Document;
use crate::domain::spiffe::SpiffeId;
use crate::domain::time::Timestamp;

/// All engines that may call.
pub struct Registry {
    pepper: Pepper,
    configured: Vec<Known>,
    current: ArcSwap<Snapshot>,
    /// Held by whoever replaces it.
    turn: Mutex<()>,
    /// What an unknown key is compared with.
    nobody: KeyVerifier,
    /// What a malformed key is replaced with, so that refusing it takes as long.
    stand_in: EngineKey,
}

/// Why credentials were refused: for the audit trail, never for the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotVerified {
    /// The id is none.
    MalformedEngine,
    /// The key is none.
    MalformedKey,
    /// Nobody is called so.
    UnknownEngine,
    /// Somebody is called so, and this is not their key.
    WrongKey,
    /// It is their key, and nobody showed a certificate on this connection, without which it is not theirs to use.
    NoSpiffeId,
    /// It is their key, and another workload's connection.
    WrongSpiffeId,
    /// It was their key.
    RevokedKey,
    /// It was their key.
    ExpiredKey,
    /// Its engine was switched off.
    EngineDisabled,
    /// Everything of its tenant was switched off.
    TenantDisabled,
}

// === impl Registry ===

impl Registry {
    /// A registry of these engines, which are in the configuration. `stand_in` is any key that is nobody's.
    #[must_use]
    pub fn new(pepper: Pepper, configured: impl IntoIterator<Item = Engine>, stand_in: EngineKey) -> Self {
        let known = |engine| Known { engine: Arc::new(engine), meter: Arc::default() };
        let configured: Vec<Known> = configured.into_iter().map(known).collect();
        let current = ArcSwap::from_pointee(Snapshot::of(&configured, &[], None));
        Self { pepper, configured, current, turn: Mutex::default(), nobody: KeyVerifier::nobody(), stand_in }
    }

    /// What engine keys are peppered with.
    pub(super) fn pepper(&self) -> &Pepper {
        &self.pepper
    }

    /// From now on, the registries of the tenants say this. What is told is asked for in here, so that nobody puts
    /// something in force that is older than what is.
    pub fn adopt(&self, documents: impl FnOnce() -> Vec<(TenantId, Arc<Document>)>) {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.current.load();
        self.current.store(Arc::new(Snapshot::of(&self.configured, &documents(), Some(&before))));
    }

    /// When a key was used last on this instance.
    pub(super) fn last_used(&self, key: &str) -> Option<Timestamp> {
        self.current.load().key(key).and_then(|found| found.used.last())
    }

    /// The keys that were used since this was asked last, by the tenant in whose registry they are.
    pub(super) fn newly_used(&self) -> BTreeMap<TenantId, BTreeMap<String, Timestamp>> {
        self.current.load().newly_used()
    }

    /// Whether the configuration has an engine of this name.
    pub(super) fn is_configured(&self, engine: &EngineId) -> bool {
        self.configured.iter().any(|known| known.engine.id == *engine)
    }

    /// Finds out who presents these credentials, on a connection whose certificate names this workload. Takes the same steps
    /// whatever is wrong with them, so that time does not tell which engines exist.
    ///
    /// # Errors
    ///
    /// Why they are nobody's.
    pub fn verify(
        &self,
        credentials: &Credentials,
        workload: Option<&SpiffeId>,
        now: Timestamp,
    ) -> Result<Caller, NotVerified> {
        let snapshot = self.current.load();
        let engine_id = credentials.engine.parse::<EngineId>().ok();
        let parsed = credentials.key.expose_secret().parse::<EngineKey>().ok();
        let key = parsed.as_ref().unwrap_or(&self.stand_in);
        let found = snapshot.key(key.id());
        let is_known = engine_id.as_ref().is_some_and(|id| snapshot.has_engine(id));
        let stored = found.map_or(&self.nobody, |found| &found.key.verifier);
        let matched = self.pepper.matches(key, engine_text(engine_id.as_ref()), stored);
        match (found, &parsed) {
            // Which engine the key is of is part of what was compared.
            (Some(found), Some(key)) if bool::from(matched) && engine_id.as_ref() == Some(&found.known.engine.id) => {
                // Only who has the key learns, from the trail, that it is the certificate.
                if !found.known.engine.may_be(workload) {
                    return Err(workload.map_or(NotVerified::NoSpiffeId, |_| NotVerified::WrongSpiffeId));
                }
                snapshot.is_open(found, now)?;
                found.used.note(now);
                Ok(Caller::verified(found.known.clone(), key.id().to_owned(), workload.cloned()))
            }
            (_, None) => Err(NotVerified::MalformedKey),
            (_, Some(_)) if engine_id.is_none() => Err(NotVerified::MalformedEngine),
            (_, Some(_)) if is_known => Err(NotVerified::WrongKey),
            (_, Some(_)) => Err(NotVerified::UnknownEngine),
        }
    }

    /// Who somebody who was let in before is now: with the same key, which may have been taken away, and with the rights
    /// the same engine has now, not one that has its name.
    pub(super) fn still(&self, caller: &Caller, now: Timestamp) -> Option<Caller> {
        let snapshot = self.current.load();
        let found = snapshot.key(caller.key_id())?;
        let is_same = found.known.engine.principal() == caller.principal();
        let is_open = snapshot.is_open(found, now).is_ok() && found.known.engine.may_be(caller.workload());
        (is_same && is_open)
            .then(|| Caller::verified(found.known.clone(), caller.key_id().to_owned(), caller.workload().cloned()))
    }

    /// Whether this engine can do anything for this tenant as things stand. One that acts for all acts for those there
    /// are: a name with a typo makes no tenant.
    pub(super) fn serves(&self, engine: &Engine, tenant: &TenantId) -> Result<(), NotPermitted> {
        let snapshot = self.current.load();
        match snapshot.tenant_is_open(tenant) {
            Some(false) => Err(NotPermitted::TenantDisabled),
            None if *engine.policy.tenants() == Named::All && *tenant != TenantId::default_tenant() => {
                Err(NotPermitted::UnknownTenant)
            }
            Some(true) | None => Ok(()),
        }
    }
}

// === impl NotVerified ===

impl NotVerified {
    pub(super) const fn reason(self) -> &'static str {
        match self {
            Self::MalformedEngine => "malformed_engine_id",
            Self::MalformedKey => "malformed_key",
            Self::UnknownEngine => "unknown_engine",
            Self::WrongKey => "wrong_key",
            Self::NoSpiffeId => "no_spiffe_id",
            Self::WrongSpiffeId => "wrong_spiffe_id",
            Self::RevokedKey => "revoked_key",
            Self::ExpiredKey => "expired_key",
            Self::EngineDisabled => "engine_disabled",
            Self::TenantDisabled => "tenant_disabled",
        }
    }
}

#[cfg(test)]
mod tests;
