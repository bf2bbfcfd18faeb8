//! Switching off: one engine, or everything of a tenant.

use tonic::Code;
use vault_engine::pb::vault_v1::{GetTenantRequest, WatchStatusRequest};

use super::{Made, allowing, engine, switch_engine, switch_tenant};
use crate::harness::{Caller, Vault, get, spec, until};
use vault_engine::pb::vault_v1::GetTokenRequest;

async fn code(caller: &Caller, tenant: &str) -> Code {
    let request = GetTokenRequest { tenant: tenant.to_owned(), ..get("plain") };
    caller.call(request).await.err().map_or(Code::Ok, |refused| refused.code)
}

/// Waits until each instance answers so.
async fn everywhere(vault: &Vault, made: &Made, tenant: &str, expected: Code) {
    for caller in made.callers(vault) {
        until("the same answer everywhere", async || (code(&caller, tenant).await == expected).then_some(())).await;
    }
}

#[test]
fn an_engine_that_is_switched_off_is_refused_everywhere_until_it_is_switched_on() {
    spec(async |vault| {
        vault.start_another().await;
        let made = engine(vault, "default", "sync2", allowing(&["get", "watch"])).await;
        everywhere(vault, &made, "", Code::NotFound).await;
        let mut stream = made.caller(vault).watch(WatchStatusRequest::default()).await.unwrap();
        switch_engine(vault, &made.engine, true).await;
        let switched_at = tokio::time::Instant::now();
        everywhere(vault, &made, "", Code::Unauthenticated).await;
        while let Some(Ok(_)) = stream.next().await {}
        assert!(switched_at.elapsed().as_secs() < 5, "{:?}", switched_at.elapsed());
        let refused = made.caller(vault).call(get("plain")).await.unwrap_err();
        assert_eq!(vault.audit_of(&refused.request_id).await["reason"], "engine_disabled");
        switch_engine(vault, &made.engine, false).await;
        everywhere(vault, &made, "", Code::NotFound).await;
    });
}

#[test]
fn a_tenant_that_is_switched_off_is_closed_to_its_engines_and_to_all_others() {
    spec(async |vault| {
        vault.start_another().await;
        let own = engine(vault, "acme", "sync2", allowing(&["get"])).await;
        let elsewhere = engine(vault, "globex", "sync2", allowing(&["get"])).await;
        everywhere(vault, &own, "", Code::NotFound).await;
        everywhere(vault, &elsewhere, "", Code::NotFound).await;
        let broker = vault.as_engine("broker");
        let about = WatchStatusRequest { tenant: "acme".to_owned(), ..WatchStatusRequest::default() };
        let mut stream = broker.watch(about).await.unwrap();
        switch_tenant(vault, "acme", true).await;
        everywhere(vault, &own, "", Code::Unauthenticated).await;
        assert_eq!(code(&broker, "acme").await, Code::PermissionDenied);
        assert_eq!(code(&broker, "globex").await, Code::NotFound);
        everywhere(vault, &elsewhere, "", Code::NotFound).await;
        loop {
            match stream.next().await.unwrap() {
                Ok(_) => {}
                Err(cut) => break assert_eq!(cut.code, Code::PermissionDenied),
            }
        }
        let refused = own.caller(vault).call(get("plain")).await.unwrap_err();
        assert_eq!(vault.audit_of(&refused.request_id).await["reason"], "tenant_disabled");
        // Who administers it goes on.
        let name = "tenants/acme".to_owned();
        assert!(vault.as_engine("admin").call(GetTenantRequest { name }).await.unwrap().disabled);
        switch_tenant(vault, "acme", false).await;
        everywhere(vault, &own, "", Code::NotFound).await;
    });
}
