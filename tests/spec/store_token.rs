//! Storing tokens: what is kept, and what replacing means.

use futures_util::future::join_all;
use prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage};
use serde_json::json;
use tonic::Code;
use vault_engine::pb::DESCRIPTORS;
use vault_engine::pb::vault_v1::{GetTokenRequest, StoreTokenRequest, StoreTokenResponse};

use crate::harness::{Ask as _, delete, get, spec};
use crate::provider::{Answer, Gate};

#[test]
fn the_documented_example_is_stored_as_it_stands() {
    const EXAMPLE: &str = r#"{"user_id":"u1","platform":"gmail","access_token":"abcd","refresh_token":"r1","expires_at":1700000000,"scopes":["email"]}"#;
    spec(async |vault| {
        let pool = DescriptorPool::decode(DESCRIPTORS).unwrap();
        let request = pool.get_message_by_name("vault.v1.StoreTokenRequest").unwrap();
        let parsed = DynamicMessage::deserialize(request, &mut serde_json::Deserializer::from_str(EXAMPLE)).unwrap();
        let stored = vault.as_engine("sync").send(StoreTokenRequest::PATH, parsed.encode_to_vec()).await.unwrap();
        let stored = StoreTokenResponse::decode(stored.body).unwrap();
        assert_eq!(stored, StoreTokenResponse { version: 1, replaced: false, refreshable: true });
    });
}

#[test]
fn what_is_stored_is_handed_out() {
    spec(async |vault| {
        let tokens = vault.tokens();
        let request = StoreTokenRequest { scopes: vec!["b".into(), "a".into()], ..tokens.request("plain", 3_600) };
        vault.as_engine("sync").call(request.clone()).await.unwrap();
        let got = vault.as_engine("action").call(get("plain")).await.unwrap();
        assert_eq!((got.access_token, got.expires_at, got.scopes), (tokens.access, request.expires_at, request.scopes));
    });
}

#[test]
fn a_new_consent_replaces_what_was_stored() {
    spec(async |vault| {
        let sync = vault.as_engine("sync");
        for version in 1..=3 {
            let tokens = vault.tokens();
            let stored = sync.call(tokens.request("plain", 3_600)).await.unwrap();
            assert_eq!((stored.version, stored.replaced), (version, version > 1));
            let got = vault.as_engine("action").call(get("plain")).await.unwrap();
            assert_eq!((got.access_token, got.version), (tokens.access, version));
        }
    });
}

#[test]
fn platforms_of_one_user_are_stored_side_by_side() {
    spec(async |vault| {
        let (plain, rotating) = (vault.connect("plain", 3_600).await, vault.connect("rotating", 3_600).await);
        let action = vault.as_engine("action");
        assert_eq!(action.call(get("plain")).await.unwrap().access_token, plain.access);
        assert_eq!(action.call(get("rotating")).await.unwrap().access_token, rotating.access);
    });
}

#[test]
fn of_many_who_store_at_once_each_gets_a_version_of_its_own() {
    spec(async |vault| {
        let sync = vault.as_engine("sync");
        let stored = join_all((0..6).map(|_| sync.call(vault.tokens().request("plain", 3_600)))).await;
        let mut versions: Vec<_> = stored.into_iter().map(|stored| stored.unwrap().version).collect();
        versions.sort_unstable();
        assert_eq!(versions, [1, 2, 3, 4, 5, 6]);
    });
}

#[test]
fn only_what_the_vault_can_renew_is_refreshable() {
    spec(async |vault| {
        let sync = vault.as_engine("sync");
        let table =
            [("plain", true, true), ("plain", false, false), ("fixed", true, false), ("unregistered", true, false)];
        for (platform, with_refresh_token, refreshable) in table {
            let mut request = vault.tokens().request(platform, 3_600);
            if !with_refresh_token {
                request.refresh_token.clear();
            }
            let stored = sync.call(request).await.unwrap();
            assert_eq!(stored.refreshable, refreshable, "{platform}, refresh token: {with_refresh_token}");
        }
    });
}

#[test]
fn a_platform_that_is_not_enabled_is_refused() {
    spec(async |vault| {
        // `slack` has a profile and is not enabled; the other one nobody knows.
        for platform in ["slack", "nowhere"] {
            let request = vault.tokens().request(platform, 3_600);
            let refused = vault.as_engine("sync").call(request).await.unwrap_err();
            assert_eq!(refused.told(), (Code::InvalidArgument, "invalid_request", "fix_request"));
            assert_eq!(refused.fields, ["platform"]);
        }
    });
}

/// The refresh token that is used next is this one.
async fn is_used_next(vault: &crate::harness::Vault, refresh_token: &str) {
    vault.provider().will(vault.tokens().answer());
    let forced = GetTokenRequest { force_refresh: true, ..get("plain") };
    vault.as_engine("action").call(forced).await.unwrap();
    assert_eq!(vault.redeemed().last().unwrap(), refresh_token);
}

#[test]
fn the_refresh_token_can_be_kept_when_a_consent_brings_none() {
    spec(async |vault| {
        let first = vault.connect("plain", 3_600).await;
        let mut again = vault.tokens().request("plain", 3_600);
        again.refresh_token.clear();
        let stored =
            vault.as_engine("sync").call(StoreTokenRequest { keep_refresh_token: true, ..again }).await.unwrap();
        assert!(stored.refreshable);
        is_used_next(vault, &first.refresh).await;
    });
}

#[test]
fn the_refresh_token_is_not_kept_unless_that_is_asked_for() {
    spec(async |vault| {
        vault.connect("plain", 3_600).await;
        let mut again = vault.tokens().request("plain", -60);
        again.refresh_token.clear();
        let stored = vault.as_engine("sync").call(again).await.unwrap();
        assert!(!stored.refreshable);
        let refused = vault.as_engine("action").call(get("plain")).await.unwrap_err();
        assert_eq!((refused.code, refused.cause.as_str()), (Code::FailedPrecondition, "not_refreshable"));
    });
}

#[test]
fn a_new_refresh_token_goes_before_the_one_that_may_be_kept() {
    spec(async |vault| {
        vault.connect("plain", 3_600).await;
        let second = vault.tokens();
        let again = StoreTokenRequest { keep_refresh_token: true, ..second.request("plain", 3_600) };
        vault.as_engine("sync").call(again).await.unwrap();
        is_used_next(vault, &second.refresh).await;
    });
}

#[test]
fn nothing_is_kept_where_nothing_was_or_where_it_was_deleted() {
    spec(async |vault| {
        let local = vault.as_engine("local");
        let mut bare = StoreTokenRequest { keep_refresh_token: true, ..vault.tokens().request("plain", 3_600) };
        bare.refresh_token.clear();
        assert!(!local.call(bare.clone()).await.unwrap().refreshable);
        vault.connect("plain", 3_600).await;
        local.call(delete("plain")).await.unwrap();
        assert!(!local.call(bare).await.unwrap().refreshable);
    });
}

#[test]
fn a_new_consent_revives_a_dead_grant() {
    spec(async |vault| {
        vault.connect("plain", -60).await;
        vault.provider().will(Answer::json(400, &json!({ "error": "invalid_grant" })));
        vault.as_engine("action").call(get("plain")).await.unwrap_err();
        let new = vault.connect("plain", 3_600).await;
        assert_eq!(vault.as_engine("action").call(get("plain")).await.unwrap().access_token, new.access);
    });
}

#[test]
fn a_consent_during_a_refresh_is_what_counts() {
    spec(async |vault| {
        vault.connect("rotating", -60).await;
        let (late, gate) = (vault.tokens(), Gate::closed());
        vault.provider().will(late.answer().behind(&gate));
        let action = vault.as_engine("action");
        let consent = async {
            vault.provider().has_seen(1).await;
            let consented = vault.connect("rotating", 3_600).await;
            gate.open();
            consented
        };
        let (waited, consented) = futures_util::future::join(action.call(get("rotating")), consent).await;
        assert_eq!(waited.unwrap().access_token, consented.access);
        assert_eq!(action.call(get("rotating")).await.unwrap().access_token, consented.access);
    });
}
