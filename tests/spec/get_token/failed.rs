//! Tokens that cannot be renewed, and what the caller is told to do about it.

use std::time::Duration;

use serde_json::json;
use tonic::Code;
use vault_engine::pb::vault_v1::GetTokenRequest;

use crate::harness::{Setup, Vault, get, spec, until};
use crate::provider::Answer;

/// The platform refuses the grant, and says a secret while it does.
fn invalid_grant(vault: &Vault) -> Answer {
    let said = json!({ "error": "invalid_grant", "error_description": vault.secret("description") });
    Answer::json(400, &said)
}

/// The platform is in trouble, and says a secret while it is.
fn outage(vault: &Vault) -> Answer {
    Answer::text(503, &vault.secret("error-page"))
}

#[test]
fn a_grant_the_platform_refuses_asks_for_a_new_consent() {
    spec(async |vault| {
        vault.connect("plain", -60).await;
        vault.provider().will(invalid_grant(vault));
        let refused = vault.as_engine("action").call(get("plain")).await.unwrap_err();
        assert_eq!(refused.told(), (Code::FailedPrecondition, "expired_token", "reauth"));
        assert_eq!((refused.reason.as_str(), refused.domain.as_str()), ("EXPIRED_TOKEN", "vault-engine"));
        assert_eq!((refused.cause.as_str(), refused.retry_after), ("grant_refused", None));
    });
}

#[test]
fn a_dead_grant_is_not_shown_to_the_platform_again() {
    spec(async |vault| {
        vault.connect("plain", -60).await;
        vault.provider().will(invalid_grant(vault));
        let action = vault.as_engine("action");
        for force_refresh in [false, false, true] {
            let refused = action.call(GetTokenRequest { force_refresh, ..get("plain") }).await.unwrap_err();
            assert_eq!(refused.told(), (Code::FailedPrecondition, "expired_token", "reauth"));
        }
        assert_eq!(vault.provider().requests().len(), 1);
    });
}

#[test]
fn an_expired_token_is_unavailable_while_the_platform_is_down() {
    spec(async |vault| {
        vault.connect("plain", -60).await;
        vault.provider().will(outage(vault));
        let refused = vault.as_engine("action").call(get("plain")).await.unwrap_err();
        assert_eq!(refused.told(), (Code::Unavailable, "provider_unavailable", "retry"));
        assert_eq!(refused.cause, "provider_outage");
        assert!((24..=30).contains(&refused.retry_after.unwrap().as_secs()), "{:?}", refused.retry_after);
    });
}

#[test]
fn a_platform_that_nobody_can_reach_is_down() {
    spec(async |vault| {
        vault.connect("unreachable", -60).await;
        let refused = vault.as_engine("action").call(get("unreachable")).await.unwrap_err();
        assert_eq!(refused.told(), (Code::Unavailable, "provider_unavailable", "retry"));
        assert!(refused.retry_after.is_some());
    });
}

#[test]
fn a_platform_that_hangs_up_is_down() {
    spec(async |vault| {
        vault.connect("plain", -60).await;
        vault.provider().will(Answer::raw(""));
        let refused = vault.as_engine("action").call(get("plain")).await.unwrap_err();
        assert_eq!(refused.told(), (Code::Unavailable, "provider_unavailable", "retry"));
    });
}

#[test]
fn a_platform_that_answers_nonsense_is_down() {
    spec(async |vault| {
        vault.connect("plain", -60).await;
        vault.provider().will(Answer::text(200, &vault.secret("nonsense")));
        let refused = vault.as_engine("action").call(get("plain")).await.unwrap_err();
        assert_eq!(refused.told(), (Code::Unavailable, "provider_unavailable", "retry"));
        assert_eq!(refused.cause, "malformed_answer");
    });
}

#[test]
fn a_platform_that_asks_to_slow_down_says_for_how_long() {
    spec(async |vault| {
        vault.connect("plain", -60).await;
        vault.provider().will(Answer::text(429, "").header("retry-after", "7"));
        let refused = vault.as_engine("action").call(get("plain")).await.unwrap_err();
        assert_eq!(refused.told(), (Code::Unavailable, "provider_unavailable", "retry"));
        assert_eq!((refused.cause.as_str(), refused.retry_after), ("throttled", Some(Duration::from_secs(7))));
    });
}

#[test]
fn a_valid_token_is_handed_out_with_a_warning_while_the_platform_is_down() {
    spec(async |vault| {
        let old = vault.connect("plain", 4).await;
        vault.provider().will(outage(vault));
        let action = vault.as_engine("action");
        let warned = until("a warning", async || {
            let got = action.call(get("plain")).await.unwrap();
            assert_eq!(got.access_token, old.access);
            (!got.warning.is_empty()).then_some(got)
        })
        .await;
        assert_eq!((warned.warning.as_str(), warned.refreshed), ("provider_outage", false));
    });
}

#[test]
fn a_token_too_short_for_the_caller_is_better_than_none() {
    spec(async |vault| {
        let old = vault.connect("plain", 4).await;
        vault.provider().will(outage(vault));
        let action = vault.as_engine("action");
        let warned = until("a warning", async || {
            let got = action.call(GetTokenRequest { min_ttl_seconds: 60, ..get("plain") }).await.unwrap();
            (!got.warning.is_empty()).then_some(got)
        })
        .await;
        assert_eq!((warned.access_token, warned.warning.as_str()), (old.access, "provider_outage"));
    });
}

#[test]
fn whoever_forces_a_renewal_does_not_get_the_old_token_back() {
    spec(async |vault| {
        vault.connect("plain", 3_600).await;
        vault.provider().will(outage(vault));
        let forced = GetTokenRequest { force_refresh: true, ..get("plain") };
        let refused = vault.as_engine("action").call(forced).await.unwrap_err();
        assert_eq!(refused.told(), (Code::Unavailable, "provider_unavailable", "retry"));
    });
}

#[test]
fn while_a_connection_rests_the_platform_is_not_asked() {
    let setup = Setup::default().with("REFRESH__BACKOFF_BASE_SECONDS", "1").with("REFRESH__BACKOFF_MAX_SECONDS", "60");
    setup.run(async |vault| {
        vault.connect("keeping", -60).await;
        vault.provider().otherwise(|_| Answer::text(503, ""));
        let action = vault.as_engine("action");
        let waits = async |requests: usize| {
            // As often as anybody asks until the rest is over.
            until("the next attempt", async || {
                let refused = action.call(get("keeping")).await.unwrap_err();
                assert_eq!(refused.told(), (Code::Unavailable, "provider_unavailable", "retry"));
                let asked = vault.provider().requests().len();
                assert!(asked <= requests, "asked {asked} times");
                (asked == requests).then(|| refused.retry_after.unwrap())
            })
            .await
        };
        // A rest may end up to a fifth sooner, and never in less than a second.
        assert_eq!(waits(1).await, Duration::from_secs(1));
        let second = waits(2).await;
        assert!((Duration::from_millis(1_600)..=Duration::from_secs(2)).contains(&second), "{second:?}");
        let refused = action.call(get("keeping")).await.unwrap_err();
        assert!(refused.retry_after.unwrap() <= Duration::from_secs(2), "{:?}", refused.retry_after);
    });
}

#[test]
fn a_connection_is_alive_again_when_the_platform_is() {
    let setup = Setup::default().with("REFRESH__BACKOFF_BASE_SECONDS", "1");
    setup.run(async |vault| {
        let old = vault.connect("rotating", -60).await;
        let new = vault.tokens();
        vault.provider().will(outage(vault));
        vault.provider().will(new.answer());
        let action = vault.as_engine("action");
        action.call(get("rotating")).await.unwrap_err();
        let got = until("the end of the rest", async || action.call(get("rotating")).await.ok()).await;
        assert_eq!((got.access_token, got.warning.as_str()), (new.access, ""));
        assert_eq!(vault.redeemed(), [old.refresh.clone(), old.refresh]);
    });
}

#[test]
fn a_platform_without_a_client_is_the_operator_s_business() {
    spec(async |vault| {
        vault.connect("unregistered", -60).await;
        let refused = vault.as_engine("action").call(get("unregistered")).await.unwrap_err();
        assert_eq!(refused.told(), (Code::FailedPrecondition, "app_misconfigured", "contact_operator"));
        assert_eq!(vault.provider().connections(), 0);
    });
}

#[test]
fn a_client_the_platform_refuses_is_the_operator_s_business_and_raises_an_alarm() {
    spec(async |vault| {
        vault.connect("plain", -60).await;
        let said = json!({ "error": "invalid_client", "error_description": vault.secret("description") });
        vault.provider().will(Answer::json(401, &said));
        let refused = vault.as_engine("action").call(get("plain")).await.unwrap_err();
        assert_eq!(refused.told(), (Code::FailedPrecondition, "app_misconfigured", "contact_operator"));
        assert!(vault.alarms().iter().any(|(alarm, _)| alarm == "app_misconfigured"), "{:?}", vault.alarms());
    });
}

#[test]
fn the_store_being_away_is_unavailable_and_says_when_to_try_again() {
    Setup::default().on_redis().run(async |vault| {
        vault.connect("plain", 3_600).await;
        vault.redis().pause();
        let refused = vault.as_engine("action").call(get("plain")).await.unwrap_err();
        vault.redis().resume();
        assert_eq!(refused.told(), (Code::Unavailable, "store_unavailable", "retry"));
        assert!(refused.retry_after.is_some());
        until("the store again", async || vault.as_engine("action").call(get("plain")).await.ok()).await;
    });
}
