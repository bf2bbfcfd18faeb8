//! Tenants: what belongs to one is nothing to another, whatever their engines are called.

use tonic::Code;
use vault_engine::pb::vault_v1::{
    CreateTenantRequest, GetTokenRequest, ListEnginesRequest, ListKeysRequest, ListTenantsRequest, ListTokensRequest,
    Policy, StoreTokenRequest, Tenant, UpdateTenantRequest,
};

use super::{allowing, engine, engine_of, masked, rule, tenant, words};
use crate::harness::{USER, get, spec};

const DENIED: (Code, &str, &str) = (Code::PermissionDenied, "not_permitted", "contact_operator");

#[test]
fn engines_of_one_name_and_users_of_one_id_in_many_tenants_never_meet() {
    spec(async |vault| {
        let mut all = Vec::new();
        for number in 0..6 {
            let id = format!("tenant-{number}");
            let made = engine(vault, &id, "shared", allowing(&["get", "store", "list", "status"])).await;
            let tokens = vault.tokens();
            let stored = StoreTokenRequest { user_id: USER.to_owned(), ..tokens.request("plain", 3_600) };
            made.caller(vault).call(stored).await.unwrap();
            all.push((id, made, tokens));
        }
        let mut page_token = String::new();
        for (id, made, tokens) in &all {
            let caller = made.caller(vault);
            assert_eq!(caller.call(get("plain")).await.unwrap().access_token, tokens.access, "{id}");
            let listed = caller.call(ListTokensRequest { page_size: 1, ..Default::default() }).await.unwrap();
            assert_eq!(listed.tokens.len(), 1, "{id}");
            for (other, ..) in all.iter().filter(|(other, ..)| other != id) {
                let foreign = GetTokenRequest { tenant: other.clone(), ..get("plain") };
                assert_eq!(caller.call(foreign).await.unwrap_err().told(), DENIED, "{id} at {other}");
            }
            // A place in one tenant's list of engines is no place in another's.
            let parent = format!("tenants/{id}");
            let admin = vault.as_engine("admin");
            if !page_token.is_empty() {
                let foreign =
                    ListEnginesRequest { parent: parent.clone(), page_token: page_token.clone(), page_size: 1 };
                assert_eq!(admin.call(foreign).await.unwrap_err().fields, ["page_token"]);
            }
            for extra in ["a", "b"] {
                admin.call(engine_of(id, extra, allowing(&["get"]))).await.unwrap();
            }
            let page = admin.call(ListEnginesRequest { parent, page_size: 2, ..Default::default() }).await.unwrap();
            assert_eq!(page.engines.len(), 2);
            page_token = page.next_page_token;
        }
    });
}

#[test]
fn who_administers_one_tenant_sees_and_changes_no_other() {
    spec(async |vault| {
        let rights = allowing(&["admin_read", "admin_engines", "admin_keys", "admin_tenants"]);
        let acme = engine(vault, "acme", "keeper", rights).await.caller(vault);
        engine(vault, "globex", "sync2", allowing(&["get"])).await;
        let seen = acme.call(ListTenantsRequest::default()).await.unwrap();
        assert_eq!(seen.tenants.iter().map(|tenant| tenant.name.as_str()).collect::<Vec<_>>(), ["tenants/acme"]);
        let mut faces = Vec::new();
        for parent in ["tenants/globex", "tenants/nowhere", "tenants/system", "tenants/default"] {
            let list = ListEnginesRequest { parent: parent.to_owned(), ..Default::default() };
            faces.push(acme.call(list).await.unwrap_err());
            let engine = format!("{parent}/engines/sync2");
            faces.push(acme.call(ListKeysRequest { parent: engine }).await.unwrap_err());
            let id = parent.strip_prefix("tenants/").unwrap();
            let tenants = if id == "system" { words(&["*"]) } else { Vec::new() };
            let policy = Policy { tenants, ..allowing(&["get"]) };
            faces.push(acme.call(engine_of(id, "mine", policy)).await.unwrap_err());
            let off = Tenant { name: parent.to_owned(), disabled: true, ..Tenant::default() };
            let request = UpdateTenantRequest { tenant: Some(off), update_mask: Some(masked(&["disabled"])) };
            faces.push(acme.call(request).await.unwrap_err());
        }
        let create = CreateTenantRequest { tenant_id: "initech".to_owned(), ..Default::default() };
        faces.push(acme.call(create).await.unwrap_err());
        for face in &faces {
            assert_eq!(face.told(), DENIED);
            assert_eq!(face.face(), faces[0].face());
        }
    });
}

#[test]
fn an_engine_of_the_installation_acts_for_the_tenants_there_are_and_for_no_name_beside() {
    spec(async |vault| {
        tenant(vault, "acme").await;
        tenant(vault, "globex").await;
        let policy = |tenants: &[&str]| Policy { tenants: words(tenants), rules: vec![rule("allow", &["get"])] };
        let all = engine(vault, "system", "all", policy(&["*"])).await.caller(vault);
        let one = engine(vault, "system", "one", policy(&["globex"])).await.caller(vault);
        let get_in = |tenant: &str| GetTokenRequest { tenant: tenant.to_owned(), ..get("plain") };
        for (caller, tenant, expected) in [
            (&all, "acme", Code::NotFound),
            (&all, "globex", Code::NotFound),
            (&all, "", Code::NotFound),
            (&all, "acmee", Code::PermissionDenied),
            (&all, "system", Code::PermissionDenied),
            (&one, "globex", Code::NotFound),
            (&one, "", Code::NotFound),
            (&one, "acme", Code::PermissionDenied),
        ] {
            assert_eq!(caller.call(get_in(tenant)).await.unwrap_err().code, expected, "{tenant}");
        }
    });
}
