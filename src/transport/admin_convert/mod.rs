//! Messages of `vault.v1.Admin` to the guard's words and back. Every bound is checked here.

mod answers;
mod policy;

use std::time::Duration;

pub(super) use self::answers::{
    checked_access, created_key, engine, key, listed_engines, listed_keys, listed_tenants, rotated_key, tenant,
};
use self::policy::{limits, policy};
use super::convert::id;
use crate::access::admin::{
    CheckAccess, CreateEngine, CreateKey, CreateTenant, DeleteEngine, GetEngine, GetTenant, ListEngines, ListKeys,
    ListTenants, PageQuery, RevokeKey, RotateKey, UpdateEngine, UpdateTenant,
};
use crate::access::{EngineKey, Refusal};
use crate::domain::error::{Fault, InvalidArgument};
use crate::domain::id::{EngineId, TenantId};
use crate::domain::policy::MAX_SCOPE_BYTES;
use crate::domain::registry::{EngineChange, NewEngine, TenantChange};
use crate::pb::vault_v1 as pb;

const PAGE_SIZE: i32 = 50;
const MAX_PAGE_SIZE: i32 = 1_000;
const MAX_DISPLAY_NAME: usize = 128;
const MAX_SCOPES: usize = 128;
const DAY: i64 = 86_400;

pub(super) fn create_tenant(request: pb::CreateTenantRequest) -> Result<CreateTenant, Refusal> {
    Ok(CreateTenant {
        id: id("tenant_id", &request.tenant_id)?,
        display_name: display_name("display_name", request.display_name)?,
    })
}

pub(super) fn get_tenant(request: &pb::GetTenantRequest) -> Result<GetTenant, Refusal> {
    Ok(GetTenant { id: tenant_named("name", &request.name)? })
}

pub(super) fn list_tenants(request: pb::ListTenantsRequest) -> Result<ListTenants, Refusal> {
    Ok(ListTenants { page: page(request.page_size, request.page_token)?, of: TenantId::system() })
}

pub(super) fn update_tenant(request: pb::UpdateTenantRequest) -> Result<UpdateTenant, Refusal> {
    let Some(tenant) = request.tenant else { return missing("tenant") };
    let mask = mask(request.update_mask, &["display_name", "disabled"])?;
    let has = |field: &str| mask.contains(&field);
    let display_name =
        has("display_name").then(|| display_name("tenant.display_name", tenant.display_name)).transpose()?;
    Ok(UpdateTenant {
        id: tenant_named("tenant.name", &tenant.name)?,
        etag: etag(tenant.etag),
        change: TenantChange { display_name, disabled: has("disabled").then_some(tenant.disabled) },
    })
}

pub(super) fn create_engine(request: pb::CreateEngineRequest) -> Result<CreateEngine, Refusal> {
    let tenant = tenant_named("parent", &request.parent)?;
    let Some(engine) = request.engine else { return missing("engine") };
    let Some(given) = engine.policy else { return missing("engine.policy") };
    let new = NewEngine {
        display_name: display_name("engine.display_name", engine.display_name)?,
        policy: policy(given, &tenant)?,
        limits: limits(engine.limits.unwrap_or_default())?,
        disabled: engine.disabled,
    };
    Ok(CreateEngine { tenant, id: id("engine_id", &request.engine_id)?, engine: new })
}

pub(super) fn get_engine(request: &pb::GetEngineRequest) -> Result<GetEngine, Refusal> {
    let (tenant, id) = engine_named("name", &request.name)?;
    Ok(GetEngine { tenant, id })
}

pub(super) fn list_engines(request: pb::ListEnginesRequest) -> Result<ListEngines, Refusal> {
    let tenant = tenant_named("parent", &request.parent)?;
    Ok(ListEngines { tenant, page: page(request.page_size, request.page_token)? })
}

pub(super) fn update_engine(request: pb::UpdateEngineRequest) -> Result<UpdateEngine, Refusal> {
    let Some(engine) = request.engine else { return missing("engine") };
    let mask = mask(request.update_mask, &["display_name", "disabled", "policy", "limits"])?;
    let has = |field: &str| mask.contains(&field);
    let (tenant, id) = engine_named("engine.name", &engine.name)?;
    let policy = match engine.policy {
        Some(given) if has("policy") => Some(policy(given, &tenant)?),
        None if has("policy") => return missing("engine.policy"),
        Some(_) | None => None,
    };
    let display_name =
        has("display_name").then(|| display_name("engine.display_name", engine.display_name)).transpose()?;
    let change = EngineChange {
        display_name,
        policy,
        limits: has("limits").then(|| limits(engine.limits.unwrap_or_default())).transpose()?,
        disabled: has("disabled").then_some(engine.disabled),
    };
    Ok(UpdateEngine { tenant, id, etag: etag(engine.etag), change })
}

pub(super) fn delete_engine(request: pb::DeleteEngineRequest) -> Result<DeleteEngine, Refusal> {
    let (tenant, id) = engine_named("name", &request.name)?;
    Ok(DeleteEngine { tenant, id, etag: etag(request.etag) })
}

pub(super) fn create_key(request: &pb::CreateKeyRequest) -> Result<CreateKey, Refusal> {
    let (tenant, engine) = engine_named("parent", &request.parent)?;
    Ok(CreateKey { tenant, engine, life: life(request.ttl_seconds)? })
}

pub(super) fn list_keys(request: &pb::ListKeysRequest) -> Result<ListKeys, Refusal> {
    let (tenant, engine) = engine_named("parent", &request.parent)?;
    Ok(ListKeys { tenant, engine })
}

pub(super) fn rotate_key(request: &pb::RotateKeyRequest) -> Result<RotateKey, Refusal> {
    let (tenant, engine, key) = key_named("name", &request.name)?;
    let overlap = seconds("overlap_seconds", request.overlap_seconds.unwrap_or(DAY), 0, 7 * DAY)?;
    Ok(RotateKey { tenant, engine, key, overlap, life: life(request.ttl_seconds)? })
}

pub(super) fn revoke_key(request: &pb::RevokeKeyRequest) -> Result<RevokeKey, Refusal> {
    let (tenant, engine, key) = key_named("name", &request.name)?;
    Ok(RevokeKey { tenant, engine, key })
}

pub(super) fn check_access(request: pb::CheckAccessRequest) -> Result<CheckAccess, Refusal> {
    let (tenant, engine) = engine_named("name", &request.name)?;
    let Ok(action) = request.action.parse() else {
        return invalid("action", Fault::NoneOf("the actions a rule can name, such as `get`"));
    };
    let of = match request.tenant.as_str() {
        "" if tenant == TenantId::system() => TenantId::default_tenant(),
        "" => tenant.clone(),
        named => id("tenant", named)?,
    };
    let user = (!request.user_id.is_empty()).then(|| id("user_id", &request.user_id)).transpose()?;
    let platform = (!request.platform.is_empty()).then(|| id("platform", &request.platform)).transpose()?;
    if request.scopes.len() > MAX_SCOPES {
        return invalid("scopes", Fault::TooMany(MAX_SCOPES));
    }
    if request.scopes.iter().any(|scope| scope.len() > MAX_SCOPE_BYTES) {
        return invalid("scopes", Fault::TooLarge(MAX_SCOPE_BYTES));
    }
    Ok(CheckAccess { tenant, engine, action, of, user, platform, scopes: request.scopes })
}

/// `tenants/acme`; `tenants/system` is the installation itself.
fn tenant_named(field: &'static str, name: &str) -> Result<TenantId, InvalidArgument> {
    const SHAPE: &str = "a name such as `tenants/acme`";
    let id = name.strip_prefix("tenants/").ok_or(InvalidArgument { field, fault: Fault::Shape(SHAPE) })?;
    let system = TenantId::system();
    if id == system.as_str() {
        return Ok(system);
    }
    id.parse().map_err(|error| InvalidArgument { field, fault: Fault::Id(error) })
}

/// `tenants/acme/engines/sync`
fn engine_named(field: &'static str, name: &str) -> Result<(TenantId, EngineId), InvalidArgument> {
    const SHAPE: &str = "a name such as `tenants/acme/engines/sync`";
    let shape = || InvalidArgument { field, fault: Fault::Shape(SHAPE) };
    let (tenant, engine) = name.split_once("/engines/").ok_or_else(shape)?;
    Ok((tenant_named(field, tenant)?, engine.parse().map_err(|_| shape())?))
}

/// `tenants/acme/engines/sync/keys/4J7QX2M9ZK3T`
fn key_named(field: &'static str, name: &str) -> Result<(TenantId, EngineId, String), InvalidArgument> {
    const SHAPE: &str = "a name such as `tenants/acme/engines/sync/keys/4J7QX2M9ZK3T`";
    let shape = || InvalidArgument { field, fault: Fault::Shape(SHAPE) };
    let (engine, key) = name.split_once("/keys/").ok_or_else(shape)?;
    if !EngineKey::is_id(key) {
        return Err(shape());
    }
    let (tenant, engine) = engine_named(field, engine)?;
    Ok((tenant, engine, key.to_owned()))
}

fn page(size: i32, token: String) -> Result<PageQuery, Refusal> {
    let wanted = if size == 0 { PAGE_SIZE } else { size };
    match usize::try_from(wanted).ok().filter(|_| wanted <= MAX_PAGE_SIZE) {
        Some(size) => Ok(PageQuery { size, token }),
        None => invalid("page_size", Fault::Range(0, MAX_PAGE_SIZE.into())),
    }
}

/// The fields a mask names, all of which must be among these.
fn mask(mask: Option<prost_types::FieldMask>, known: &[&'static str]) -> Result<Vec<&'static str>, Refusal> {
    let paths = mask.unwrap_or_default().paths;
    if paths.is_empty() {
        return missing("update_mask");
    }
    if paths.iter().any(|path| path == "*") {
        return if paths.len() == 1 { Ok(known.to_vec()) } else { invalid("update_mask", Fault::Shape("`*` alone")) };
    }
    let named = paths.iter().map(|path| known.iter().copied().find(|known| known == path));
    match named.collect::<Option<Vec<_>>>() {
        Some(named) => Ok(named),
        None => invalid("update_mask", Fault::Shape("names of fields that can be changed")),
    }
}

fn etag(given: String) -> Option<String> {
    Some(given).filter(|etag| !etag.is_empty())
}

/// Whatever people write, but nothing that would move the cursor of whoever reads it.
fn display_name(field: &'static str, name: String) -> Result<String, Refusal> {
    if name.chars().count() > MAX_DISPLAY_NAME {
        return invalid(field, Fault::TooLarge(MAX_DISPLAY_NAME));
    }
    if name.chars().any(is_unprintable) {
        return invalid(field, Fault::Characters("printable characters"));
    }
    Ok(name)
}

fn is_unprintable(c: char) -> bool {
    // Beside control characters, those that turn the direction of text or take no room.
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

fn life(seconds_given: i64) -> Result<Duration, Refusal> {
    let wanted = if seconds_given == 0 { 90 * DAY } else { seconds_given };
    seconds("ttl_seconds", wanted, 60, 365 * DAY)
}

fn seconds(field: &'static str, given: i64, least: i64, most: i64) -> Result<Duration, Refusal> {
    match u64::try_from(given).ok().filter(|_| (least..=most).contains(&given)) {
        Some(seconds) => Ok(Duration::from_secs(seconds)),
        None => invalid(field, Fault::Range(least, most)),
    }
}

fn missing<T>(field: &'static str) -> Result<T, Refusal> {
    invalid(field, Fault::Missing)
}

fn invalid<T>(field: &'static str, fault: Fault) -> Result<T, Refusal> {
    Err(InvalidArgument { field, fault }.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_parses_one_way_only() {
        let (tenant, engine, key) = key_named("name", "tenants/acme/engines/sync/keys/4J7QX2M9ZK3T").unwrap();
        assert_eq!((tenant.as_str(), engine.as_str(), key.as_str()), ("acme", "sync", "4J7QX2M9ZK3T"));
        assert_eq!(tenant_named("name", "tenants/system").unwrap(), TenantId::system());
        for name in [
            "",
            "tenants",
            "tenants/",
            "tenants/a/b",
            "tenants/acme/engines/",
            "tenants/acme/engines/a/b",
            "tenants/acme/engines/sync/keys/",
            "tenants/acme/engines/sync/keys/4j7qx2m9zk3t",
            "tenants/acme/engines/sync/keys/4J7QX2M9ZK3T/",
            "/tenants/acme/engines/sync/keys/4J7QX2M9ZK3T",
            "tenants/acme/engines/engines/x/keys/4J7QX2M9ZK3T",
        ] {
            assert!(key_named("name", name).is_err() && engine_named("name", name).is_err(), "{name}");
        }
    }

    #[test]
    fn a_mask_names_what_there_is_or_everything() {
        let masked = |paths: &[&str]| {
            let paths = paths.iter().map(|path| (*path).to_owned()).collect();
            mask(Some(prost_types::FieldMask { paths }), &["display_name", "disabled"])
        };
        assert_eq!(masked(&["*"]).unwrap(), ["display_name", "disabled"]);
        assert_eq!(masked(&["disabled"]).unwrap(), ["disabled"]);
        assert!(masked(&[]).is_err() && masked(&["etag"]).is_err() && masked(&["*", "disabled"]).is_err());
        assert!(mask(None, &["disabled"]).is_err());
    }

    #[test]
    fn a_name_for_people_moves_no_cursor() {
        assert!(display_name("n", "Größe 7 (日本)".to_owned()).is_ok());
        for odd in ["a\nb", "a\u{1b}[31m", "a\u{202e}b", &"x".repeat(129)] {
            assert!(display_name("n", odd.to_owned()).is_err(), "{odd:?}");
        }
    }
}
