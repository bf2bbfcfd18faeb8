//! What becomes of the indices in Redis when an operator, a crash or a lack of rights interferes.

#![expect(clippy::unwrap_used, clippy::panic, reason = "an assertion fails by panicking")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use vault_engine::adapters::store::near_cache::NearCache;
use vault_engine::adapters::store::redis::{ConnectError, Note, RedisStore};
use vault_engine::domain::ports::{
    Address, CHANGES_KEPT, ChangeCursor, Changes, Expected, Hints, Index, Listener, Partition, Pushes, Record,
    StateHint, Store, StoreError, Version,
};
use vault_engine::domain::time::Timestamp;

use super::backends::{plain, secured};
use super::eventually::eventually;
use super::promises::connection;
use super::redis_ear::Ear;
use super::redis_server::{RIGHTS, RedisOptions, RedisServer, USERNAME};

/// What a loaded machine may add to any time limit.
const SLACK: Duration = Duration::from_millis(800);

fn gmail() -> Address {
    connection("default", "u1", "gmail")
}

fn index_key(name: &str) -> String {
    format!("vault:{{{}}}:#{name}", gmail().partition().number())
}

fn alive() -> Record {
    let due_at = Some(Timestamp::from_unix_seconds(100));
    Record { value: Bytes::from_static(b"sealed"), hints: Hints { state: StateHint::Alive, due_at, expires_at: None } }
}

async fn started() -> (RedisServer, RedisStore) {
    let server = RedisServer::start(RedisOptions::default());
    let store = RedisStore::connect(&plain(&server)).await.unwrap();
    (server, store)
}

/// Writes these versions.
async fn write(store: &RedisStore, versions: std::ops::RangeInclusive<u64>) {
    for version in versions {
        let expected = if version == 1 { Expected::Absent } else { Expected::Version(Version(version - 1)) };
        store.put(&gmail(), expected, alive()).await.unwrap();
    }
}

async fn end(store: &RedisStore) -> ChangeCursor {
    match store.changes(gmail().partition(), None, 1).await.unwrap() {
        Changes::Next { cursor, .. } => cursor,
        Changes::Forgotten => panic!("there is always an end"),
    }
}

/// The versions after a place; `None` if it is forgotten.
async fn after(store: &RedisStore, place: &ChangeCursor) -> Option<Vec<u64>> {
    match store.changes(gmail().partition(), Some(place), 1_000).await.unwrap() {
        Changes::Next { changes, .. } => Some(changes.into_iter().map(|(change, _)| change.version.0).collect()),
        Changes::Forgotten => None,
    }
}

#[tokio::test]
async fn a_place_that_was_trimmed_is_forgotten_and_a_later_one_is_not() {
    let (server, store) = started().await;
    let beginning = end(&store).await;
    write(&store, 1..=1).await;
    let early = end(&store).await;
    write(&store, 2..=3).await;
    let late = end(&store).await;
    write(&store, 4..=4).await;
    assert_eq!(after(&store, &beginning).await, Some(vec![1, 2, 3, 4]));
    assert_eq!(after(&store, &early).await, Some(vec![2, 3, 4]));
    server.ask(&[b"XTRIM", index_key("changes").as_bytes(), b"MAXLEN", b"2"]);
    assert_eq!(after(&store, &beginning).await, None);
    assert_eq!(after(&store, &early).await, None);
    assert_eq!(after(&store, &late).await, Some(vec![4]));
}

#[tokio::test]
async fn a_place_of_before_a_flush_is_forgotten_also_when_there_are_changes_again() {
    let (server, store) = started().await;
    write(&store, 1..=2).await;
    let place = end(&store).await;
    server.ask(&[b"FLUSHALL"]);
    assert_eq!(after(&store, &place).await, None);
    // Places are milliseconds of the server's clock.
    let now =
        || server.ask(&[b"EVAL", b"local t = redis.call('TIME') return t[1] * 1000 + math.floor(t[2] / 1000)", b"0"]);
    let flushed_at = now();
    eventually("the server's clock goes on", async || (now() != flushed_at).then_some(())).await;
    write(&store, 1..=2).await;
    assert_eq!(after(&store, &place).await, None);
    assert_eq!(after(&store, &end(&store).await).await, Some(vec![]));
}

#[tokio::test]
async fn as_many_changes_are_kept_as_are_promised_and_not_many_more() {
    let (server, store) = started().await;
    let fill = "for i = 1, ARGV[1] do redis.call('XADD', KEYS[1], '*', 'r', 'default/u1:gmail', 'h', ARGV[2]) end \
                return redis.call('XLEN', KEYS[1])";
    let key = index_key("changes");
    let header = b"\x02\0\0\0\0\0\0\0\x01\x01";
    write(&store, 1..=1).await;
    let first = end(&store).await;
    server.ask(&[b"EVAL", fill.as_bytes(), b"1", key.as_bytes(), b"70000", header]);
    write(&store, 2..=2).await;
    let kept: usize = server.ask(&[b"XLEN", key.as_bytes()]).parse().unwrap();
    assert!((CHANGES_KEPT..CHANGES_KEPT + 1_000).contains(&kept), "{kept}");
    assert_eq!(after(&store, &first).await, None);
}

#[tokio::test]
async fn where_an_index_is_something_else_nothing_is_written() {
    let (server, store) = started().await;
    for name in ["due", "changes", "drawers"] {
        server.ask(&[b"FLUSHALL"]);
        server.ask(&[b"SET", index_key(name).as_bytes(), b"somebody's"]);
        let verdict = store.put(&gmail(), Expected::Absent, alive()).await;
        assert!(matches!(verdict, Err(StoreError::Unavailable { reason: "refused", .. })), "{name}: {verdict:?}");
        assert_eq!(store.get(&gmail()).await.unwrap(), None, "{name}");
    }
    assert!(matches!(store.scan(&vault_engine::domain::ports::Scope::All, None, 10).await, Err(StoreError::Corrupt)));
}

#[tokio::test]
async fn each_right_is_needed_and_its_absence_found_at_the_start() {
    let server = RedisServer::start(RedisOptions { secured: true, ..RedisOptions::default() });
    let rights: Vec<_> = RIGHTS.split_whitespace().filter_map(|right| right.strip_prefix('+')).collect();
    assert!(rights.len() > 10);
    for right in rights {
        server.ask(&[b"ACL", b"SETUSER", USERNAME.as_bytes(), format!("-{right}").as_bytes()]);
        match RedisStore::connect(&secured(&server)).await {
            Ok(store) => {
                assert_eq!(right, "client|tracking");
                assert!(store.notes().contains(&Note::NoTracking));
                assert_eq!(store.listen(Arc::new(Ear::default())), Pushes::Never);
            }
            Err(error) => assert!(matches!(error, ConnectError::Refused { .. }), "{right}: {error}"),
        }
        server.ask(&[b"ACL", b"SETUSER", USERNAME.as_bytes(), format!("+{right}").as_bytes()]);
    }
    let store = RedisStore::connect(&secured(&server)).await.unwrap();
    assert!(!store.notes().contains(&Note::NoTracking));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listener_is_told_when_the_server_is_gone_and_catches_up_when_it_is_back() {
    let (mut server, store) = {
        let server = RedisServer::start(RedisOptions { durable: true, ..RedisOptions::default() });
        let store = RedisStore::connect(&plain(&server)).await.unwrap();
        (server, store)
    };
    let ear = Arc::new(Ear::default());
    assert_eq!(store.listen(Arc::clone(&ear) as Arc<dyn Listener>), Pushes::WhileConnected);
    ear.catch_up().await;
    let losses = ear.losses();
    server.kill();
    eventually("the loss was told", async || (ear.losses() > losses).then_some(())).await;
    server.restart();
    ear.catch_up().await;
    // A server that hangs is lost as well, within the time an answer may take.
    let (losses, begun) = (ear.losses(), Instant::now());
    server.pause();
    eventually("the stall was told", async || (ear.losses() > losses).then_some(())).await;
    assert!(begun.elapsed() < plain(&server).response_timeout + SLACK);
    server.resume();
    ear.catch_up().await;
    // The first call finds out that its connection broke.
    eventually("records are read again", async || store.get(&gmail()).await.ok()).await;
    write(&store, 1..=1).await;
    ear.catch_up().await;
    assert!(ear.users().contains(&"default/u1".to_owned()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flush_is_a_loss_and_leases_are_nobodys_news() {
    let (server, store) = started().await;
    let ear = Arc::new(Ear::default());
    store.listen(Arc::clone(&ear) as Arc<dyn Listener>);
    ear.catch_up().await;
    let losses = ear.losses();
    for partition in Partition::all() {
        store.put(&Address::Lease { partition }, Expected::Absent, Bytes::from_static(b"mine").into()).await.unwrap();
    }
    ear.catch_up().await;
    assert_eq!(ear.users(), Vec::<String>::new());
    assert_eq!(ear.losses(), losses);
    server.ask(&[b"FLUSHALL"]);
    eventually("the flush was told", async || (ear.losses() > losses).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_remembered_while_nobody_told_of_changes_is_forgotten_when_somebody_does() {
    let (server, store) = started().await;
    let (store, other) = (Arc::new(store), RedisStore::connect(&plain(&server)).await.unwrap());
    let ear = Arc::new(Ear::default());
    assert_eq!(store.listen(Arc::clone(&ear) as Arc<dyn Listener>), Pushes::WhileConnected);
    let near = NearCache::over(Arc::clone(&store) as Arc<dyn Store>, &*store, 1 << 20);
    ear.catch_up().await;
    write(&other, 1..=1).await;
    // From here on the server answers and tells nobody of changes.
    server.ask(&[b"ACL", b"SETUSER", b"default", b"-client|tracking"]);
    server.ask(&[b"CLIENT", b"KILL", b"TYPE", b"normal"]);
    for client in [&*store, &other] {
        eventually("records are read again", async || client.get(&gmail()).await.ok()).await;
    }
    // Everything up to the right is given back happens well within the pause before the next attempt to follow.
    let losses = ear.losses();
    eventually("an attempt to follow has failed", async || (ear.losses() > losses).then_some(())).await;
    assert_eq!(near.get_recent(&gmail()).await.unwrap().unwrap().version, Version(1));
    write(&other, 2..=2).await;
    server.ask(&[b"ACL", b"SETUSER", b"default", b"+client|tracking"]);
    ear.catch_up().await;
    assert_eq!(near.get_recent(&gmail()).await.unwrap().unwrap().version, Version(2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_the_store_goes_its_listening() {
    let (server, store) = started().await;
    let connections = || server.ask(&[b"CLIENT", b"LIST"]).lines().count();
    let ear = Arc::new(Ear::default());
    store.listen(Arc::clone(&ear) as Arc<dyn Listener>);
    ear.catch_up().await;
    assert!(connections() > 1);
    drop(store);
    eventually("only the operator is connected", async || (connections() == 1).then_some(())).await;
}
