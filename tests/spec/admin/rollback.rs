//! A store that goes back in time revives nobody.

use tonic::Code;
use vault_engine::pb::vault_v1::RevokeKeyRequest;

use super::{Made, allowing, engine};
use crate::harness::{Setup, Vault, get, until};

fn on_redis(test: impl AsyncFnOnce(&Vault)) {
    Setup::default().on_redis().with("REGISTRY__ENABLED", "true").with("REGISTRY__REFRESH_SECONDS", "1").run(test);
}

async fn code(vault: &Vault, made: &Made) -> Code {
    made.caller(vault).call(get("plain")).await.unwrap_err().code
}

async fn revoke(vault: &Vault, made: &Made) {
    vault.as_engine("admin").call(RevokeKeyRequest { name: made.key.name.clone() }).await.unwrap();
}

fn alarms(vault: &Vault) -> usize {
    vault.alarms().iter().filter(|(_, reason)| reason == "record_rollback").count()
}

#[test]
fn a_registry_that_was_set_back_revives_no_key_here_nor_where_the_vault_starts() {
    on_redis(async |vault| {
        let made = engine(vault, "acme", "sync2", allowing(&["get"])).await;
        assert_eq!(code(vault, &made).await, Code::NotFound);
        let drawer = vault.tenant_drawer("acme");
        let before = drawer.read("#registry");
        revoke(vault, &made).await;
        drawer.write("#registry", &before);
        assert_eq!(code(vault, &made).await, Code::Unauthenticated);
        let again = RevokeKeyRequest { name: made.key.name.clone() };
        let told = vault.as_engine("admin").call(again).await.unwrap_err();
        assert_eq!(told.told(), (Code::DataLoss, "record_corrupt", "contact_operator"));
        assert_eq!(code(vault, &made).await, Code::Unauthenticated);
        // One that starts has seen nothing, but for what the document of the installation says.
        assert_eq!(alarms(vault), 0);
        vault.restart().await;
        assert_eq!(code(vault, &made).await, Code::Unauthenticated);
        assert!(alarms(vault) > 0);
    });
}

#[test]
fn a_registry_in_the_place_of_another_tenant_s_or_altered_opens_for_nobody() {
    on_redis(async |vault| {
        let acme = engine(vault, "acme", "sync2", allowing(&["get"])).await;
        let globex = engine(vault, "globex", "sync2", allowing(&["get"])).await;
        let (of_acme, of_globex) = (vault.tenant_drawer("acme"), vault.tenant_drawer("globex"));
        let (theirs, own) = (of_acme.read("#registry"), of_globex.read("#registry"));
        of_globex.write("#registry", &theirs);
        vault.restart().await;
        assert_eq!(code(vault, &globex).await, Code::Unauthenticated);
        assert_eq!(code(vault, &acme).await, Code::NotFound);
        for at in [own.len() / 2, own.len() - 1] {
            let mut altered = own.clone();
            altered[at] ^= 1;
            of_globex.write("#registry", &altered);
            vault.restart().await;
            assert_eq!(code(vault, &globex).await, Code::Unauthenticated, "{at}");
        }
        of_globex.write("#registry", &own);
        until("the registry as it was", async || (code(vault, &globex).await == Code::NotFound).then_some(())).await;
    });
}
