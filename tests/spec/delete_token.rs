//! Forgetting tokens, also while they are being renewed.

use serde_json::json;
use tonic::Code;

use crate::harness::{delete, get, spec, status};
use crate::provider::{Answer, Gate};

#[test]
fn what_is_deleted_is_gone() {
    spec(async |vault| {
        vault.connect("plain", 3_600).await;
        let local = vault.as_engine("local");
        assert!(local.call(delete("plain")).await.unwrap().deleted);
        let refused = local.call(get("plain")).await.unwrap_err();
        assert_eq!(refused.told(), (Code::NotFound, "token_missing", "connect"));
        let told = local.call(status(&["plain"])).await.unwrap().connected_platforms;
        assert_eq!((told[0].status.as_str(), told[0].expires_at, told[0].scopes.len()), ("missing", 0, 0));
    });
}

#[test]
fn deleting_again_and_deleting_nothing_succeed_and_say_so() {
    spec(async |vault| {
        let local = vault.as_engine("local");
        assert!(!local.call(delete("plain")).await.unwrap().deleted);
        vault.connect("plain", 3_600).await;
        assert!(local.call(delete("plain")).await.unwrap().deleted);
        for _ in 0..2 {
            assert!(!local.call(delete("plain")).await.unwrap().deleted);
        }
    });
}

#[test]
fn a_deleted_and_a_missing_token_are_answered_alike() {
    spec(async |vault| {
        vault.connect("plain", 3_600).await;
        let local = vault.as_engine("local");
        local.call(delete("plain")).await.unwrap();
        let (deleted, missing) =
            (local.call(get("plain")).await.unwrap_err(), local.call(get("rotating")).await.unwrap_err());
        assert_eq!(deleted.face(), missing.face());
    });
}

#[test]
fn the_other_platforms_stay() {
    spec(async |vault| {
        vault.connect("plain", 3_600).await;
        let other = vault.connect("rotating", 3_600).await;
        let local = vault.as_engine("local");
        local.call(delete("plain")).await.unwrap();
        assert_eq!(local.call(get("rotating")).await.unwrap().access_token, other.access);
    });
}

#[test]
fn after_a_deletion_the_user_can_connect_again_and_versions_keep_growing() {
    spec(async |vault| {
        vault.connect("plain", 3_600).await;
        let local = vault.as_engine("local");
        local.call(delete("plain")).await.unwrap();
        let tokens = vault.tokens();
        let stored = local.call(tokens.request("plain", 3_600)).await.unwrap();
        assert_eq!((stored.version, stored.replaced), (3, false));
        assert_eq!(local.call(get("plain")).await.unwrap().access_token, tokens.access);
    });
}

#[test]
fn a_refresh_in_flight_does_not_bring_the_token_back() {
    spec(async |vault| {
        vault.connect("rotating", -60).await;
        let gate = Gate::closed();
        vault.provider().will(vault.tokens().answer().behind(&gate));
        let local = vault.as_engine("local");
        let deletion = async {
            vault.provider().has_seen(1).await;
            assert!(local.call(delete("rotating")).await.unwrap().deleted);
            gate.open();
        };
        let (waited, ()) = futures_util::future::join(local.call(get("rotating")), deletion).await;
        assert_eq!(waited.unwrap_err().told(), (Code::NotFound, "token_missing", "connect"));
        let later = local.call(get("rotating")).await.unwrap_err();
        assert_eq!(later.told(), (Code::NotFound, "token_missing", "connect"));
        assert_eq!(vault.provider().requests().len(), 1);
    });
}

#[test]
fn a_dead_grant_can_be_deleted() {
    spec(async |vault| {
        vault.connect("plain", -60).await;
        vault.provider().will(Answer::json(400, &json!({ "error": "invalid_grant" })));
        let local = vault.as_engine("local");
        local.call(get("plain")).await.unwrap_err();
        assert!(local.call(delete("plain")).await.unwrap().deleted);
        assert_eq!(local.call(get("plain")).await.unwrap_err().code, Code::NotFound);
    });
}

#[test]
fn a_deletion_survives_a_restart() {
    spec(async |vault| {
        vault.connect("plain", 3_600).await;
        vault.as_engine("local").call(delete("plain")).await.unwrap();
        vault.restart().await;
        assert_eq!(vault.as_engine("local").call(get("plain")).await.unwrap_err().code, Code::NotFound);
    });
}
