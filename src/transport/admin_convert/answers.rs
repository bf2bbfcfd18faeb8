//! What the administration answers, on the wire.

use secrecy::ExposeSecret as _;

use crate::access::EngineKey;
use crate::access::admin::{
    AccessAnswer, EngineAnswer, KeyAnswer, ListedEngines, ListedKey, ListedTenants, NewKeyAnswer, RotatedKeyAnswer,
    TenantAnswer,
};
use crate::domain::id::{EngineId, TenantId};
use crate::domain::limits::{Limits, Rate};
use crate::domain::policy::{Named, Policy, Rule};
use crate::domain::registry::KeyState;
use crate::domain::time::Timestamp;
use crate::pb::vault_v1 as pb;

pub(in super::super) fn tenant(answer: TenantAnswer) -> pb::Tenant {
    let TenantAnswer { id, record } = answer;
    pb::Tenant {
        name: format!("tenants/{id}"),
        etag: record.etag(),
        disabled: record.disabled_at.is_some(),
        created_at: record.created_at.unix_seconds(),
        disabled_at: seconds(record.disabled_at),
        display_name: record.display_name,
    }
}

pub(in super::super) fn listed_tenants(answer: ListedTenants) -> pb::ListTenantsResponse {
    pb::ListTenantsResponse {
        tenants: answer.tenants.into_iter().map(tenant).collect(),
        next_page_token: answer.next_page_token,
    }
}

pub(in super::super) fn engine(answer: EngineAnswer) -> pb::Engine {
    let EngineAnswer { tenant, id, record, at } = answer;
    let active = record.keys.iter().filter(|key| key.state(at) == KeyState::Active).count();
    pb::Engine {
        name: format!("tenants/{tenant}/engines/{id}"),
        disabled: record.disabled,
        policy: Some(policy(&record.policy)),
        limits: Some(limits(record.limits)),
        created_at: record.created_at.unix_seconds(),
        active_keys: i32::try_from(active).unwrap_or(i32::MAX),
        etag: record.etag(),
        display_name: record.display_name,
    }
}

pub(in super::super) fn listed_engines(answer: ListedEngines) -> pb::ListEnginesResponse {
    pb::ListEnginesResponse {
        engines: answer.engines.into_iter().map(engine).collect(),
        next_page_token: answer.next_page_token,
    }
}

pub(in super::super) fn key(answer: KeyAnswer) -> pb::Key {
    one_key(&answer.tenant, &answer.engine, answer.key)
}

pub(in super::super) fn listed_keys(answer: Vec<KeyAnswer>) -> pb::ListKeysResponse {
    pb::ListKeysResponse { keys: answer.into_iter().map(key).collect() }
}

pub(in super::super) fn created_key(answer: NewKeyAnswer) -> pb::CreateKeyResponse {
    pb::CreateKeyResponse { key: Some(key(answer.answer)), secret: answer.secret.expose_secret().to_owned() }
}

pub(in super::super) fn rotated_key(answer: RotatedKeyAnswer) -> pb::RotateKeyResponse {
    let RotatedKeyAnswer { new: NewKeyAnswer { answer, secret }, replaced } = answer;
    let replaced = one_key(&answer.tenant, &answer.engine, replaced);
    pb::RotateKeyResponse {
        key: Some(key(answer)),
        secret: secret.expose_secret().to_owned(),
        replaced: Some(replaced),
    }
}

pub(in super::super) fn checked_access(answer: AccessAnswer) -> pb::CheckAccessResponse {
    let rule = answer.rule.and_then(|rule| i32::try_from(rule + 1).ok()).unwrap_or(0);
    pb::CheckAccessResponse { allowed: answer.is_allowed, reason: answer.reason.to_owned(), rule }
}

fn one_key(tenant: &TenantId, engine: &EngineId, key: ListedKey) -> pb::Key {
    let ListedKey { record, last_used, at } = key;
    let name = |id: &str| format!("tenants/{tenant}/engines/{engine}/keys/{id}");
    pb::Key {
        name: name(&record.id),
        display_prefix: EngineKey::display_prefix(&record.id),
        state: record.state(at).as_str().to_owned(),
        created_at: record.created_at.unix_seconds(),
        expires_at: record.expires_at.unix_seconds(),
        revoked_at: seconds(record.revoked_at),
        last_used_at: seconds(last_used),
        replaced_by: record.replaced_by.as_deref().map(name).unwrap_or_default(),
    }
}

fn policy(policy: &Policy) -> pb::Policy {
    pb::Policy { tenants: set(policy.tenants(), TenantId::as_str), rules: policy.rules().iter().map(rule).collect() }
}

fn rule(rule: &Rule) -> pb::Rule {
    pb::Rule {
        effect: rule.effect.as_str().to_owned(),
        actions: set(&rule.actions, |action| action.as_str()),
        platforms: set(&rule.platforms, |platform| platform.as_str()),
        users: set(&rule.users, |user| user.as_str()),
        scopes_at_most: rule.scopes_at_most.iter().flatten().cloned().collect(),
    }
}

fn set<T>(named: &Named<T>, name: impl Fn(&T) -> &str) -> Vec<String> {
    match named {
        Named::All => vec!["*".to_owned()],
        Named::Only(these) => these.iter().map(|one| name(one).to_owned()).collect(),
    }
}

fn limits(limits: Limits) -> pb::Limits {
    pb::Limits {
        rate_per_second: limits.rate.map_or(0, Rate::per_second),
        rate_burst: limits.rate.map_or(0, Rate::burst),
        max_distinct_users_per_hour: limits.max_distinct_users_per_hour.unwrap_or(0),
    }
}

fn seconds(at: Option<Timestamp>) -> i64 {
    at.map_or(0, Timestamp::unix_seconds)
}
