//! Tokens that are renewed before they are handed out, or behind it.

use futures_util::future::join_all;
use serde_json::json;
use vault_engine::pb::vault_v1::GetTokenRequest;

use crate::harness::{get, now, spec, until};
use crate::provider::{Answer, Gate};

#[test]
fn an_expired_token_is_renewed_first() {
    spec(async |vault| {
        let old = vault.connect("plain", -60).await;
        let new = vault.tokens();
        vault.provider().will(new.answer());
        let got = vault.as_engine("action").call(get("plain")).await.unwrap();
        assert_eq!((got.access_token, got.refreshed, got.refresh_in_progress), (new.access, true, false));
        assert!((3_590..=3_600).contains(&(got.expires_at - now())), "{}", got.expires_at - now());
        let request = vault.provider().only_request();
        assert_eq!(request.target, "/plain/token");
        assert_eq!(request.form()["grant_type"], "refresh_token");
        assert_eq!(request.form()["refresh_token"], old.refresh);
        assert_eq!(request.form()["client_id"], "client-of-plain");
    });
}

#[test]
fn everybody_who_waits_is_served_by_one_refresh() {
    spec(async |vault| {
        vault.connect("rotating", -60).await;
        let (new, gate) = (vault.tokens(), Gate::closed());
        vault.provider().will(new.answer().behind(&gate));
        let action = vault.as_engine("action");
        let opened = async {
            vault.provider().has_seen(1).await;
            gate.open();
        };
        let (answers, ()) =
            futures_util::future::join(join_all((0..20).map(|_| action.call(get("rotating")))), opened).await;
        for answer in answers {
            let answer = answer.unwrap();
            assert_eq!((&answer.access_token, answer.refreshed), (&new.access, true));
        }
        assert_eq!(vault.provider().requests().len(), 1);
    });
}

#[test]
fn a_token_about_to_expire_is_handed_out_at_once_and_renewed_behind() {
    spec(async |vault| {
        let old = vault.connect("plain", 4).await;
        let (new, gate) = (vault.tokens(), Gate::closed());
        vault.provider().will(new.answer().behind(&gate));
        let action = vault.as_engine("action");
        let stale = until("a token about to expire", async || {
            let got = action.call(get("plain")).await.unwrap();
            got.refresh_in_progress.then_some(got)
        })
        .await;
        assert_eq!((&stale.access_token, stale.refreshed, stale.warning.as_str()), (&old.access, false, ""));
        gate.open();
        let renewed = until("the renewed token", async || {
            let got = action.call(get("plain")).await.unwrap();
            (got.access_token != old.access).then_some(got)
        })
        .await;
        assert_eq!((renewed.access_token, renewed.refresh_in_progress), (new.access, false));
        assert_eq!(vault.provider().requests().len(), 1);
    });
}

#[test]
fn a_token_that_lives_shorter_than_asked_is_renewed_first() {
    spec(async |vault| {
        let old = vault.connect("plain", 4).await;
        let new = vault.tokens();
        vault.provider().will(new.answer());
        let action = vault.as_engine("action");
        let renewed = until("a token too short for the caller", async || {
            let got = action.call(GetTokenRequest { min_ttl_seconds: 60, ..get("plain") }).await.unwrap();
            assert!(got.refreshed || got.access_token == old.access);
            got.refreshed.then_some(got)
        })
        .await;
        assert_eq!(renewed.access_token, new.access);
    });
}

#[test]
fn a_renewal_can_be_forced() {
    spec(async |vault| {
        vault.connect("plain", 3_600).await;
        let new = vault.tokens();
        vault.provider().will(new.answer());
        let got =
            vault.as_engine("action").call(GetTokenRequest { force_refresh: true, ..get("plain") }).await.unwrap();
        assert_eq!((got.access_token, got.refreshed), (new.access, true));
    });
}

#[test]
fn a_rotated_refresh_token_is_the_one_that_is_used_next() {
    spec(async |vault| {
        let first = vault.connect("rotating", -60).await;
        let (second, third) = (vault.tokens(), vault.tokens());
        vault.provider().will(second.answer());
        vault.provider().will(third.answer());
        let action = vault.as_engine("action");
        action.call(get("rotating")).await.unwrap();
        action.call(GetTokenRequest { force_refresh: true, ..get("rotating") }).await.unwrap();
        assert_eq!(vault.redeemed(), [first.refresh, second.refresh]);
    });
}

#[test]
fn a_rotated_refresh_token_survives_a_restart() {
    spec(async |vault| {
        let first = vault.connect("rotating", -60).await;
        let (second, third) = (vault.tokens(), vault.tokens());
        vault.provider().will(second.answer());
        vault.provider().will(third.answer());
        vault.as_engine("action").call(get("rotating")).await.unwrap();
        vault.restart().await;
        let forced = GetTokenRequest { force_refresh: true, ..get("rotating") };
        vault.as_engine("action").call(forced).await.unwrap();
        assert_eq!(vault.redeemed(), [first.refresh, second.refresh]);
    });
}

#[test]
fn without_a_new_refresh_token_the_old_one_is_kept() {
    spec(async |vault| {
        let old = vault.connect("plain", -60).await;
        let access = vault.secret("access");
        let bare = json!({ "access_token": access, "token_type": "bearer", "expires_in": 3_600 });
        vault.provider().will(Answer::json(200, &bare));
        vault.provider().will(vault.tokens().answer());
        let action = vault.as_engine("action");
        action.call(get("plain")).await.unwrap();
        action.call(GetTokenRequest { force_refresh: true, ..get("plain") }).await.unwrap();
        assert_eq!(vault.redeemed(), [old.refresh.clone(), old.refresh]);
    });
}

#[test]
fn scopes_are_those_of_the_last_answer_that_named_any() {
    spec(async |vault| {
        vault.connect("plain", -60).await;
        let mut narrower = vault.tokens().issued();
        narrower["scope"] = json!("mail.read mail.send");
        vault.provider().will(Answer::json(200, &narrower));
        vault.provider().will(vault.tokens().answer());
        let action = vault.as_engine("action");
        for _ in 0..2 {
            let got = action.call(GetTokenRequest { force_refresh: true, ..get("plain") }).await.unwrap();
            assert_eq!(got.scopes, ["mail.read", "mail.send"]);
        }
    });
}

#[test]
fn the_second_client_secret_is_tried_when_the_first_is_refused() {
    spec(async |vault| {
        vault.connect("paired", -60).await;
        let new = vault.tokens();
        vault.provider().will(Answer::json(401, &json!({ "error": "invalid_client" })));
        vault.provider().will(new.answer());
        let got = vault.as_engine("action").call(get("paired")).await.unwrap();
        assert_eq!(got.access_token, new.access);
        let requests = vault.provider().requests();
        let secrets: Vec<_> = requests.iter().map(|request| request.header("authorization").unwrap()).collect();
        assert_eq!(secrets.len(), 2);
        assert_ne!(secrets[0], secrets[1]);
    });
}
