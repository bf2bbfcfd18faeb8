//! Tenants: an engine acts for those it was given, and what belongs to one is nothing to another.

use tonic::Code;
use vault_engine::pb::vault_v1::{
    BatchGetStatusRequest, DeleteTokenRequest, GetStatusRequest, GetTokenRequest, ListTokensRequest, StoreTokenRequest,
    WatchStatusRequest,
};

use crate::harness::{Ask as _, Caller, Refused, Setup, Tokens, USER, Vault, delete, get, spec, status};
use prost::Message as _;

async fn connect_in(vault: &Vault, tenant: &str) -> Tokens {
    let tokens = vault.tokens();
    let request = StoreTokenRequest { tenant: tenant.to_owned(), ..tokens.request("plain", 3_600) };
    vault.as_engine("broker").call(request).await.unwrap();
    tokens
}

fn get_in(tenant: &str) -> GetTokenRequest {
    GetTokenRequest { tenant: tenant.to_owned(), ..get("plain") }
}

fn status_in(tenant: &str) -> GetStatusRequest {
    GetStatusRequest { tenant: tenant.to_owned(), ..status(&["plain"]) }
}

fn delete_in(tenant: &str) -> DeleteTokenRequest {
    DeleteTokenRequest { tenant: tenant.to_owned(), ..delete("plain") }
}

/// Every method, about this tenant.
async fn refusals(vault: &Vault, caller: &Caller, tenant: &str) -> Vec<Refused> {
    let store = StoreTokenRequest { tenant: tenant.to_owned(), ..vault.tokens().request("plain", 3_600) };
    let batch = BatchGetStatusRequest {
        tenant: tenant.to_owned(),
        user_ids: vec![USER.to_owned()],
        ..BatchGetStatusRequest::default()
    };
    let list = ListTokensRequest { tenant: tenant.to_owned(), ..ListTokensRequest::default() };
    let watch = WatchStatusRequest { tenant: tenant.to_owned(), ..WatchStatusRequest::default() };
    let asked = [
        (StoreTokenRequest::PATH, store.encode_to_vec()),
        (GetTokenRequest::PATH, get_in(tenant).encode_to_vec()),
        (GetStatusRequest::PATH, status_in(tenant).encode_to_vec()),
        (BatchGetStatusRequest::PATH, batch.encode_to_vec()),
        (ListTokensRequest::PATH, list.encode_to_vec()),
        (WatchStatusRequest::PATH, watch.encode_to_vec()),
        (DeleteTokenRequest::PATH, delete_in(tenant).encode_to_vec()),
    ];
    let mut refused = Vec::new();
    for (path, message) in asked {
        let answer = caller.send(path, message).await;
        refused.push(answer.err().unwrap_or_else(|| panic!("{path} let a stranger into `{tenant}`")));
    }
    refused
}

#[test]
fn an_engine_of_one_tenant_need_not_name_it() {
    spec(async |vault| {
        let (acme, tokens) = (vault.as_engine("acme"), vault.tokens());
        acme.call(tokens.request("plain", 3_600)).await.unwrap();
        assert_eq!(acme.call(get("plain")).await.unwrap().access_token, tokens.access);
        assert_eq!(acme.call(get_in("acme")).await.unwrap().access_token, tokens.access);
        assert_eq!(vault.as_engine("local").call(get("plain")).await.unwrap_err().code, Code::NotFound);
    });
}

#[test]
fn an_engine_of_several_tenants_has_to_name_one() {
    spec(async |vault| {
        for refused in refusals(vault, &vault.as_engine("broker"), "").await {
            assert_eq!(refused.told(), (Code::InvalidArgument, "invalid_request", "fix_request"));
            assert_eq!(refused.fields, ["tenant"]);
        }
    });
}

#[test]
fn the_same_user_of_two_tenants_is_two_users() {
    spec(async |vault| {
        let (acme, globex) = (connect_in(vault, "acme").await, connect_in(vault, "globex").await);
        let broker = vault.as_engine("broker");
        assert_eq!(broker.call(get_in("acme")).await.unwrap().access_token, acme.access);
        assert_eq!(broker.call(get_in("globex")).await.unwrap().access_token, globex.access);
        assert!(broker.call(delete_in("acme")).await.unwrap().deleted);
        assert_eq!(broker.call(get_in("acme")).await.unwrap_err().code, Code::NotFound);
        assert_eq!(broker.call(get_in("globex")).await.unwrap().access_token, globex.access);
        for (tenant, expected) in [("acme", "missing"), ("globex", "active")] {
            let told = broker.call(status_in(tenant)).await.unwrap().connected_platforms;
            assert_eq!(told[0].status, expected, "{tenant}");
        }
    });
}

#[test]
fn two_tenants_refresh_side_by_side() {
    spec(async |vault| {
        let broker = vault.as_engine("broker");
        for tenant in ["acme", "globex"] {
            let (old, new) = (connect_in(vault, tenant).await, vault.tokens());
            vault.provider().will(new.answer());
            let forced = GetTokenRequest { force_refresh: true, ..get_in(tenant) };
            assert_eq!(broker.call(forced).await.unwrap().access_token, new.access);
            assert_eq!(vault.redeemed().last(), Some(&old.refresh));
        }
    });
}

#[test]
fn a_foreign_tenant_is_not_permitted_whether_it_exists_or_not() {
    spec(async |vault| {
        connect_in(vault, "globex").await;
        let acme = vault.as_engine("acme");
        let first = acme.call(get_in("globex")).await.unwrap_err();
        assert_eq!(first.told(), (Code::PermissionDenied, "not_permitted", "contact_operator"));
        for tenant in ["globex", "default", "nobody", "system", "ACME", "acme ", "acme/../globex", "*"] {
            for refused in refusals(vault, &acme, tenant).await {
                assert_eq!(refused.face(), first.face(), "`{tenant}`");
            }
        }
    });
}

#[test]
fn a_foreign_tenant_is_refused_before_the_store_is_asked() {
    Setup::default().on_redis().run(async |vault| {
        connect_in(vault, "globex").await;
        let before = vault.store_calls();
        refusals(vault, &vault.as_engine("acme"), "globex").await;
        assert!(vault.store_calls_since(&before).is_empty());
    });
}
