//! How a stream stays alive and how it ends: heartbeats, slow readers, limits, stops, deadlines, and what is written down.

use std::collections::BTreeMap;

use futures_util::future::join;
use tonic::Code;
use vault_engine::pb::vault_v1::WatchStatusResponse;
use vault_engine::pb::vault_v1::watch_status_response::Event;

use super::{change, everything, from, message, refused, watching, words, write};
use crate::harness::{Setup, USER, spec, until};

#[test]
fn silence_is_broken_by_heartbeats_that_can_be_resumed_from() {
    Setup::default().with("WATCH__HEARTBEAT_SECONDS", "1").run(async |vault| {
        let sync = vault.as_engine("sync");
        let mut watch = watching(&sync, everything()).await;
        let mut token = String::new();
        for _ in 0..2 {
            let WatchStatusResponse { event, resume_token } = message(&mut watch).await;
            assert!(matches!(event, Some(Event::Heartbeat(_))), "{event:?}");
            token = resume_token;
        }
        drop(watch);
        vault.connect("plain", 3_600).await;
        let mut watch = sync.watch(from(&token)).await.unwrap();
        assert_eq!(words(&change(&mut watch).await.0), (USER, "plain", "active", 1));
    });
}

#[test]
fn whoever_does_not_read_is_cut_off_and_loses_nothing() {
    Setup::default().with("WATCH__SLOW_READER_SECONDS", "1").run(async |vault| {
        let (sync, users) = (vault.as_engine("sync"), ["u1", "u2", "u3", "u4"]);
        let slow = sync.clone().reading_little(vault.url()).await;
        let mut watch = watching(&slow, everything()).await;
        write(vault, &users, 130).await;
        until("the end of what nobody reads", async || {
            vault.log().iter().any(|line| line["message"] == "a stream was read too slowly").then_some(())
        })
        .await;
        let (mut last, mut token) = (BTreeMap::new(), String::new());
        let refused = loop {
            match watch.next().await.expect("it ended well") {
                Ok(WatchStatusResponse { event: Some(Event::Connection(told)), resume_token }) => {
                    last.insert(told.user_id, told.version);
                    token = resume_token;
                }
                Ok(_) => {}
                Err(refused) => break refused,
            }
        };
        assert_eq!(refused.told(), (Code::ResourceExhausted, "slow_reader", "retry"));
        assert!(refused.retry_after.is_some());
        assert!(last.values().sum::<u64>() < 520);
        let mut watch = sync.watch(from(&token)).await.unwrap();
        while users.iter().any(|user| last.get(*user) != Some(&130)) {
            let (told, _) = change(&mut watch).await;
            let before = last.insert(told.user_id.clone(), told.version).unwrap_or_default();
            assert!(before < told.version, "{} {} after {before}", told.user_id, told.version);
        }
    });
}

#[test]
fn an_engine_has_so_many_streams_and_no_more() {
    Setup::default().with("WATCH__STREAMS_PER_ENGINE", "2").with("WATCH__STREAMS", "3").run(async |vault| {
        let (sync, local, acme) = (vault.as_engine("sync"), vault.as_engine("local"), vault.as_engine("acme"));
        let first = watching(&sync, everything()).await;
        let _second = watching(&sync, everything()).await;
        let refused = sync.watch(everything()).await.err().unwrap();
        assert_eq!(refused.told(), (Code::ResourceExhausted, "too_many_streams", "retry"));
        assert!(refused.retry_after.is_some());
        let _third = watching(&local, everything()).await;
        assert_eq!(acme.watch(everything()).await.err().unwrap().error_code, "too_many_streams");
        drop(first);
        until("room for another", async || acme.watch(everything()).await.ok()).await;
    });
}

#[test]
fn a_vault_that_stops_sends_its_streams_elsewhere() {
    spec(async |vault| {
        let caller = vault.as_engine("sync").and("x-request-id", "r-1");
        let mut watch = watching(&caller, everything()).await;
        drop(caller);
        let (refused, ()) = join(refused(&mut watch), async { vault.restart().await }).await;
        assert_eq!(refused.told(), (Code::Unavailable, "stopping", "retry"));
        assert!(refused.retry_after.is_some());
        let ends: Vec<_> = vault.audit().into_iter().filter(|line| line["action"] == "watch_end").collect();
        assert_eq!((ends.len(), &ends[0]["result"], &ends[0]["reason"]), (1, &"failed".into(), &"stopping".into()));
    });
}

#[test]
fn a_stream_ends_well_at_the_deadline_of_its_caller() {
    spec(async |vault| {
        let caller = vault.as_engine("sync").and("grpc-timeout", "1S");
        let mut watch = watching(&caller, everything()).await;
        assert!(watch.next().await.is_none());
    });
}

#[test]
fn the_beginning_and_the_end_of_a_stream_are_written_down() {
    spec(async |vault| {
        vault.connect("plain", 3_600).await;
        vault.connect("rotating", 3_600).await;
        let caller = vault.as_engine("sync").and("x-request-id", "r-1");
        let watch = watching(&caller, everything()).await;
        let line = vault.audit_of("r-1").await;
        let said = |line: &serde_json::Value| {
            ["engine", "tenant", "action", "result", "reason"].map(|key| line[key].as_str().unwrap_or("-").to_owned())
        };
        assert_eq!(said(&line), ["sync", "default", "watch", "ok", ""]);
        assert!(line["user"].is_null() && line["items"].is_null());
        drop(watch);
        let end = until("the line about the end", async || {
            vault.audit().into_iter().find(|line| line["action"] == "watch_end")
        })
        .await;
        assert_eq!(said(&end), ["sync", "default", "watch_end", "cancelled", "caller_gone"]);
        assert_eq!((&end["request_id"], &end["items"]), (&"r-1".into(), &2.into()));
    });
}

#[test]
fn without_a_trail_nobody_watches() {
    spec(async |vault| {
        vault.configure("AUDIT__PATH", "/dev/full");
        vault.restart().await;
        let refused = vault.as_engine("sync").watch(everything()).await.err().unwrap();
        assert_eq!(refused.told(), (Code::Unavailable, "audit_unavailable", "retry"));
        vault.configure("AUDIT__PATH", &vault.trail_file().display().to_string());
        vault.restart().await;
    });
}
