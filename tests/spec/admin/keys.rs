//! Keys: shown once, replaced without a gap, revoked everywhere.

use tonic::Code;
use vault_engine::pb::vault_v1::{
    CreateEngineRequest, CreateKeyRequest, DeleteEngineRequest, ListKeysRequest, RevokeKeyRequest, RotateKeyRequest,
    WatchStatusRequest,
};

use super::{Made, allowing, engine, engine_of, key_of};
use crate::harness::{Caller, Refused, Vault, get, spec, until};

const NOBODY: (Code, &str, &str) = (Code::Unauthenticated, "invalid_credentials", "fix_credentials");

fn revoke(made: &Made) -> RevokeKeyRequest {
    RevokeKeyRequest { name: made.key.name.clone() }
}

async fn rotate(vault: &Vault, made: &Made, overlap_seconds: Option<i64>) -> Result<Made, Refused> {
    let request = RotateKeyRequest { name: made.key.name.clone(), overlap_seconds, ttl_seconds: 0 };
    let new = vault.as_engine("admin").call(request).await?;
    vault.keep_secret(&new.secret);
    Ok(Made { engine: made.engine.clone(), key: new.key.unwrap(), secret: new.secret })
}

async fn is_let_in(caller: &Caller) -> bool {
    match caller.call(get("plain")).await {
        Ok(_) => true,
        Err(refused) if refused.code == Code::NotFound => true,
        Err(refused) => {
            assert_eq!(refused.told(), NOBODY);
            false
        }
    }
}

/// The word the audit trail has for the refusal of this caller.
async fn reason(vault: &Vault, caller: &Caller) -> String {
    let refused = caller.call(get("plain")).await.unwrap_err();
    assert_eq!(refused.told(), NOBODY);
    vault.audit_of(&refused.request_id).await["reason"].as_str().unwrap().to_owned()
}

async fn listed(vault: &Vault, made: &Made) -> Vec<(String, String)> {
    let request = ListKeysRequest { parent: made.engine.clone() };
    let keys = vault.as_engine("admin").call(request).await.unwrap().keys;
    keys.into_iter().map(|key| (key.name.rsplit('/').next().unwrap().to_owned(), key.state)).collect()
}

#[test]
fn a_key_is_shown_once_and_listed_by_how_it_begins() {
    spec(async |vault| {
        let made = engine(vault, "default", "sync2", allowing(&["get"])).await;
        assert!(is_let_in(&made.caller(vault)).await);
        let request = ListKeysRequest { parent: made.engine.clone() };
        let [key] = &vault.as_engine("admin").call(request).await.unwrap().keys[..] else { panic!("not one key") };
        assert_eq!(key.display_prefix, format!("tvk1_{}", made.key_id()));
        assert!(made.secret.starts_with(&key.display_prefix));
        assert_eq!((key.state.as_str(), key.expires_at - key.created_at), ("active", 90 * 86_400));
        assert!(key.last_used_at >= key.created_at);
        // Wherever else the secret were, the search for leaks at the end would find it.
    });
}

#[test]
fn a_key_lives_as_long_as_was_asked_and_no_longer_than_a_year() {
    spec(async |vault| {
        let made = engine(vault, "default", "sync2", allowing(&["get"])).await;
        let admin = vault.as_engine("admin");
        for ttl_seconds in [-1, 59, 365 * 86_400 + 1, i64::MAX, i64::MIN] {
            let request = CreateKeyRequest { parent: made.engine.clone(), ttl_seconds };
            let refused = admin.call(request).await.unwrap_err();
            assert_eq!((refused.code, refused.fields), (Code::InvalidArgument, vec!["ttl_seconds".to_owned()]));
        }
        let request = CreateKeyRequest { parent: made.engine.clone(), ttl_seconds: 365 * 86_400 };
        let year = admin.call(request).await.unwrap();
        vault.keep_secret(&year.secret);
        let key = year.key.unwrap();
        assert_eq!(key.expires_at - key.created_at, 365 * 86_400);
        for overlap in [-1, 7 * 86_400 + 1] {
            assert_eq!(rotate(vault, &made, Some(overlap)).await.err().unwrap().fields, ["overlap_seconds"]);
        }
    });
}

#[test]
fn a_key_is_replaced_without_a_gap_and_ends_with_the_overlap() {
    spec(async |vault| {
        let old = engine(vault, "default", "sync2", allowing(&["get"])).await;
        let new = rotate(vault, &old, Some(2)).await.unwrap();
        assert!(is_let_in(&old.caller(vault)).await && is_let_in(&new.caller(vault)).await);
        let third = rotate(vault, &new, None).await.err().unwrap();
        assert_eq!(third.told(), (Code::FailedPrecondition, "too_many_keys", "fix_request"));
        let third = key_of(vault, &vault.as_engine("admin"), &old.engine).await.err().unwrap();
        assert_eq!(third.told(), (Code::FailedPrecondition, "too_many_keys", "fix_request"));
        until("the end of the old key", async || (!is_let_in(&old.caller(vault)).await).then_some(())).await;
        assert_eq!(reason(vault, &old.caller(vault)).await, "expired_key");
        assert!(is_let_in(&new.caller(vault)).await);
        let ended = rotate(vault, &old, None).await.err().unwrap();
        assert_eq!(ended.told(), (Code::FailedPrecondition, "key_ended", "fix_request"));
        let states = [(old.key_id(), "expired"), (new.key_id(), "active")];
        let states = states.map(|(id, state)| (id.to_owned(), state.to_owned()));
        assert_eq!(listed(vault, &old).await, states);
        let newest = rotate(vault, &new, Some(0)).await.unwrap();
        assert!(!is_let_in(&new.caller(vault)).await && is_let_in(&newest.caller(vault)).await);
    });
}

#[test]
fn what_was_revoked_and_what_expired_are_told_apart_in_the_trail_alone() {
    spec(async |vault| {
        let made = engine(vault, "default", "sync2", allowing(&["get"])).await;
        let other = engine(vault, "default", "sync3", allowing(&["get"])).await;
        let admin = vault.as_engine("admin");
        let revoked = admin.call(revoke(&made)).await.unwrap();
        assert_eq!(admin.call(revoke(&made)).await.unwrap(), revoked);
        rotate(vault, &other, Some(0)).await.unwrap();
        let faces = [
            made.caller(vault).call(get("plain")).await.unwrap_err(),
            other.caller(vault).call(get("plain")).await.unwrap_err(),
            vault.as_nobody().call(get("plain")).await.unwrap_err(),
        ];
        assert_eq!(faces[0].face(), faces[1].face());
        assert_eq!(faces[0].face(), faces[2].face());
        assert_eq!(reason(vault, &made.caller(vault)).await, "revoked_key");
        assert_eq!(reason(vault, &other.caller(vault)).await, "expired_key");
    });
}

#[test]
fn a_revoked_key_is_refused_on_every_instance_within_five_seconds_and_its_streams_are_cut() {
    spec(async |vault| {
        vault.start_another().await;
        vault.start_another().await;
        let made = engine(vault, "default", "sync2", allowing(&["get", "watch"])).await;
        let mut streams = Vec::new();
        for caller in made.callers(vault) {
            until("that every instance knows the key", async || is_let_in(&caller).await.then_some(())).await;
            streams.push(caller.watch(WatchStatusRequest::default()).await.unwrap());
        }
        assert_eq!(streams.len(), 3);
        vault.as_engine("admin").call(revoke(&made)).await.unwrap();
        let revoked_at = tokio::time::Instant::now();
        for caller in made.callers(vault) {
            until("that every instance refuses it", async || (!is_let_in(&caller).await).then_some(())).await;
        }
        for stream in &mut streams {
            loop {
                if let Err(cut) = stream.next().await.expect("a stream that ended well was not cut") {
                    assert_eq!(cut.told(), NOBODY);
                    break;
                }
            }
        }
        assert!(revoked_at.elapsed().as_secs() < 5, "{:?}", revoked_at.elapsed());
        for caller in made.callers(vault) {
            assert!(!is_let_in(&caller).await);
        }
    });
}

#[test]
fn no_key_of_a_deleted_engine_opens_anything_for_one_that_is_made_again() {
    spec(async |vault| {
        let made = engine(vault, "default", "sync2", allowing(&["get", "watch"])).await;
        let mut stream = made.caller(vault).watch(WatchStatusRequest::default()).await.unwrap();
        let admin = vault.as_engine("admin");
        let delete = DeleteEngineRequest { name: made.engine.clone(), etag: String::new() };
        admin.call(delete.clone()).await.unwrap();
        let again: CreateEngineRequest = engine_of("default", "sync2", allowing(&["get", "watch"]));
        admin.call(again.clone()).await.unwrap();
        assert_eq!(reason(vault, &made.caller(vault)).await, "wrong_key");
        let new = key_of(vault, &admin, &made.engine).await.unwrap();
        assert!(is_let_in(&new.caller(vault)).await);
        assert!(!is_let_in(&made.caller(vault)).await);
        vault.connect("plain", 3_600).await;
        loop {
            if let Err(cut) = stream.next().await.unwrap() {
                assert_eq!(cut.told(), NOBODY);
                break;
            }
        }
        admin.call(delete.clone()).await.unwrap();
        assert_eq!(admin.call(delete).await.unwrap_err().told(), (Code::NotFound, "not_found", "fix_request"));
        assert_eq!(reason(vault, &new.caller(vault)).await, "unknown_engine");
    });
}

#[test]
fn an_engine_changes_over_under_load_without_being_refused_once() {
    spec(async |vault| {
        vault.start_another().await;
        let mut key = engine(vault, "default", "sync2", allowing(&["get"])).await;
        for caller in key.callers(vault) {
            until("that every instance knows the key", async || is_let_in(&caller).await.then_some(())).await;
        }
        let mut calls = 0;
        for _ in 0..3 {
            let new = rotate(vault, &key, Some(60)).await.unwrap();
            // Until every instance knows the new one, the engine goes on with the old one.
            loop {
                let mut known = 0;
                for (old, new) in key.callers(vault).iter().zip(new.callers(vault)) {
                    for _ in 0..20 {
                        assert!(is_let_in(old).await, "refused after {calls} calls");
                        calls += 1;
                    }
                    known += usize::from(is_let_in(&new).await);
                }
                if known == 2 {
                    break;
                }
            }
            for caller in new.callers(vault) {
                for _ in 0..50 {
                    assert!(is_let_in(&caller).await, "refused after {calls} calls");
                    calls += 1;
                }
            }
            vault.as_engine("admin").call(revoke(&key)).await.unwrap();
            key = new;
        }
        assert!(calls > 300);
    });
}

#[test]
fn when_a_key_was_used_last_is_remembered_by_the_store() {
    spec(async |vault| {
        let used = engine(vault, "default", "sync2", allowing(&["get"])).await;
        let unused = engine(vault, "default", "sync3", allowing(&["get"])).await;
        assert!(is_let_in(&used.caller(vault)).await);
        vault.restart().await;
        let last_used = async |made: &Made| {
            let request = ListKeysRequest { parent: made.engine.clone() };
            vault.as_engine("admin").call(request).await.unwrap().keys[0].last_used_at
        };
        assert!(last_used(&used).await >= used.key.created_at);
        assert_eq!(last_used(&unused).await, 0);
    });
}

#[test]
fn keys_outlive_a_restart_and_are_worth_nothing_in_another_engine_s_hands() {
    spec(async |vault| {
        let made = engine(vault, "default", "sync2", allowing(&["get"])).await;
        let other = engine(vault, "default", "sync3", allowing(&["get"])).await;
        vault.restart().await;
        assert!(is_let_in(&made.caller(vault)).await);
        let crossed = Made { secret: other.secret.clone(), key: other.key.clone(), engine: made.engine.clone() };
        assert_eq!(reason(vault, &crossed.caller(vault)).await, "wrong_key");
        vault.as_engine("admin").call(revoke(&made)).await.unwrap();
        vault.restart().await;
        assert_eq!(reason(vault, &made.caller(vault)).await, "revoked_key");
    });
}
