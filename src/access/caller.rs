//! Somebody who has proven who they are.

use std::fmt;
use std::sync::Arc;

use secrecy::SecretString;

use super::engine::Engine;
use super::refusal::Refusal;
use crate::domain::error::{Fault, InvalidArgument};
use crate::domain::id::{EngineId, TenantId};
use crate::domain::method::Action;

/// What a call presents: one engine id and one key, well formed as header values, not yet believed.
#[derive(Clone)]
pub struct Credentials {
    pub(super) engine: String,
    pub(super) key: SecretString,
}

/// An engine that has proven who it is. There is no other way to get one.
#[derive(Clone)]
pub struct Caller {
    engine: Arc<Engine>,
    key_id: String,
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
    pub(super) fn verified(engine: Arc<Engine>, key_id: String) -> Self {
        Self { engine, key_id }
    }

    /// Which engine.
    #[must_use]
    pub fn engine(&self) -> &EngineId {
        &self.engine.id
    }

    /// The public part of the key it used.
    #[must_use]
    pub fn key_id(&self) -> &str {
        &self.key_id
    }

    pub(super) fn may(&self, action: Action) -> bool {
        self.engine.actions.contains(&action)
    }

    /// The tenant a request is about: the one it names, if this engine acts for it; without a name, the engine's own.
    ///
    /// # Errors
    ///
    /// When it names another tenant, or none although the engine acts for several and `default` is not among them.
    pub fn tenant(&self, named: &str) -> Result<TenantId, Refusal> {
        if named.is_empty() {
            return match self.engine.tenants.as_slice() {
                [only] => Ok(only.clone()),
                several => {
                    let default = TenantId::default_tenant();
                    let missing = InvalidArgument { field: "tenant", fault: Fault::Missing };
                    if several.contains(&default) { Ok(default) } else { Err(missing.into()) }
                }
            };
        }
        // A name that is no tenant's is treated like one that is somebody else's: nothing can be learned from either.
        let named = named.parse::<TenantId>().ok();
        named.filter(|tenant| self.engine.tenants.contains(tenant)).ok_or(Refusal::NotPermitted)
    }
}

impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Caller({})", self.engine.id)
    }
}
