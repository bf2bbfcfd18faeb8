//! Somebody who has proven who they are.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;

use super::engine::{Engine, Known};
use super::meter::Exceeded;
use super::refusal::{NotPermitted, Refusal};
use crate::domain::error::{Fault, InvalidArgument};
use crate::domain::id::{EngineId, TenantId, UserId};
use crate::domain::method::Action;
use crate::domain::policy::{Named, Permits, Policy};
use crate::domain::registry::Principal;
use crate::domain::spiffe::SpiffeId;

/// What a call presents: one engine id and one key, well formed as header values, not yet believed.
#[derive(Clone)]
pub struct Credentials {
    pub(super) engine: String,
    pub(super) key: SecretString,
}

/// An engine that has proven who it is. There is no other way to get one.
#[derive(Clone)]
pub struct Caller {
    known: Known,
    key_id: String,
    workload: Option<SpiffeId>,
}

// === impl Credentials ===

impl Credentials {
    /// The two header values of a call.
    #[must_use]
    pub fn new(engine: String, key: String) -> Self {
        Self { engine, key: SecretString::from(key) }
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials")
    }
}

// === impl Caller ===

impl Caller {
    pub(super) fn verified(known: Known, key_id: String, workload: Option<SpiffeId>) -> Self {
        Self { known, key_id, workload }
    }

    /// Which engine.
    #[must_use]
    pub fn engine(&self) -> &EngineId {
        &self.known.engine.id
    }

    /// Which engine among all there are: ids are unique within a registry only.
    #[must_use]
    pub fn principal(&self) -> Principal {
        self.known.engine.principal()
    }

    /// The public part of the key it used.
    #[must_use]
    pub fn key_id(&self) -> &str {
        &self.key_id
    }

    /// What its certificate names it, if it showed one.
    pub(super) fn workload(&self) -> Option<&SpiffeId> {
        self.workload.as_ref()
    }

    pub(super) fn known(&self) -> &Engine {
        &self.known.engine
    }

    /// Counts one call, at this moment of the monotonic clock.
    ///
    /// # Errors
    ///
    /// When it has called as often as it may.
    pub fn count_call(&self, now: Duration) -> Result<(), Exceeded> {
        self.known.meter.call(&self.known.engine.limits, now)
    }

    /// Counts a user whose token it asks for.
    ///
    /// # Errors
    ///
    /// When it has asked for the tokens of as many others as it may.
    pub fn count_user(&self, tenant: &TenantId, user: &UserId, now: Duration) -> Result<(), Exceeded> {
        self.known.meter.user(&self.known.engine.limits, (tenant, user), now)
    }

    pub(super) fn policy(&self) -> &Arc<Policy> {
        &self.known.engine.policy
    }

    /// Whether there is anything it may do this with.
    pub(super) fn may(&self, action: Action) -> bool {
        self.policy().grants(action)
    }

    /// What it may do this with.
    #[must_use]
    pub fn permits(&self, action: Action, tenant: &TenantId) -> Permits {
        Permits::new(Arc::clone(self.policy()), action, tenant.clone())
    }

    /// The tenant a request is about: the one it names, if this engine acts for it; without a name, the engine's own.
    ///
    /// # Errors
    ///
    /// When it names another tenant, or none although the engine acts for several and `default` is not among them.
    pub fn tenant(&self, named: &str) -> Result<TenantId, Refusal> {
        let tenants = self.policy().tenants();
        if named.is_empty() {
            if let Named::Only(only) = tenants
                && let (1, Some(only)) = (only.len(), only.first())
            {
                return Ok(only.clone());
            }
            let default = TenantId::default_tenant();
            let missing = InvalidArgument { field: "tenant", fault: Fault::Missing };
            return if tenants.contains(&default) { Ok(default) } else { Err(missing.into()) };
        }
        // A name that is no tenant's is treated like one that is somebody else's: nothing can be learned from either.
        let named = named.parse::<TenantId>().ok();
        named.filter(|tenant| tenants.contains(tenant)).ok_or(Refusal::NotPermitted(NotPermitted::Policy))
    }
}

impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Caller({})", self.known.engine.id)
    }
}
