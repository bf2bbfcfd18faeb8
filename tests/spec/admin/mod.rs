//! Who may call and what they may do, changed while the vault runs.

mod engines;
mod items;
mod keys;
mod limits;
mod rollback;
mod switches;
mod tenants;

use vault_engine::pb::vault_v1::{
    CreateEngineRequest, CreateKeyRequest, CreateTenantRequest, Engine, Key, Limits, Policy, Rule, Tenant,
    UpdateEngineRequest, UpdateTenantRequest,
};

use crate::harness::{Caller, Refused, Vault};

/// A key that was made, whole.
struct Made {
    engine: String,
    key: Key,
    secret: String,
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// A rule about everything.
fn rule(effect: &str, actions: &[&str]) -> Rule {
    Rule {
        effect: effect.to_owned(),
        actions: words(actions),
        platforms: words(&["*"]),
        users: words(&["*"]),
        scopes_at_most: Vec::new(),
    }
}

fn allowing(actions: &[&str]) -> Policy {
    Policy { tenants: Vec::new(), rules: vec![rule("allow", actions)] }
}

fn engine_of(parent: &str, id: &str, policy: Policy) -> CreateEngineRequest {
    let engine = Engine { policy: Some(policy), ..Engine::default() };
    CreateEngineRequest { parent: format!("tenants/{parent}"), engine_id: id.to_owned(), engine: Some(engine) }
}

fn masked(paths: &[&str]) -> prost_types::FieldMask {
    prost_types::FieldMask { paths: words(paths) }
}

async fn tenant(vault: &Vault, id: &str) {
    let request = CreateTenantRequest { tenant_id: id.to_owned(), ..CreateTenantRequest::default() };
    vault.as_engine("admin").call(request).await.unwrap();
}

/// An engine of a tenant, which is made where it is not there, with a key.
async fn engine(vault: &Vault, parent: &str, id: &str, policy: Policy) -> Made {
    limited_engine(vault, parent, id, policy, Limits::default()).await
}

async fn limited_engine(vault: &Vault, parent: &str, id: &str, policy: Policy, limits: Limits) -> Made {
    let admin = vault.as_engine("admin");
    if parent != "system" {
        let request = CreateTenantRequest { tenant_id: parent.to_owned(), ..CreateTenantRequest::default() };
        // It may be there.
        drop(admin.call(request).await);
    }
    let mut request = engine_of(parent, id, policy);
    request.engine.as_mut().unwrap().limits = Some(limits);
    let made = admin.call(request).await.unwrap();
    key_of(vault, &admin, &made.name).await.unwrap()
}

/// One key more, made by somebody.
async fn key_of(vault: &Vault, by: &Caller, engine: &str) -> Result<Made, Refused> {
    let made = by.call(CreateKeyRequest { parent: engine.to_owned(), ttl_seconds: 0 }).await?;
    vault.keep_secret(&made.secret);
    Ok(Made { engine: engine.to_owned(), key: made.key.unwrap(), secret: made.secret })
}

async fn set_policy(vault: &Vault, made: &Made, policy: Policy) {
    let engine = Engine { name: made.engine.clone(), policy: Some(policy), ..Engine::default() };
    let request = UpdateEngineRequest { engine: Some(engine), update_mask: Some(masked(&["policy"])) };
    vault.as_engine("admin").call(request).await.unwrap();
}

async fn switch_engine(vault: &Vault, name: &str, disabled: bool) {
    let engine = Engine { name: name.to_owned(), disabled, ..Engine::default() };
    let request = UpdateEngineRequest { engine: Some(engine), update_mask: Some(masked(&["disabled"])) };
    vault.as_engine("admin").call(request).await.unwrap();
}

async fn switch_tenant(vault: &Vault, id: &str, disabled: bool) {
    let tenant = Tenant { name: format!("tenants/{id}"), disabled, ..Tenant::default() };
    let request = UpdateTenantRequest { tenant: Some(tenant), update_mask: Some(masked(&["disabled"])) };
    vault.as_engine("admin").call(request).await.unwrap();
}

// === impl Made ===

impl Made {
    /// The engine with its key.
    fn caller(&self, vault: &Vault) -> Caller {
        self.at(vault.as_nobody())
    }

    /// The engine with its key, at each instance.
    fn callers(&self, vault: &Vault) -> Vec<Caller> {
        vault.as_nobody_everywhere().into_iter().map(|nobody| self.at(nobody)).collect()
    }

    fn at(&self, nobody: Caller) -> Caller {
        let (_, id) = self.engine.split_once("/engines/").unwrap();
        nobody.and("x-engine-id", id).and("x-engine-key", &self.secret)
    }

    /// The public part of its key.
    fn key_id(&self) -> &str {
        self.key.name.rsplit('/').next().unwrap()
    }
}
