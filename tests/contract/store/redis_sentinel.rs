//! Failovers under sentinels, and sentinels that hang, lie or keep the vault out.

#![expect(clippy::unwrap_used, clippy::panic, reason = "an assertion fails by panicking")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::task::JoinSet;
use vault_engine::adapters::store::redis::{ConnectError, Note, RedisSettings, RedisStore, SentinelSettings, Shape};
use vault_engine::domain::ports::{Address, Expected, Index as _, Listener, Store, StoreError, Version};

use super::backends::{drawer_key, watched};
use super::eventually::eventually;
use super::promises::connection;
use super::redis_ear::Ear;
use super::redis_load::Load;
use super::redis_server::{PASSWORD, RIGHTS, USERNAME};
use super::redis_shapes::Watched;

fn gmail() -> Address {
    connection("default", "u1", "gmail")
}

async fn started() -> (Watched, Arc<RedisStore>) {
    let servers = Watched::start(None).await;
    let store = Arc::new(RedisStore::connect(&watched(&servers)).await.unwrap());
    (servers, store)
}

/// The settings with another way to the sentinels.
fn changed(servers: &Watched, change: impl FnOnce(&mut SentinelSettings)) -> RedisSettings {
    let mut settings = watched(servers);
    match &mut settings.shape {
        Shape::Sentinel(sentinel) => change(sentinel),
        _ => panic!("there are sentinels"),
    }
    settings
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_the_primary_is_killed_under_load_writes_go_on_after_the_promotion_and_no_answer_crosses() {
    let (mut servers, store) = started().await;
    let load = Load::begin(&(Arc::clone(&store) as Arc<dyn Store>), 8);
    let begun = Instant::now();
    eventually("everybody writes", async || load.all_succeeded_after(begun, |_| true).then_some(())).await;
    servers.servers[0].kill();
    servers.promoted(1).await;
    let promoted = Instant::now();
    eventually("everybody writes again", async || load.all_succeeded_after(promoted, |_| true).then_some(())).await;
    assert!(promoted.elapsed() < Duration::from_secs(5), "{:?}", promoted.elapsed());
    // Replication is asynchronous: what was acknowledged last may be gone, and whoever was told finds an older version.
    let gone_back = load.end().await;
    assert!(gone_back <= 8, "each writer goes back once at most, not {gone_back} times in all");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_slept_through_a_failover_does_not_lead_to_the_server_that_was_primary() {
    let (servers, store) = started().await;
    store.put(&gmail(), Expected::Absent, Bytes::from_static(b"before").into()).await.unwrap();
    eventually("the replica has it", async || {
        let found = servers.servers[1].try_ask(&[b"HEXISTS", drawer_key("default/u1").as_bytes(), b"gmail"]);
        (found.as_deref() == Ok("1")).then_some(())
    })
    .await;
    // Each thread has a connection of its own.
    let elsewhere = async |expected: Expected, value: &'static [u8]| {
        let store = Arc::clone(&store);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { store.put(&gmail(), expected, Bytes::from_static(value).into()).await });
        tasks.join_next().await.unwrap().unwrap()
    };
    for _ in 0..16 {
        assert!(matches!(elsewhere(Expected::Absent, b"before").await, Err(StoreError::Conflict)));
    }
    servers.servers[0].pause();
    servers.promoted(1).await;
    // One connection finds out. Nothing is asked over the others meanwhile.
    eventually("an answer", async || store.get(&gmail()).await.ok()).await;
    servers.servers[0].resume();
    // Until somebody tells it, it takes writes that will be lost; this one must not be among them.
    let after = Expected::Version(Version::FIRST);
    eventually("a write", async || elsewhere(after, b"after").await.ok()).await;
    eventually("the old primary is a replica", async || {
        let replication = servers.servers[0].try_ask(&[b"INFO", b"replication"]).unwrap_or_default();
        replication.contains("role:slave").then_some(())
    })
    .await;
    let found = eventually("an answer", async || store.get(&gmail()).await.ok()).await.unwrap();
    assert_eq!((found.version, found.value), (Version(2), Bytes::from_static(b"after")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listener_is_told_of_a_failover_and_hears_the_new_primary() {
    let (mut servers, store) = started().await;
    let ear = Arc::new(Ear::default());
    store.listen(Arc::clone(&ear) as Arc<dyn Listener>);
    ear.catch_up().await;
    let losses = ear.losses();
    servers.servers[0].kill();
    eventually("the loss was told", async || (ear.losses() > losses).then_some(())).await;
    servers.promoted(1).await;
    ear.catch_up().await;
    let written = async || store.put(&gmail(), Expected::Absent, Bytes::from_static(b"v").into()).await.ok();
    eventually("a write", written).await;
    ear.catch_up().await;
    assert_eq!(ear.users().last().map(String::as_str), Some("default/u1"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sentinels_that_hang_or_are_down_delay_nobody_for_long() {
    let mut servers = Watched::start(None).await;
    servers.sentinels[0].pause();
    let begun = Instant::now();
    RedisStore::connect(&watched(&servers)).await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    // One of three is no majority, and its word is all there is.
    servers.sentinels[1].kill();
    RedisStore::connect(&watched(&servers)).await.unwrap();
    servers.sentinels[2].kill();
    let begun = Instant::now();
    let error = RedisStore::connect(&watched(&servers)).await.err().unwrap();
    assert!(matches!(error, ConnectError::Unreachable { .. }), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(10));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_no_sentinel_knows_is_refused_and_a_primary_without_need_of_replicas_noted() {
    let servers = Watched::start(None).await;
    let error = RedisStore::connect(&changed(&servers, |it| it.master_name = "other".to_owned())).await.err().unwrap();
    assert!(error.to_string().contains("other by 127.0.0.1"), "{error}");
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert_eq!(source, "no redis is known as the primary");
    let store = RedisStore::connect(&watched(&servers)).await.unwrap();
    assert_eq!(store.notes(), [Note::SplitBrain]);
    servers.servers[0].ask(&[b"CONFIG", b"SET", b"min-replicas-to-write", b"1"]);
    let store = RedisStore::connect(&watched(&servers)).await.unwrap();
    assert_eq!(store.notes(), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sentinels_may_want_a_password_of_their_own() {
    let servers = Watched::start(Some("sentinel-pw")).await;
    let with = |password: &str| changed(&servers, |it| it.password = Some(password.to_owned().into()));
    assert!(RedisStore::connect(&watched(&servers)).await.is_err());
    assert!(RedisStore::connect(&with("wrong")).await.is_err());
    RedisStore::connect(&with("sentinel-pw")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_with_few_rights_needs_to_ask_for_the_role_besides() {
    let servers = Watched::start(None).await;
    let settings = RedisSettings {
        username: Some(USERNAME.to_owned()),
        password: Some(PASSWORD.to_owned().into()),
        ..watched(&servers)
    };
    servers.servers[0].allow(RIGHTS);
    assert!(matches!(RedisStore::connect(&settings).await.err().unwrap(), ConnectError::Refused { .. }));
    servers.servers[0].allow(&format!("{RIGHTS} +role"));
    let store = RedisStore::connect(&settings).await.unwrap();
    assert!(!store.notes().contains(&Note::NoTracking));
}
