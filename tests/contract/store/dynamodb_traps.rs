//! What goes wrong between the vault and DynamoDB, and what may never come of it.

#![expect(clippy::unwrap_used, clippy::panic, reason = "an assertion fails by panicking")]

use std::net::{Ipv4Addr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use bytes::Bytes;
use tokio::time::Instant;
use vault_engine::adapters::store::dynamodb::{DynamoSettings, DynamoStore};
use vault_engine::adapters::store::retry::{RetryPolicy, RetryingStore};
use vault_engine::adapters::system::SystemRandom;
use vault_engine::domain::ports::{
    Address, Expected, Hints, Index as _, Record, StateHint, Store as _, StoreError, Version,
};
use vault_engine::domain::time::Timestamp;

use super::backends::dynamodb;
use super::detour::Detour;
use super::dynamodb_server::{DynamoServer, Peer, settings_at};
use super::eventually::eventually;
use super::promises::connection;
use crate::canned_aws::CannedAws;

/// How much later than its limit a call may end on a busy machine.
const SLACK: Duration = Duration::from_secs(3);

fn gmail() -> Address {
    connection("default", "u1", "gmail")
}

fn alive(due_at: Option<i64>) -> Record {
    let due_at = due_at.map(Timestamp::from_unix_seconds);
    let hints = Hints { state: StateHint::Alive, expires_at: None, due_at };
    Record { value: Bytes::from_static(b"sealed"), hints }
}

#[track_caller]
fn reason_of<T>(answer: Result<T, StoreError>) -> &'static str {
    match answer {
        Err(StoreError::Unavailable { reason, .. }) => reason,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it was done"),
    }
}

/// Why it is not done, by the way that leads elsewhere now: what still went by the way of before only broke.
async fn reason_now<T>(mut call: impl AsyncFnMut() -> Result<T, StoreError>) -> &'static str {
    let refused = async || Some(reason_of(call().await)).filter(|reason| *reason != "connection");
    eventually("it takes the new way", refused).await
}

/// A store that reaches its server by a way that can be led elsewhere.
async fn by_detour() -> (Detour, Arc<DynamoStore>, DynamoSettings) {
    let server = DynamoServer::of(Peer::Local).await;
    let table = server.table().await.table;
    let detour = Detour::to(server.port()).await;
    let settings = settings_at(detour.port(), &table);
    let store = dynamodb(&settings).await;
    (detour, store, settings)
}

/// A port whose server takes connections and says nothing.
fn silence() -> TcpListener {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap()
}

fn port_of(endpoint: &str) -> u16 {
    endpoint.rsplit_once(':').unwrap().1.parse().unwrap()
}

#[tokio::test]
async fn a_server_that_hangs_is_given_up_in_time_and_then_used_again() {
    let (detour, _, settings) = by_detour().await;
    let limit = Duration::from_millis(500);
    let settings = DynamoSettings { request_timeout: limit, operation_timeout: limit * 2, ..settings };
    let store = dynamodb(&settings).await;
    let silent = silence();
    detour.lead_to(silent.local_addr().unwrap().port());
    let begun = Instant::now();
    assert_eq!(reason_now(async || store.get(&gmail()).await).await, "timeout");
    assert_eq!(reason_of(store.put(&gmail(), Expected::Absent, alive(None)).await), "timeout");
    assert_eq!(reason_of(store.due(gmail().partition(), Timestamp::from_unix_seconds(1), 10).await), "timeout");
    assert!(begun.elapsed() < limit * 6 + SLACK, "{:?}", begun.elapsed());
    detour.lead_to(DynamoServer::of(Peer::Local).await.port());
    let again = async || store.put(&gmail(), Expected::Absent, alive(None)).await.ok();
    eventually("it is used again", again).await;
}

#[tokio::test]
async fn each_refusal_has_its_word_and_is_one_request() {
    let (detour, store, _) = by_detour().await;
    for (status, code, word) in [
        (400, "ProvisionedThroughputExceededException", "busy"),
        (400, "ThrottlingException", "busy"),
        (400, "RequestLimitExceeded", "busy"),
        (500, "InternalServerError", "busy"),
        (503, "ServiceUnavailable", "busy"),
        (400, "ExpiredTokenException", "refused"),
        (400, "AccessDeniedException", "refused"),
        (400, "ValidationException", "refused"),
    ] {
        let server = CannedAws::failing(status, code).await;
        detour.lead_to(port_of(server.endpoint()));
        let get = async || {
            let failed = store.get(&gmail()).await;
            assert!(!format!("{failed:?}").contains("a text nobody should log"), "{failed:?}");
            failed
        };
        assert_eq!(reason_now(get).await, word, "{code}");
        assert_eq!(server.calls(), 1, "{code}");
    }
}

#[tokio::test]
async fn what_is_no_answer_is_no_absence() {
    let (detour, store, _) = by_detour().await;
    for body in ["", "{}", "<html>", "{\"Item\": 7}", "\""] {
        let server = CannedAws::answering(200, body).await;
        detour.lead_to(port_of(server.endpoint()));
        assert_eq!(reason_now(async || store.get(&gmail()).await).await, "unexpected", "{body:?}");
        let list = async || store.list_user(&"default".parse().unwrap(), &"u1".parse().unwrap()).await;
        assert_eq!(reason_now(list).await, "unexpected", "{body:?}");
    }
}

#[tokio::test]
async fn a_write_whose_answer_is_lost_is_never_taken_for_a_conflict_with_itself() {
    let (detour, _, settings) = by_detour().await;
    let server = DynamoServer::of(Peer::Local).await;
    let direct = dynamodb(&settings_at(server.port(), &settings.table)).await;
    let store = dynamodb(&DynamoSettings { request_timeout: Duration::from_secs(2), ..settings }).await;
    let policy = RetryPolicy { time_limit: Duration::from_secs(20), ..RetryPolicy::default() };
    let retrying = RetryingStore::new(store, Arc::new(SystemRandom), policy);
    let lease = Address::Lease { partition: gmail().partition() };
    for address in [&gmail(), &lease] {
        direct.put(address, Expected::Absent, alive(None)).await.unwrap();
    }
    // A lease is written at once, a connection after a look at what is there.
    for (address, answers) in [(lease, 0), (gmail(), 1)] {
        let mine = Record { value: Bytes::from(format!("mine {answers}")), ..alive(None) };
        detour.lose_answers_after(answers);
        let writing = retrying.put(&address, Expected::Version(Version::FIRST), mine.clone());
        let mending = async {
            let there = async || direct.get(&address).await.unwrap().filter(|found| found.value == mine.value);
            eventually("it happened, and nobody was told", there).await;
            detour.lose_answers_after(usize::MAX);
        };
        let (written, ()) = tokio::join!(writing, mending);
        written.unwrap();
        assert_eq!(direct.get(&address).await.unwrap().unwrap().version, Version(2));
    }
}

#[tokio::test]
async fn a_dropped_put_may_still_happen_and_the_version_tells() {
    let (detour, store, settings) = by_detour().await;
    let direct = dynamodb(&settings_at(DynamoServer::of(Peer::Local).await.port(), &settings.table)).await;
    let lease = Address::Lease { partition: gmail().partition() };
    detour.lose_answers_after(0);
    let writing = store.put(&lease, Expected::Absent, alive(None));
    tokio::select! {
        written = writing => panic!("nobody was to be told: {written:?}"),
        _ = eventually("it happened", async || direct.get(&lease).await.unwrap()) => {}
    }
    detour.lose_answers_after(usize::MAX);
    assert!(matches!(store.put(&lease, Expected::Absent, alive(None)).await, Err(StoreError::Conflict)));
    store.put(&lease, Expected::Version(Version::FIRST), alive(None)).await.unwrap();
}

#[tokio::test]
async fn a_table_that_was_deleted_is_refused_and_says_what_makes_it() {
    let server = DynamoServer::of(Peer::Local).await;
    let settings = server.table().await;
    let store = dynamodb(&settings).await;
    let open = server.client().update_table().table_name(&settings.table).deletion_protection_enabled(false);
    // Amazon's old one knows no protection, and says that there is nothing to change.
    drop(open.send().await);
    server.client().delete_table().table_name(&settings.table).send().await.unwrap();
    let failed = store.get(&gmail()).await;
    assert!(format!("{failed:?}").contains("NoTable"), "{failed:?}");
    assert_eq!(reason_of(failed), "refused");
}

#[tokio::test]
async fn what_is_due_is_written_only_when_it_changes() {
    for peer in [Peer::Local, Peer::Ministack] {
        let server = DynamoServer::of(peer).await;
        let settings = server.table().await;
        let store = dynamodb(&settings).await;
        store.put(&gmail(), Expected::Absent, alive(Some(500))).await.unwrap();
        let (pk, sk) = (format!("#due:{}", gmail().partition().number()), "000000000500:default/u1:gmail");
        let text = |text: &str| AttributeValue::S(text.to_owned());
        // Whoever writes it again loses the mark.
        let marked = server.client().put_item().table_name(&settings.table);
        marked.item("pk", text(&pk)).item("sk", text(sk)).item("mark", text("here")).send().await.unwrap();
        store.put(&gmail(), Expected::Version(Version(1)), alive(Some(500))).await.unwrap();
        let found = async || {
            let request = server.client().get_item().table_name(&settings.table).consistent_read(true);
            request.key("pk", text(&pk)).key("sk", text(sk)).send().await.unwrap().item
        };
        assert!(found().await.unwrap().contains_key("mark"), "{peer:?}");
        store.put(&gmail(), Expected::Version(Version(2)), alive(Some(501))).await.unwrap();
        assert_eq!(found().await, None, "{peer:?}");
    }
}

#[tokio::test]
async fn a_long_value_that_became_short_leaves_nothing_behind() {
    let server = DynamoServer::of(Peer::Local).await;
    let settings = server.table().await;
    let store = dynamodb(&settings).await;
    let long = Record { value: Bytes::from(vec![7; 1_000_000]), ..alive(None) };
    store.put(&gmail(), Expected::Absent, long).await.unwrap();
    store.put(&gmail(), Expected::Version(Version(1)), alive(None)).await.unwrap();
    let drawer = AttributeValue::S("default/u1".to_owned());
    let query = server.client().query().table_name(&settings.table).key_condition_expression("pk = :pk");
    let found = query.expression_attribute_values(":pk", drawer).consistent_read(true).send().await.unwrap();
    assert_eq!(found.count(), 1);
    assert_eq!(store.get(&gmail()).await.unwrap().unwrap().value.as_ref(), b"sealed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_value_is_never_read_half_old_and_half_new() {
    let settings = DynamoServer::of(Peer::Local).await.table().await;
    let store = dynamodb(&settings).await;
    let long = |byte: u8| Record { value: Bytes::from(vec![byte; 800_000]), ..alive(None) };
    store.put(&gmail(), Expected::Absent, long(1)).await.unwrap();
    let writing = async {
        for version in 1..12 {
            store.put(&gmail(), Expected::Version(Version(u64::from(version))), long(version + 1)).await.unwrap();
        }
    };
    let reading = async {
        loop {
            match store.get(&gmail()).await {
                Ok(found) => {
                    let found = found.unwrap();
                    let byte = u8::try_from(found.version.0).unwrap();
                    assert!(found.value.iter().all(|found| *found == byte), "version {byte} is of two");
                    if byte == 12 {
                        return;
                    }
                }
                // Written faster than it can be read.
                Err(error) => assert_eq!(reason_of::<()>(Err(error)), "busy"),
            }
        }
    };
    tokio::join!(writing, reading);
}
