//! What makes clients of Redis hang, lose or mix up answers, each with a real server that does it.

#![expect(clippy::panic, reason = "an assertion fails by panicking")]
#![expect(clippy::disallowed_methods, reason = "tests have no task tracker")]

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use tokio::time::{Instant, timeout};
use vault_engine::adapters::store::redis::{RedisSettings, RedisStore};
use vault_engine::domain::ports::{Address, Expected, MAX_VALUE_BYTES, Store, StoreError, Version};

use super::backends::{at_port, drawer_key, plain};
use super::promises::connection;
use super::redis_server::{RedisOptions, RedisServer};
use super::relay::Relay;

/// What a loaded machine may add to any time limit.
const SLACK: Duration = Duration::from_millis(800);

fn gmail() -> Address {
    connection("default", "u1", "gmail")
}

fn value() -> Bytes {
    Bytes::from_static(b"sealed")
}

fn server() -> RedisServer {
    RedisServer::start(RedisOptions::default())
}

fn reason_of<T: std::fmt::Debug>(answer: Result<T, StoreError>) -> &'static str {
    match answer {
        Err(StoreError::Unavailable { reason, .. }) => reason,
        other => panic!("not unavailable: {other:?}"),
    }
}

/// Asks until there is an answer; how long that took.
async fn time_until_it_answers(store: &RedisStore, patience: Duration) -> Duration {
    let begun = Instant::now();
    while let Err(error) = store.get(&gmail()).await {
        assert!(begun.elapsed() < patience, "still {error:?} after {patience:?}");
        tokio::task::yield_now().await;
    }
    begun.elapsed()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_server_is_down_calls_end_in_time_and_after_its_restart_they_succeed() {
    let mut server = RedisServer::start(RedisOptions { durable: true, ..RedisOptions::default() });
    let settings = plain(&server);
    let store = Arc::new(RedisStore::connect(&settings).await.unwrap());
    store.put(&gmail(), Expected::Absent, value().into()).await.unwrap();
    server.kill();
    for _ in 0..10 {
        let begun = Instant::now();
        assert_eq!(reason_of(store.get(&gmail()).await), "connection");
        assert!(begun.elapsed() < settings.operation_timeout + SLACK);
    }
    let crowd = (0..200).map(|_| {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            let begun = Instant::now();
            reason_of(store.put(&gmail(), Expected::Version(Version(1)), value().into()).await);
            begun.elapsed()
        })
    });
    for took in join_all(crowd).await {
        assert!(took.unwrap() < settings.operation_timeout + SLACK);
    }
    server.restart();
    time_until_it_answers(&store, Duration::from_secs(2)).await;
    assert_eq!(store.get(&gmail()).await.unwrap().unwrap().value, value());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_server_is_frozen_calls_end_in_time_and_when_it_goes_on_they_succeed() {
    let server = server();
    let settings = plain(&server);
    let store = RedisStore::connect(&settings).await.unwrap();
    store.get(&gmail()).await.unwrap();
    server.pause();
    for _ in 0..5 {
        let begun = Instant::now();
        assert!(matches!(reason_of(store.get(&gmail()).await), "timeout" | "connection"));
        assert!(begun.elapsed() < settings.operation_timeout + SLACK);
    }
    server.resume();
    time_until_it_answers(&store, Duration::from_secs(2)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_only_times_out_is_replaced() {
    let server = server();
    let relay = Relay::to(server.port()).await;
    let settings = at_port(relay.port());
    let store = RedisStore::connect(&settings).await.unwrap();
    for _ in 0..8 {
        store.get(&gmail()).await.unwrap();
    }
    let before = relay.accepted();
    relay.freeze();
    assert_eq!(reason_of(store.get(&gmail()).await), "timeout");
    time_until_it_answers(&store, settings.operation_timeout * 2).await;
    assert!(relay.accepted() > before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_a_balancer_whose_server_is_dead_a_crowd_of_callers_is_no_crowd_of_attempts() {
    let mut server = server();
    let relay = Relay::to(server.port()).await;
    let settings = RedisSettings { connections: 1, ..at_port(relay.port()) };
    let store = RedisStore::connect(&settings).await.unwrap();
    store.get(&gmail()).await.unwrap();
    server.kill();
    // The first call finds the old connection broken.
    store.get(&gmail()).await.unwrap_err();
    let (begun, before) = (Instant::now(), relay.asked());
    for _ in 0..500 {
        assert_eq!(reason_of(store.get(&gmail()).await), "connection");
    }
    // Ten times a second, and whatever listens for changes has a connection of its own.
    let allowed = 5 + begun.elapsed().as_millis() / 50;
    let asked = relay.asked() - before;
    assert!(asked as u128 <= allowed, "{asked} connections in {:?}", begun.elapsed());
    server.restart();
    time_until_it_answers(&store, Duration::from_secs(2)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_connection_is_replaced_also_when_every_caller_gives_up_first() {
    let server = server();
    let relay = Relay::to(server.port()).await;
    let settings = RedisSettings { connections: 1, ..at_port(relay.port()) };
    let store = RedisStore::connect(&settings).await.unwrap();
    relay.freeze();
    let begun = Instant::now();
    loop {
        match timeout(Duration::from_millis(100), store.get(&gmail())).await {
            Ok(answer) => break drop(answer.unwrap()),
            Err(_) => assert!(begun.elapsed() < settings.response_timeout + SLACK, "the connection is kept"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_answer_reaches_anybody_but_who_asked() {
    let server = server();
    let patient = Duration::from_secs(30);
    let settings = RedisSettings { response_timeout: patient, operation_timeout: patient, ..plain(&server) };
    let store = Arc::new(RedisStore::connect(&settings).await.unwrap());
    for number in 0..100 {
        let user = format!("u{number}");
        store
            .put(&connection("default", &user, "gmail"), Expected::Absent, Bytes::from(user.clone()).into())
            .await
            .unwrap();
    }
    // The server takes commands and is slow to answer, so that who gives up does so in the middle.
    server.ask(&[b"CLIENT", b"PAUSE", b"1000", b"ALL"]);
    let asked: Vec<_> = (0..10_000)
        .map(|number| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                let user = format!("u{}", number % 150);
                let address = connection("default", &user, "gmail");
                let patience = if number % 5 == 0 { Duration::from_millis(number % 200) } else { patient };
                let answer = timeout(patience, store.get(&address)).await.ok()?.unwrap();
                let expected = (number % 150 < 100).then(|| Bytes::from(user));
                assert_eq!(answer.map(|found| found.value), expected, "the answer to another question");
                Some(())
            })
        })
        .collect();
    let answers = join_all(asked).await;
    let given_up = answers.iter().filter(|answer| answer.as_ref().unwrap().is_none()).count();
    assert!(given_up > 1_000, "only {given_up} gave up: this proves nothing");
    assert!(given_up <= 2_000, "{given_up} gave up");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_put_may_still_happen_and_the_version_tells() {
    let server = server();
    let settings = RedisSettings { connections: 1, ..plain(&server) };
    let store = RedisStore::connect(&settings).await.unwrap();
    server.pause();
    assert!(timeout(Duration::from_millis(400), store.put(&gmail(), Expected::Absent, value().into())).await.is_err());
    server.resume();
    assert!(matches!(store.put(&gmail(), Expected::Absent, value().into()).await, Err(StoreError::Conflict)));
    store.put(&gmail(), Expected::Version(Version::FIRST), value().into()).await.unwrap();
    assert_eq!(store.get(&gmail()).await.unwrap().unwrap().version, Version(2));
}

#[tokio::test]
async fn a_value_beyond_the_bound_is_refused_before_anything_is_sent() {
    let server = server();
    let store = RedisStore::connect(&plain(&server)).await.unwrap();
    server.pause();
    let verdict = store.put(&gmail(), Expected::Absent, Bytes::from(vec![0; MAX_VALUE_BYTES + 1]).into()).await;
    assert_eq!(reason_of(verdict), "too_large");
}

#[tokio::test]
async fn a_list_is_one_round_trip() {
    let server = server();
    let store = RedisStore::connect(&plain(&server)).await.unwrap();
    for platform in ["gmail", "slack", "zoom"] {
        store.put(&connection("default", "u1", platform), Expected::Absent, value().into()).await.unwrap();
    }
    server.ask(&[b"CONFIG", b"RESETSTAT"]);
    let drawer = store.list_user(&"default".parse().unwrap(), &"u1".parse().unwrap()).await.unwrap();
    assert_eq!(drawer.connections.len(), 3);
    let asked = server.ask(&[b"INFO", b"commandstats"]);
    assert!(asked.contains("cmdstat_hgetall:calls=1,"), "{asked}");
    assert_eq!(asked.matches("cmdstat_h").count(), 1, "{asked}");
}

#[tokio::test]
async fn a_server_that_forgot_the_script_is_given_it_again() {
    let server = server();
    let store = RedisStore::connect(&plain(&server)).await.unwrap();
    server.ask(&[b"SCRIPT", b"FLUSH"]);
    store.put(&gmail(), Expected::Absent, value().into()).await.unwrap();
    assert_eq!(store.get(&gmail()).await.unwrap().unwrap().version, Version::FIRST);
}

#[tokio::test]
async fn a_key_of_another_kind_is_corrupt_and_never_overwritten() {
    let server = server();
    let store = RedisStore::connect(&plain(&server)).await.unwrap();
    server.ask(&[b"SET", drawer_key("default/u1").as_bytes(), b"somebody's"]);
    assert!(matches!(store.get(&gmail()).await, Err(StoreError::Corrupt)));
    let listed = store.list_user(&"default".parse().unwrap(), &"u1".parse().unwrap()).await;
    assert!(matches!(listed, Err(StoreError::Corrupt)));
    for expected in [Expected::Absent, Expected::Version(Version::FIRST)] {
        assert!(matches!(store.put(&gmail(), expected, value().into()).await, Err(StoreError::Conflict)));
    }
    assert_eq!(server.ask(&[b"GET", drawer_key("default/u1").as_bytes()]), "somebody's");
}

#[tokio::test]
async fn a_server_without_memory_keeps_what_it_has_and_says_full() {
    let server = server();
    let store = RedisStore::connect(&plain(&server)).await.unwrap();
    store.put(&gmail(), Expected::Absent, value().into()).await.unwrap();
    server.ask(&[b"CONFIG", b"SET", b"maxmemory", b"1mb"]);
    let verdict = store.put(&gmail(), Expected::Version(Version::FIRST), value().into()).await;
    assert_eq!(reason_of(verdict), "full");
    assert_eq!(store.get(&gmail()).await.unwrap().unwrap().version, Version::FIRST);
}

#[tokio::test]
async fn a_server_that_became_a_replica_takes_no_writes_until_it_is_a_primary_again() {
    let (server, primary) = (server(), server());
    let store = RedisStore::connect(&plain(&server)).await.unwrap();
    server.ask(&[b"REPLICAOF", b"127.0.0.1", primary.port().to_string().as_bytes()]);
    let verdict = store.put(&gmail(), Expected::Absent, value().into()).await;
    assert_eq!(reason_of(verdict), "read_only");
    server.ask(&[b"REPLICAOF", b"NO", b"ONE"]);
    store.put(&gmail(), Expected::Absent, value().into()).await.unwrap();
}
