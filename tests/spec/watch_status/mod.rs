//! A stream of changes: a snapshot, then every change in order, taken up again without a gap.

mod endings;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use futures_util::future::{join, join_all};
use tonic::Code;
use vault_engine::domain::id::ConnectionKey;
use vault_engine::domain::ports::{Address, Expected, Record, Store as _, Version};
use vault_engine::pb::vault_v1::watch_status_response::Event;
use vault_engine::pb::vault_v1::{
    ConnectionStatus, GetTokenRequest, StoreTokenRequest, WatchStatusRequest, WatchStatusResponse,
};

use crate::harness::{Caller, Setup, USER, Vault, Watch, delete, get, spec, until};

/// Everything of the caller's tenant.
fn everything() -> WatchStatusRequest {
    WatchStatusRequest::default()
}

fn of(users: &[&str], platforms: &[&str]) -> WatchStatusRequest {
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    WatchStatusRequest { user_ids: words(users), platforms: words(platforms), ..WatchStatusRequest::default() }
}

fn from(token: &str) -> WatchStatusRequest {
    WatchStatusRequest { resume_token: token.to_owned(), ..WatchStatusRequest::default() }
}

async fn message(watch: &mut Watch) -> WatchStatusResponse {
    watch.next().await.expect("the stream ended").expect("the stream was cut")
}

async fn event(watch: &mut Watch) -> Event {
    message(watch).await.event.unwrap()
}

/// The next change, and the token that came with it.
async fn change(watch: &mut Watch) -> (ConnectionStatus, String) {
    loop {
        let WatchStatusResponse { event, resume_token } = message(watch).await;
        match event.unwrap() {
            Event::Connection(told) => return (told, resume_token),
            Event::Heartbeat(_) => {}
            other => panic!("no change but {other:?}"),
        }
    }
}

/// User, platform, status and version.
fn words(told: &ConnectionStatus) -> (&str, &str, &str, u64) {
    let status = told.status.as_ref().unwrap();
    (&told.user_id, &status.platform, &status.status, told.version)
}

/// What a stream begins with, the token at its end, and whether it was marked as a new beginning.
async fn snapshot(watch: &mut Watch) -> (Vec<ConnectionStatus>, String, bool) {
    let Event::SnapshotStart(start) = event(watch).await else { panic!("it does not begin with a snapshot") };
    let mut told = Vec::new();
    loop {
        let WatchStatusResponse { event, resume_token } = message(watch).await;
        match event.unwrap() {
            Event::Connection(connection) => told.push(connection),
            Event::SnapshotEnd(_) => return (told, resume_token, start.reset),
            other => panic!("{other:?} within a snapshot"),
        }
    }
}

/// A stream whose snapshot is over.
async fn watching(caller: &Caller, request: WatchStatusRequest) -> Watch {
    let mut watch = caller.watch(request).await.unwrap();
    snapshot(&mut watch).await;
    watch
}

async fn refused(watch: &mut Watch) -> crate::harness::Refused {
    loop {
        if let Err(refused) = watch.next().await.expect("it ended well") {
            return refused;
        }
    }
}

#[test]
fn a_stream_begins_with_what_there_is_and_goes_on_with_what_changes() {
    spec(async |vault| {
        vault.connect("plain", 3_600).await;
        vault.connect_user("ann", "fixed", -60).await;
        vault.connect_user("ann", "rotating", 3_600).await;
        vault.as_engine("local").call(delete("plain")).await.unwrap();
        let foreign = StoreTokenRequest { tenant: "acme".to_owned(), ..vault.tokens().request("keeping", 3_600) };
        vault.as_engine("acme").call(foreign).await.unwrap();

        let mut watch = vault.as_engine("sync").watch(everything()).await.unwrap();
        let (told, _, reset) = snapshot(&mut watch).await;
        let told: BTreeSet<_> = told.iter().map(words).collect();
        assert_eq!(told, [("ann", "fixed", "expired", 1), ("ann", "rotating", "active", 1)].into());
        assert!(!reset);

        vault.connect("plain", 3_600).await;
        let (told, _) = change(&mut watch).await;
        assert_eq!(words(&told), (USER, "plain", "active", 3));
        let alone = vault.as_engine("sync").call(crate::harness::status(&["plain"])).await.unwrap();
        assert_eq!(told.status.as_ref(), alone.connected_platforms.first());
        vault.as_engine("local").call(delete("plain")).await.unwrap();
        assert_eq!(words(&change(&mut watch).await.0), (USER, "plain", "missing", 4));
    });
}

#[test]
fn every_version_is_told_in_order() {
    spec(async |vault| {
        let mut watch = watching(&vault.as_engine("sync"), everything()).await;
        for version in 1..=20 {
            vault.connect("plain", 3_600).await;
            assert_eq!(words(&change(&mut watch).await.0), (USER, "plain", "active", version));
        }
    });
}

#[test]
fn a_refresh_is_told_with_its_outcome() {
    spec(async |vault| {
        vault.connect("rotating", -60).await;
        let mut watch = watching(&vault.as_engine("sync"), everything()).await;
        vault.provider().will(vault.tokens().answer());
        vault.as_engine("action").call(get("rotating")).await.unwrap();
        let renewed = until("the refresh", async || {
            let (told, _) = change(&mut watch).await;
            (told.version == 3).then_some(told)
        })
        .await;
        assert_eq!(renewed.status.unwrap().last_refresh.unwrap().outcome, "renewed");
    });
}

#[test]
fn a_stream_tells_of_what_it_covers_and_of_nothing_else() {
    spec(async |vault| {
        for (user, platform) in [("u1", "plain"), ("u1", "rotating"), ("ann", "plain"), ("zoe", "plain")] {
            vault.connect_user(user, platform, 3_600).await;
        }
        let sync = vault.as_engine("sync");
        let mut watch = sync.watch(of(&["u1", "ann", "nobody"], &["plain"])).await.unwrap();
        let (told, ..) = snapshot(&mut watch).await;
        let told: BTreeSet<_> = told.iter().map(words).collect();
        assert_eq!(told, [("ann", "plain", "active", 1), ("u1", "plain", "active", 1)].into());
        for (user, platform) in [("u1", "rotating"), ("zoe", "plain"), ("nobody", "rotating"), ("ann", "plain")] {
            vault.connect_user(user, platform, 3_600).await;
        }
        assert_eq!(words(&change(&mut watch).await.0), ("ann", "plain", "active", 2));
    });
}

/// Writes so many versions for each user, all users side by side.
async fn write(vault: &Vault, users: &[&str], versions: u64) {
    join_all(users.iter().map(async |user| {
        for _ in 0..versions {
            vault.connect_user(user, "plain", 3_600).await;
        }
    }))
    .await;
}

#[test]
fn nothing_is_lost_or_told_twice_over_reconnects_while_writers_write() {
    const USERS: [&str; 6] = ["u1", "u2", "u3", "u4", "u5", "u6"];
    const VERSIONS: u64 = 40;
    spec(async |vault| {
        vault.start_another().await;
        let instances = [vault.as_engine("sync"), vault.as_engine_of_another("sync")];
        let reading = async {
            let (mut last, mut token, mut reconnects) = (BTreeMap::new(), String::new(), 0);
            while last.values().filter(|version| **version == VERSIONS).count() < USERS.len() {
                let caller = &instances[reconnects % 2];
                let mut watch = caller.watch(from(&token)).await.unwrap();
                if token.is_empty() {
                    let told = snapshot(&mut watch).await;
                    token = told.1;
                    last.extend(told.0.into_iter().map(|told| (told.user_id, told.version)));
                }
                for _ in 0..7 {
                    if last.values().filter(|version| **version == VERSIONS).count() == USERS.len() {
                        break;
                    }
                    let (told, after) = change(&mut watch).await;
                    let before = last.insert(told.user_id.clone(), told.version).unwrap_or_default();
                    assert!(before < told.version, "{} {} after {before}", told.user_id, told.version);
                    token = after;
                }
                reconnects += 1;
            }
            reconnects
        };
        let (reconnects, ()) = join(reading, write(vault, &USERS, VERSIONS)).await;
        assert!(reconnects > 2, "{reconnects}");
    });
}

#[test]
fn a_snapshot_and_the_changes_during_it_join_without_a_gap() {
    const USERS: [&str; 8] = ["u1", "u2", "u3", "u4", "u5", "u6", "u7", "u8"];
    spec(async |vault| {
        write(vault, &USERS, 2).await;
        let sync = vault.as_engine("sync");
        let reading = join_all((0..6).map(async |_| {
            let mut watch = sync.watch(everything()).await.unwrap();
            let mut last: BTreeMap<String, u64> = BTreeMap::new();
            while last.len() < USERS.len() || last.values().any(|version| *version < 22) {
                if let Event::Connection(told) = event(&mut watch).await {
                    let before = last.insert(told.user_id.clone(), told.version).unwrap_or_default();
                    assert!(before < told.version, "{} {} after {before}", told.user_id, told.version);
                }
            }
        }));
        join(reading, write(vault, &USERS, 20)).await;
    });
}

#[test]
fn what_one_instance_writes_the_other_tells() {
    spec(async |vault| {
        vault.start_another().await;
        let mut watch = watching(&vault.as_engine_of_another("sync"), everything()).await;
        vault.connect("plain", 3_600).await;
        assert_eq!(words(&change(&mut watch).await.0), (USER, "plain", "active", 1));
    });
}

#[test]
fn where_the_store_tells_nothing_it_is_asked_and_what_it_says_twice_is_told_once() {
    spec(async |vault| {
        vault.connect("plain", 3_600).await;
        vault.start_another_untold().await;
        let mut watch = watching(&vault.as_engine_of_another("sync"), everything()).await;
        for version in 2..=4 {
            vault.connect("plain", 3_600).await;
            assert_eq!(words(&change(&mut watch).await.0), (USER, "plain", "active", version));
        }
    });
}

#[test]
fn a_stream_that_cannot_see_does_not_pretend_that_nothing_happens() {
    Setup::default().with("WATCH__HEARTBEAT_SECONDS", "300").run(async |vault| {
        let index = vault.start_another_untold().await;
        let mut watch = watching(&vault.as_engine_of_another("sync"), everything()).await;
        index.fail();
        let refused = refused(&mut watch).await;
        assert_eq!(refused.told(), (Code::Unavailable, "store_unavailable", "retry"));
        let again = vault.as_engine_of_another("sync").watch(everything()).await.err().unwrap();
        assert_eq!(again.told(), (Code::Unavailable, "store_unavailable", "retry"));
    });
}

#[test]
fn a_stream_is_taken_up_after_a_restart() {
    spec(async |vault| {
        vault.connect("plain", 3_600).await;
        let mut watch = vault.as_engine("sync").watch(everything()).await.unwrap();
        let (_, token, _) = snapshot(&mut watch).await;
        drop(watch);
        vault.connect("rotating", 3_600).await;
        vault.restart().await;
        let mut watch = vault.as_engine("sync").watch(from(&token)).await.unwrap();
        assert_eq!(words(&change(&mut watch).await.0), (USER, "rotating", "active", 1));
    });
}

#[test]
fn a_token_from_within_a_snapshot_begins_it_anew() {
    spec(async |vault| {
        vault.connect("plain", 3_600).await;
        let sync = vault.as_engine("sync");
        let mut watch = sync.watch(everything()).await.unwrap();
        for _ in 0..2 {
            let token = message(&mut watch).await.resume_token;
            let mut again = sync.watch(from(&token)).await.unwrap();
            let (told, _, reset) = snapshot(&mut again).await;
            assert_eq!(told.iter().map(words).collect::<Vec<_>>(), [(USER, "plain", "active", 1)]);
            assert!(reset);
        }
    });
}

#[test]
fn where_the_store_has_forgotten_a_place_the_stream_begins_anew_and_says_so() {
    spec(async |vault| {
        vault.connect("plain", 3_600).await;
        let older = vault.store_file().with_extension("older");
        vault.restart_after(|vault| assert!(std::fs::copy(vault.store_file(), &older).is_ok())).await;
        vault.connect("plain", 3_600).await;
        let mut watch = vault.as_engine("sync").watch(everything()).await.unwrap();
        let (_, token, _) = snapshot(&mut watch).await;
        drop(watch);
        // A store brought back from a backup knows nothing of what came after it.
        vault.restart_after(|vault| assert!(std::fs::copy(&older, vault.store_file()).is_ok())).await;
        let mut watch = vault.as_engine("sync").watch(from(&token)).await.unwrap();
        let (told, _, reset) = snapshot(&mut watch).await;
        assert_eq!(told.iter().map(words).collect::<Vec<_>>(), [(USER, "plain", "active", 1)]);
        assert!(reset);
        vault.connect("plain", 3_600).await;
        assert_eq!(words(&change(&mut watch).await.0), (USER, "plain", "active", 2));
    });
}

#[test]
fn a_resume_token_is_good_for_its_own_filter_and_for_no_other() {
    spec(async |vault| {
        let broker = vault.as_engine("broker");
        let acme = |request: WatchStatusRequest| WatchStatusRequest { tenant: "acme".to_owned(), ..request };
        let mut watch = broker.watch(acme(of(&["u1", "ann"], &["plain"]))).await.unwrap();
        let (_, token, _) = snapshot(&mut watch).await;
        let resumed = |request| WatchStatusRequest { resume_token: token.clone(), ..request };
        // In whatever order.
        broker.watch(acme(resumed(of(&["ann", "u1"], &["plain"])))).await.unwrap();
        let wrong = [
            WatchStatusRequest { tenant: "globex".to_owned(), ..resumed(of(&["u1", "ann"], &["plain"])) },
            acme(resumed(of(&["u1"], &["plain"]))),
            acme(resumed(of(&["u1", "ann"], &[]))),
            acme(resumed(of(&[], &["plain"]))),
            acme(from(&format!("{token}A"))),
            acme(from(&token.replacen(&token[120..124], "AAAA", 1))),
            acme(from("x")),
        ];
        for (number, request) in wrong.into_iter().enumerate() {
            let refused = broker.watch(request).await.err().unwrap_or_else(|| panic!("case {number}"));
            assert_eq!(refused.told(), (Code::InvalidArgument, "invalid_request", "fix_request"), "case {number}");
            assert_eq!(refused.fields, ["resume_token"], "case {number}");
        }
    });
}

#[test]
fn what_is_watched_has_bounds() {
    spec(async |vault| {
        let sync = vault.as_engine("sync");
        let names: Vec<String> = (0..101).map(|number| format!("user-{number}")).collect();
        let users: Vec<&str> = names.iter().map(String::as_str).collect();
        watching(&sync, of(&users[..100], &[])).await;
        for (field, request) in [
            ("user_ids", of(&users, &[])),
            ("user_ids", of(&["u1", "u1"], &[])),
            ("user_ids", of(&["../"], &[])),
            ("user_ids", of(&[""], &[])),
            ("platforms", of(&[], &["Plain"])),
            ("platforms", of(&[], &["plain"; 101])),
            ("platform", of(&[], &["nowhere"])),
        ] {
            let refused = sync.watch(request).await.err().unwrap();
            assert_eq!(refused.told(), (Code::InvalidArgument, "invalid_request", "fix_request"));
            assert_eq!(refused.fields, [field]);
        }
    });
}

#[test]
fn a_record_that_cannot_be_read_is_told_as_such_and_hides_nothing() {
    spec(async |vault| {
        vault.connect("plain", 3_600).await;
        vault.connect_user("ann", "plain", 3_600).await;
        vault
            .while_stopped(async |store| {
                let (tenant, user) = ("default".parse().unwrap(), USER.parse().unwrap());
                let key = ConnectionKey { tenant, user, platform: "plain".parse().unwrap() };
                let garbage = Record::from(Bytes::from_static(b"garbage"));
                store.put(&Address::Connection(key), Expected::Version(Version(1)), garbage).await.unwrap();
            })
            .await;
        let mut watch = vault.as_engine("sync").watch(everything()).await.unwrap();
        let (told, ..) = snapshot(&mut watch).await;
        let told: BTreeSet<_> = told.iter().map(words).collect();
        assert_eq!(told, [("ann", "plain", "active", 1), (USER, "plain", "unreadable", 2)].into());
    });
}

#[test]
fn a_change_without_a_new_token_is_told_too() {
    spec(async |vault| {
        vault.connect("plain", -60).await;
        let mut watch = watching(&vault.as_engine("sync"), of(&[USER], &["plain"])).await;
        vault.provider().will(crate::provider::Answer::text(503, ""));
        let forced = GetTokenRequest { force_refresh: true, ..get("plain") };
        vault.as_engine("sync").call(forced).await.unwrap_err();
        let told = until("the failure", async || {
            let (told, _) = change(&mut watch).await;
            (told.version == 3).then_some(told)
        })
        .await;
        let status = told.status.unwrap();
        let said = (status.status.as_str(), status.reason.as_str(), status.suggested_action.as_str());
        assert_eq!(said, ("active", "provider_outage", "retry"));
    });
}
