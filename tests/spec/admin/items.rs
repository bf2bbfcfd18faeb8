//! Lists, batches and streams: each item is decided on as a call about it alone would be.

use std::collections::BTreeSet;

use tonic::Code;
use vault_engine::pb::vault_v1::watch_status_response::Event;
use vault_engine::pb::vault_v1::{
    BatchGetStatusRequest, GetStatusRequest, GetTokenRequest, ListTokensRequest, Policy, StoreTokenRequest,
    WatchStatusRequest,
};

use super::{engine, rule, set_policy, words};
use crate::harness::{Caller, Refused, Vault, Watch, get, spec, status};
use vault_engine::pb::vault_v1::Rule;

const DENIED: (Code, &str, &str) = (Code::PermissionDenied, "not_permitted", "contact_operator");

/// Two users at one platform, and one of them at none if a rule says so.
fn narrow() -> Policy {
    let reader = rule("allow", &["get", "status", "list", "watch"]);
    let allow = Rule { platforms: words(&["plain", "fixed"]), users: words(&["u1", "ann"]), ..reader };
    let deny = Rule { platforms: words(&["fixed"]), users: words(&["ann"]), ..rule("deny", &["*"]) };
    Policy { tenants: Vec::new(), rules: vec![allow, deny] }
}

const PERMITTED: [(&str, &str); 3] = [("u1", "plain"), ("u1", "fixed"), ("ann", "plain")];

async fn connect_everybody(vault: &Vault) {
    for user in ["u1", "ann", "zoe"] {
        for platform in ["plain", "fixed", "rotating"] {
            vault.connect_user(user, platform, 3_600).await;
        }
    }
}

fn pairs(pairs: &[(&str, &str)]) -> BTreeSet<(String, String)> {
    pairs.iter().map(|(user, platform)| ((*user).to_owned(), (*platform).to_owned())).collect()
}

fn of(user: &str, platforms: &[&str]) -> GetStatusRequest {
    GetStatusRequest { user_id: user.to_owned(), ..status(platforms) }
}

fn get_of(user: &str, platform: &str) -> GetTokenRequest {
    GetTokenRequest { user_id: user.to_owned(), ..get(platform) }
}

async fn watch_of(caller: &Caller) -> Watch {
    caller.watch(WatchStatusRequest::default()).await.unwrap()
}

/// The next that is neither a heartbeat nor a mark.
async fn told(watch: &mut Watch) -> Result<(String, String), Refused> {
    loop {
        if let Event::Connection(told) = watch.next().await.expect("the stream ended")?.event.unwrap() {
            return Ok((told.user_id, told.status.unwrap().platform));
        }
    }
}

async fn snapshot(watch: &mut Watch) -> BTreeSet<(String, String)> {
    let mut found = BTreeSet::new();
    loop {
        match watch.next().await.unwrap().unwrap().event.unwrap() {
            Event::Connection(told) => assert!(found.insert((told.user_id, told.status.unwrap().platform))),
            Event::SnapshotEnd(_) => return found,
            Event::SnapshotStart(_) | Event::Heartbeat(_) => {}
        }
    }
}

#[test]
fn a_list_holds_what_is_permitted_and_nothing_else() {
    spec(async |vault| {
        connect_everybody(vault).await;
        let reader = engine(vault, "default", "reader", narrow()).await.caller(vault);
        for page_size in [1, 2, 0] {
            let (mut found, mut request) = (BTreeSet::new(), ListTokensRequest { page_size, ..Default::default() });
            loop {
                let page = reader.call(request.clone()).await.unwrap();
                found.extend(page.tokens.into_iter().map(|token| (token.user_id, token.platform)));
                request.page_token = page.next_page_token;
                if request.page_token.is_empty() {
                    break;
                }
            }
            assert_eq!(found, pairs(&PERMITTED), "{page_size}");
        }
        let named = ListTokensRequest { platforms: words(&["rotating"]), ..Default::default() };
        assert_eq!(reader.call(named).await.unwrap_err().told(), DENIED);
    });
}

#[test]
fn a_status_tells_of_permitted_platforms_and_what_is_named_must_be_permitted() {
    spec(async |vault| {
        connect_everybody(vault).await;
        let reader = engine(vault, "default", "reader", narrow()).await.caller(vault);
        for (user, expected) in [("u1", vec!["fixed", "plain"]), ("ann", vec!["plain"])] {
            let told = reader.call(of(user, &[])).await.unwrap().connected_platforms;
            assert_eq!(told.iter().map(|one| one.platform.as_str()).collect::<Vec<_>>(), expected);
        }
        for request in [of("zoe", &[]), of("u1", &["plain", "rotating"]), of("ann", &["fixed"]), of("nobody", &[])] {
            assert_eq!(reader.call(request.clone()).await.unwrap_err().told(), DENIED, "{request:?}");
        }
    });
}

#[test]
fn one_user_among_a_hundred_who_is_not_permitted_is_refused_alone() {
    spec(async |vault| {
        connect_everybody(vault).await;
        let names: Vec<String> = (0..98).map(|number| format!("user-{number}")).collect();
        let mut users = words(&["u1", "zoe"]);
        users.extend(names);
        let mut policy = narrow();
        policy.rules[0].users = users.iter().filter(|user| *user != "zoe").cloned().collect();
        let reader = engine(vault, "default", "reader", policy).await.caller(vault);
        let request = BatchGetStatusRequest { user_ids: users.clone(), ..Default::default() };
        let told = reader.call(request.clone()).await.unwrap().users;
        assert_eq!(told.iter().map(|one| one.user_id.clone()).collect::<Vec<_>>(), users);
        for one in told {
            let alone = reader.call(of(&one.user_id, &[])).await;
            match alone {
                Ok(alone) => {
                    assert_eq!((alone.connected_platforms, one.error_code), (one.connected_platforms, String::new()));
                }
                Err(refused) => {
                    assert_eq!((one.user_id.as_str(), one.connected_platforms.len()), ("zoe", 0));
                    assert_eq!((refused.told(), one.error_code.as_str()), (DENIED, "not_permitted"));
                }
            }
        }
        let foreign = BatchGetStatusRequest { platforms: words(&["rotating"]), ..request };
        assert_eq!(reader.call(foreign).await.unwrap_err().told(), DENIED);
    });
}

#[test]
fn a_token_is_refused_before_anybody_looks_whether_it_is_there() {
    spec(async |vault| {
        let reader = engine(vault, "default", "reader", narrow()).await.caller(vault);
        let absent = reader.call(get_of("zoe", "plain")).await.unwrap_err();
        connect_everybody(vault).await;
        for (user, platform) in [("zoe", "plain"), ("ann", "fixed"), ("u1", "rotating"), ("nobody", "plain")] {
            let refused = reader.call(get_of(user, platform)).await.unwrap_err();
            assert_eq!(refused.face(), absent.face(), "{user} {platform}");
        }
        for (user, platform) in PERMITTED {
            reader.call(get_of(user, platform)).await.unwrap();
        }
    });
}

#[test]
fn a_stream_tells_what_is_permitted_also_after_the_policy_was_changed() {
    spec(async |vault| {
        connect_everybody(vault).await;
        let made = engine(vault, "default", "reader", narrow()).await;
        let reader = made.caller(vault);
        let mut watch = watch_of(&reader).await;
        assert_eq!(snapshot(&mut watch).await, pairs(&PERMITTED));
        connect_everybody(vault).await;
        let mut changes = BTreeSet::new();
        for _ in PERMITTED {
            changes.insert(told(&mut watch).await.unwrap());
        }
        assert_eq!(changes, pairs(&PERMITTED));
        let mut narrower = narrow();
        narrower.rules.push(Rule { users: words(&["u1"]), ..rule("deny", &["watch"]) });
        set_policy(vault, &made, narrower).await;
        connect_everybody(vault).await;
        assert_eq!(told(&mut watch).await.unwrap(), ("ann".to_owned(), "plain".to_owned()));
        let named = WatchStatusRequest { user_ids: words(&["u1"]), ..Default::default() };
        let refused = match reader.watch(named).await {
            Err(refused) => refused,
            Ok(mut opened) => opened.next().await.unwrap().unwrap_err(),
        };
        assert_eq!(refused.told(), DENIED);
        set_policy(vault, &made, Policy { tenants: Vec::new(), rules: vec![rule("allow", &["get"])] }).await;
        vault.connect_user("ann", "plain", 3_600).await;
        assert_eq!(told(&mut watch).await.unwrap_err().told(), DENIED);
    });
}

#[test]
fn a_token_with_more_scopes_than_an_engine_may_have_is_neither_handed_out_nor_stored() {
    spec(async |vault| {
        let scoped = Rule { scopes_at_most: words(&["read", "list"]), ..rule("allow", &["get", "store"]) };
        let policy = Policy { tenants: Vec::new(), rules: vec![scoped] };
        let caller = engine(vault, "default", "scoped", policy).await.caller(vault);
        for (scopes, may) in
            [(&["read"][..], true), (&["read", "list"], true), (&["read", "admin"], false), (&[], false)]
        {
            let request = StoreTokenRequest { scopes: words(scopes), ..vault.tokens().request("plain", 3_600) };
            vault.as_engine("local").call(request.clone()).await.unwrap();
            let (handed, stored) = (caller.call(get("plain")).await, caller.call(request).await);
            assert_eq!((handed.is_ok(), stored.is_ok()), (may, may), "{scopes:?}");
            if !may {
                let refused = handed.unwrap_err();
                assert_eq!((refused.told(), stored.unwrap_err().told()), (DENIED, DENIED));
                let line = vault.audit_of(&refused.request_id).await;
                assert_eq!(
                    (line["result"].as_str(), line["reason"].as_str()),
                    (Some("denied"), Some("scopes_exceeded"))
                );
            }
        }
    });
}
