//! The status of a user's connections: one complete snapshot.

use serde_json::json;
use tonic::Code;
use vault_engine::pb::vault_v1::{GetStatusRequest, PlatformStatus};

use crate::harness::{Caller, Setup, delete, get, now, spec, status, until};
use crate::provider::{Answer, Gate};

/// Every enabled platform, sorted.
const ENABLED: [&str; 10] =
    ["fixed", "gmail", "keeping", "lasting", "notion", "paired", "plain", "rotating", "unreachable", "unregistered"];

async fn only(caller: &Caller, platform: &str) -> PlatformStatus {
    let mut told = caller.call(status(&[platform])).await.unwrap().connected_platforms;
    assert_eq!(told.len(), 1);
    told.remove(0)
}

/// Status, reason and suggested action.
fn words(told: &PlatformStatus) -> (&str, &str, &str) {
    (&told.status, &told.reason, &told.suggested_action)
}

#[test]
fn a_snapshot_has_every_enabled_platform_once_sorted() {
    spec(async |vault| {
        vault.connect("rotating", 3_600).await;
        let told = vault.as_engine("sync").call(status(&[])).await.unwrap().connected_platforms;
        let platforms: Vec<_> = told.iter().map(|told| told.platform.as_str()).collect();
        assert_eq!(platforms, ENABLED);
        for told in told {
            let active = told.platform == "rotating";
            let expected = if active { ("active", "", "none") } else { ("missing", "", "connect") };
            assert_eq!(words(&told), expected, "{}", told.platform);
        }
    });
}

#[test]
fn a_snapshot_can_be_narrowed() {
    spec(async |vault| {
        let told = vault.as_engine("sync").call(status(&["rotating", "plain", "rotating"])).await.unwrap();
        let platforms: Vec<_> = told.connected_platforms.iter().map(|told| told.platform.as_str()).collect();
        assert_eq!(platforms, ["plain", "rotating"]);
    });
}

#[test]
fn a_platform_that_is_not_enabled_is_refused() {
    spec(async |vault| {
        for platform in ["slack", "nowhere"] {
            let refused = vault.as_engine("sync").call(status(&["plain", platform])).await.unwrap_err();
            assert_eq!(refused.told(), (Code::InvalidArgument, "invalid_request", "fix_request"));
            assert_eq!(refused.fields, ["platform"]);
        }
    });
}

#[test]
fn platforms_have_names_for_people() {
    spec(async |vault| {
        let told = vault.as_engine("sync").call(status(&["plain", "rotating", "gmail"])).await.unwrap();
        let names: Vec<_> = told.connected_platforms.iter().map(|told| told.display_name.as_str()).collect();
        assert_eq!(names, ["Gmail", "Plain Mail", "Rotating"]);
    });
}

#[test]
fn a_connection_says_when_its_token_expires_and_what_it_may() {
    spec(async |vault| {
        let request = vault.tokens().request("plain", 3_600);
        vault.as_engine("sync").call(request.clone()).await.unwrap();
        let told = only(&vault.as_engine("sync"), "plain").await;
        assert_eq!((told.expires_at, told.scopes, told.last_refresh), (request.expires_at, request.scopes, None));
    });
}

#[test]
fn an_expired_token_that_can_be_renewed_is_active() {
    spec(async |vault| {
        vault.connect("plain", -60).await;
        assert_eq!(words(&only(&vault.as_engine("sync"), "plain").await), ("active", "", "none"));
    });
}

#[test]
fn an_expired_token_that_cannot_be_renewed_is_expired() {
    spec(async |vault| {
        vault.connect("fixed", -60).await;
        assert_eq!(words(&only(&vault.as_engine("sync"), "fixed").await), ("expired", "not_refreshable", "reauth"));
    });
}

#[test]
fn an_expired_token_of_a_platform_without_a_client_is_the_operator_s_business() {
    spec(async |vault| {
        vault.connect("unregistered", -60).await;
        let told = only(&vault.as_engine("sync"), "unregistered").await;
        assert_eq!(words(&told), ("expired", "app_misconfigured", "contact_operator"));
    });
}

#[test]
fn a_refresh_is_told_of() {
    spec(async |vault| {
        vault.connect("plain", -60).await;
        vault.provider().will(vault.tokens().answer());
        let sync = vault.as_engine("sync");
        sync.call(get("plain")).await.unwrap();
        let told = only(&sync, "plain").await;
        assert_eq!(words(&told), ("active", "", "none"));
        let last = told.last_refresh.unwrap();
        assert_eq!((last.outcome.as_str(), last.cause.as_str()), ("renewed", ""));
        assert!((0..5).contains(&(now() - last.at)), "{}", last.at);
    });
}

#[test]
fn a_platform_in_trouble_is_told_of() {
    spec(async |vault| {
        vault.connect("plain", -60).await;
        vault.provider().will(Answer::text(503, ""));
        let sync = vault.as_engine("sync");
        sync.call(get("plain")).await.unwrap_err();
        let told = only(&sync, "plain").await;
        assert_eq!(words(&told), ("active", "provider_outage", "retry"));
        let last = told.last_refresh.unwrap();
        assert_eq!((last.outcome.as_str(), last.cause.as_str()), ("failed", "provider_outage"));
    });
}

#[test]
fn a_dead_grant_is_expired_and_says_why() {
    spec(async |vault| {
        vault.connect("plain", -60).await;
        vault.provider().will(Answer::json(400, &json!({ "error": "invalid_grant" })));
        let sync = vault.as_engine("sync");
        sync.call(get("plain")).await.unwrap_err();
        let told = only(&sync, "plain").await;
        assert_eq!(words(&told), ("expired", "grant_refused", "reauth"));
        let last = told.last_refresh.unwrap();
        assert_eq!((last.outcome.as_str(), last.cause.as_str()), ("dead", "grant_refused"));
    });
}

#[test]
fn a_snapshot_during_a_refresh_is_answered_at_once() {
    spec(async |vault| {
        vault.connect("rotating", -60).await;
        let gate = Gate::closed();
        vault.provider().will(vault.tokens().answer().behind(&gate));
        let sync = vault.as_engine("sync");
        let look = async {
            vault.provider().has_seen(1).await;
            let told = only(&sync, "rotating").await;
            gate.open();
            told
        };
        let (got, told) = futures_util::future::join(sync.call(get("rotating")), look).await;
        got.unwrap();
        assert_eq!(words(&told), ("active", "", "none"));
    });
}

#[test]
fn the_platforms_of_other_users_are_not_in_a_snapshot() {
    spec(async |vault| {
        vault.connect("plain", 3_600).await;
        // Names that begin or end with one another.
        for user in ["u", "u10", "u1.", "uu1"] {
            let request = GetStatusRequest { user_id: user.to_owned(), ..status(&[]) };
            let told = vault.as_engine("sync").call(request).await.unwrap().connected_platforms;
            assert!(told.iter().all(|told| told.status == "missing"), "{user}");
        }
    });
}

#[test]
fn a_snapshot_is_one_round_trip_to_the_store() {
    Setup::default().on_redis().run(async |vault| {
        for platform in ["plain", "rotating", "keeping", "lasting"] {
            vault.connect(platform, 3_600).await;
        }
        vault.as_engine("local").call(delete("keeping")).await.unwrap();
        // With nothing in memory: not even the keys.
        vault.restart().await;
        let sync = vault.as_engine("sync");
        sync.call(GetStatusRequest { user_id: "somebody-else".to_owned(), ..status(&[]) }).await.unwrap();
        let before = vault.store_calls();
        sync.call(status(&[])).await.unwrap();
        let asked = vault.store_calls_since(&before);
        // The keys of the tenant are fetched for the first user of a tenant, and not again.
        assert_eq!(asked.get("hgetall"), Some(&1), "{asked:?}");
        let before = vault.store_calls();
        sync.call(status(&[])).await.unwrap();
        let asked = vault.store_calls_since(&before);
        assert_eq!(asked.into_iter().collect::<Vec<_>>(), [("hgetall".to_owned(), 1)]);
    });
}

#[test]
fn a_platform_at_rest_is_told_of_until_it_answers_again() {
    Setup::default().with("REFRESH__BACKOFF_BASE_SECONDS", "1").run(async |vault| {
        vault.connect("keeping", -60).await;
        vault.provider().will(Answer::text(503, ""));
        vault.provider().will(vault.tokens().answer());
        let sync = vault.as_engine("sync");
        sync.call(get("keeping")).await.unwrap_err();
        assert_eq!(words(&only(&sync, "keeping").await), ("active", "provider_outage", "retry"));
        until("the end of the rest", async || sync.call(get("keeping")).await.ok()).await;
        assert_eq!(words(&only(&sync, "keeping").await), ("active", "", "none"));
    });
}
