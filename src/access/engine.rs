//! What is known about an engine.

use std::collections::BTreeSet;

use super::engine_key::KeyVerifier;
use crate::domain::id::{EngineId, TenantId};
use crate::domain::method::Action;

/// An engine that may call.
#[derive(Debug)]
pub struct Engine {
    /// Its id.
    pub id: EngineId,
    /// What it may do; everything else is denied.
    pub actions: BTreeSet<Action>,
    /// The tenants it acts for; all others are denied.
    pub tenants: Vec<TenantId>,
    /// The keys it may present; more than one while they are being replaced.
    pub keys: Vec<KeyVerifier>,
}
