//! The log of changes over DynamoDB, where readers put in order what writers leave.

#![expect(clippy::unwrap_used, clippy::panic, reason = "an assertion fails by panicking")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use aws_sdk_dynamodb::types::{AttributeValue, PutRequest, WriteRequest};
use bytes::Bytes;
use vault_engine::adapters::store::dynamodb::{DynamoSettings, DynamoStore};
use vault_engine::domain::ports::{
    ChangeCursor, Changes, Clock, Expected, Hints, Index as _, Partition, Record, StateHint, Store as _, StoreError,
    Version,
};
use vault_engine::domain::time::Timestamp;

use super::backends::dynamodb;
use super::dynamodb_server::{DynamoServer, Peer, credentials};
use super::promises::connection;

const HOUR: i64 = 3_600;

/// A clock that goes when it is told to.
#[derive(Debug)]
struct HandClock(AtomicI64);

impl Clock for HandClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_unix_seconds(self.0.load(Ordering::SeqCst))
    }

    fn monotonic(&self) -> Duration {
        Duration::from_secs(u64::try_from(self.0.load(Ordering::SeqCst)).unwrap())
    }
}

fn partition() -> Partition {
    connection("default", "u1", "gmail").partition()
}

fn alive() -> Record {
    let hints = Hints { state: StateHint::Alive, ..Hints::default() };
    Record { value: Bytes::from_static(b"sealed"), hints }
}

async fn with_clock(settings: &DynamoSettings, clock: &Arc<HandClock>) -> DynamoStore {
    DynamoStore::connect_as(settings, credentials(), Arc::clone(clock) as _).await.unwrap()
}

/// Everything after a place, and where it ends; `None` when the place is forgotten.
async fn read(store: &DynamoStore, mut place: ChangeCursor) -> Option<(Vec<(String, u64)>, ChangeCursor)> {
    let mut all = Vec::new();
    loop {
        let Changes::Next { changes, cursor } = store.changes(partition(), Some(&place), 700).await.unwrap() else {
            return None;
        };
        if changes.is_empty() {
            return Some((all, cursor));
        }
        let name = |key: vault_engine::domain::id::ConnectionKey| format!("{}/{}", key.user, key.platform);
        all.extend(changes.into_iter().map(|(change, _)| (name(change.key), change.version.0)));
        place = cursor;
    }
}

async fn end_of(store: &DynamoStore) -> ChangeCursor {
    match store.changes(partition(), None, 1).await.unwrap() {
        Changes::Next { changes, cursor } if changes.is_empty() => cursor,
        other => panic!("{other:?}"),
    }
}

/// Leaves these versions of a connection of `u1` in the inbox, as writes would that nobody has read yet.
async fn leave(
    server: &DynamoServer,
    settings: &DynamoSettings,
    platform: &str,
    versions: std::ops::RangeInclusive<u64>,
) {
    let text = |text: String| AttributeValue::S(text);
    let requests: Vec<_> = versions
        .map(|version| {
            let put = PutRequest::builder()
                .item("pk", text(format!("#inbox:{}", partition().number())))
                .item("sk", text(format!("default/u1:{platform}:{version:020}")))
                .item("s", AttributeValue::N("1".to_owned()));
            WriteRequest::builder().put_request(put.build().unwrap()).build()
        })
        .collect();
    for some in requests.chunks(25) {
        server.client().batch_write_item().request_items(&settings.table, some.to_vec()).send().await.unwrap();
    }
}

#[tokio::test]
async fn a_backlog_of_many_pages_comes_whole_and_in_order() {
    for peer in [Peer::Local, Peer::Ministack] {
        let server = DynamoServer::of(peer).await;
        let settings = server.table().await;
        let store = dynamodb(&settings).await;
        let begin = end_of(&store).await;
        // The page ends in the middle of a connection, and one connection fills more than a page.
        for (platform, last) in [("a", 150), ("b", 700), ("c", 300)] {
            leave(server, &settings, platform, 1..=last).await;
        }
        let (all, _) = read(&store, begin).await.unwrap();
        let mut seen: BTreeMap<String, Vec<u64>> = BTreeMap::new();
        for (name, version) in all {
            seen.entry(name).or_default().push(version);
        }
        for (platform, last) in [("a", 150), ("b", 700), ("c", 300)] {
            assert_eq!(seen.remove(&format!("u1/{platform}")), Some((1..=last).collect()), "{platform} of {peer:?}");
        }
        assert!(seen.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_at_the_same_time_both_find_everything_in_order() {
    for peer in [Peer::Local, Peer::Ministack] {
        let settings = DynamoServer::of(peer).await.table().await;
        let (one, other) = (dynamodb(&settings).await, dynamodb(&settings).await);
        let begin = end_of(&one).await;
        let gmail = connection("default", "u1", "gmail");
        let writing = async {
            let mut expected = Expected::Absent;
            for _ in 0..40 {
                one.put(&gmail, expected, alive()).await.unwrap();
                expected = Expected::Version(expected.next());
            }
        };
        let reading = async |store: &DynamoStore| {
            let (mut seen, mut place): (Vec<u64>, _) = (Vec::new(), begin.clone());
            while seen.len() < 40 {
                let (changes, end) = read(store, place).await.unwrap();
                for (_, version) in changes {
                    if !seen.contains(&version) {
                        seen.push(version);
                    }
                }
                place = end;
            }
            seen
        };
        let (seen, also_seen, ()) = tokio::join!(reading(&one), reading(&other), writing);
        assert_eq!(seen, (1..=40).collect::<Vec<_>>(), "{peer:?}");
        assert_eq!(also_seen, seen, "{peer:?}");
    }
}

#[tokio::test]
async fn a_log_nobody_read_for_days_is_forgotten_and_one_that_is_read_is_not() {
    let settings = DynamoServer::of(Peer::Local).await.table().await;
    let clock = Arc::new(HandClock(AtomicI64::new(1_700_000_000)));
    let store = with_clock(&settings, &clock).await;
    let quiet = end_of(&store).await;
    for _ in 0..10 {
        clock.0.fetch_add(20 * HOUR, Ordering::SeqCst);
        assert_eq!(read(&store, quiet.clone()).await.unwrap().0, []);
    }
    store.put(&connection("default", "u1", "gmail"), Expected::Absent, alive()).await.unwrap();
    clock.0.fetch_add(49 * HOUR, Ordering::SeqCst);
    assert_eq!(read(&store, quiet).await, None);
    let begin = end_of(&store).await;
    store.put(&connection("default", "u1", "gmail"), Expected::Version(Version(1)), alive()).await.unwrap();
    assert_eq!(read(&store, begin).await.unwrap().0, [("u1/gmail".to_owned(), 2)]);
}

#[tokio::test]
async fn a_place_whose_changes_have_expired_is_forgotten() {
    let server = DynamoServer::of(Peer::Local).await;
    let settings = server.table().await;
    let store = dynamodb(&settings).await;
    let begin = end_of(&store).await;
    let gmail = connection("default", "u1", "gmail");
    let mut middle = begin.clone();
    for version in 0..3 {
        let expected = if version == 0 { Expected::Absent } else { Expected::Version(Version(version)) };
        store.put(&gmail, expected, alive()).await.unwrap();
        let (_, end) = read(&store, middle.clone()).await.unwrap();
        middle = if version == 1 { end } else { middle };
    }
    // As DynamoDB does with what has expired.
    let key = |sk: &str| AttributeValue::S(sk.to_owned());
    let delete = server.client().delete_item().table_name(&settings.table);
    let delete = delete.key("pk", key(&format!("#log:{}", partition().number())));
    delete.key("sk", key("00000000000000000001")).send().await.unwrap();
    assert_eq!(read(&store, begin).await, None);
    assert_eq!(read(&store, middle).await.unwrap().0, [("u1/gmail".to_owned(), 3)]);
}

#[tokio::test]
async fn a_place_of_another_table_is_forgotten_and_no_place_at_all_is_corrupt() {
    let store = dynamodb(&DynamoServer::of(Peer::Local).await.table().await).await;
    assert_eq!(read(&store, ChangeCursor(vec![7; 16])).await, None);
    for bytes in [&b""[..], b"12345678", b"12345678901234567"] {
        let answer = store.changes(partition(), Some(&ChangeCursor(bytes.to_vec())), 1).await;
        assert!(matches!(answer, Err(StoreError::Corrupt)), "{answer:?}");
    }
}
