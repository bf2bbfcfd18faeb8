//! Who may call, and what each caller may do.

use std::collections::BTreeSet;

use super::{TlsConfig, engine_policy};
use crate::document::{Mismatch, Node, Section};
use crate::domain::id::{EngineId, TenantId};
use crate::domain::limits::Limits;
use crate::domain::method::Action;
use crate::domain::policy::{Named, Policy};
use crate::domain::spiffe::SpiffeId;

/// A service that may call.
#[derive(Debug, Clone)]
pub struct EngineConfig {
    /// Its id.
    pub id: EngineId,
    /// What it may do, for which tenants.
    pub policy: Policy,
    /// How much of it.
    pub limits: Limits,
    /// The keys it may prove itself with.
    pub keys: Vec<EngineKeyConfig>,
    /// The workloads it may be; empty: whoever has its key.
    pub spiffe_ids: Vec<SpiffeId>,
}

/// A key of an engine: what it is called, and what proves it. The key itself is nowhere here.
#[derive(Debug, Clone)]
pub struct EngineKeyConfig {
    /// The public part of the key.
    pub id: String,
    /// What a key is checked against.
    pub verifier: String,
}

/// How every engine key begins: somebody may have pasted the key where its verifier belongs.
const KEY_PREFIX: &str = "tvk1_";

// === impl EngineConfig ===

impl EngineConfig {
    /// An engine without keys and without limits that may do this with everything of these tenants.
    #[must_use]
    pub fn allowing(
        id: EngineId,
        actions: impl IntoIterator<Item = Action>,
        tenants: impl IntoIterator<Item = TenantId>,
    ) -> Self {
        let tenants = Named::Only(tenants.into_iter().collect());
        let policy = Policy::allowing(tenants, Named::Only(actions.into_iter().collect()));
        Self { id, policy, limits: Limits::default(), keys: Vec::new(), spiffe_ids: Vec::new() }
    }
}

pub(super) fn read(section: &mut Section<'_>, tls: Option<&TlsConfig>) -> Vec<EngineConfig> {
    let (mut engine_ids, mut key_ids) = (BTreeSet::new(), BTreeSet::new());
    section.sections("engines", |section| {
        let id: Option<EngineId> = section.required("id", Node::parse);
        let policy = engine_policy::policy(section);
        let limits = engine_policy::limits(section);
        let keys = section.sections("keys", key);
        let spiffe_ids = section.list("spiffe_ids", |node| known_to(tls, node)).unwrap_or_default();
        if keys.is_empty() {
            section.fault("keys", "must hold at least one key", "without a key the engine can never prove who it is");
        }
        if let Some(id) = id.clone().filter(|id| !engine_ids.insert(id.clone())) {
            section.fault("id", format!("is used twice: `{id}`"), "give each engine its own");
        }
        for key in keys.iter().filter(|key| !key_ids.insert(key.id.clone())) {
            section.fault(
                "keys",
                format!("holds a key that is listed twice: `{}`", key.id),
                "a key belongs to one engine",
            );
        }
        Some(EngineConfig { id: id?, policy: policy?, limits: limits?, keys, spiffe_ids })
    })
}

/// A workload that can show who it is.
fn known_to(tls: Option<&TlsConfig>, node: Node<'_>) -> Result<SpiffeId, Mismatch> {
    let id = node.parse::<SpiffeId>()?;
    if tls.is_some_and(|tls| tls.knows(&id)) {
        return Ok(id);
    }
    let hint = format!("add `{}` to `tls.trust_domains`, with the file of its authorities", id.trust_domain());
    Err(Mismatch::new("is of a trust domain whose certificates nobody could check", hint))
}

fn key(section: &mut Section<'_>) -> Option<EngineKeyConfig> {
    let id = section.required("id", |node| plain(node, 1, 64));
    let verifier = section.required("verifier", |node| plain(node, 16, 256));
    Some(EngineKeyConfig { id: id?, verifier: verifier? })
}

fn plain(node: Node<'_>, least: usize, most: usize) -> Result<String, Mismatch> {
    let text = node.text()?;
    if text.starts_with(KEY_PREFIX) {
        let hint = "write its public id and its verifier, and replace the key: it was in a file";
        return Err(Mismatch::new("is an engine key, which nobody but the engine may hold", hint));
    }
    let fits = (least..=most).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
    if fits {
        Ok(text.to_owned())
    } else {
        Err(Mismatch::new("is not what the vault printed for this key", "copy it again"))
    }
}
