//! Which servers the vault starts with, which it refuses, and what it says about them.

#![expect(clippy::panic, reason = "an assertion fails by panicking")]

use std::error::Error;
use std::time::Duration;

use tokio::time::Instant;
use vault_engine::adapters::store::redis::{
    ConnectError, Endpoint, Note, RedisSettings, RedisStore, Shape, TlsSettings,
};

use super::backends::{plain, secured};
use super::eventually::eventually;
use super::redis_server::{RedisOptions, RedisServer};

async fn refusal(settings: &RedisSettings) -> ConnectError {
    match RedisStore::connect(settings).await {
        Ok(_) => panic!("the server was accepted"),
        Err(error) => error,
    }
}

/// The error and everything underneath, as a log shows it.
fn chain(error: &ConnectError) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        text = format!("{text}: {source}");
        next = source.source();
    }
    text
}

#[tokio::test]
async fn a_server_that_evicts_keys_is_refused() {
    for policy in ["allkeys-lru", "allkeys-lfu", "allkeys-random"] {
        let server = RedisServer::start(RedisOptions { maxmemory_policy: policy, ..RedisOptions::default() });
        let error = refusal(&plain(&server)).await;
        assert!(matches!(error, ConnectError::Evicts { .. }), "{error}");
        assert!(error.to_string().contains(policy) && error.to_string().contains("noeviction"), "{error}");
    }
}

#[tokio::test]
async fn a_server_that_evicts_only_what_expires_is_accepted() {
    let server = RedisServer::start(RedisOptions { maxmemory_policy: "volatile-lru", ..RedisOptions::default() });
    RedisStore::connect(&plain(&server)).await.unwrap();
}

#[tokio::test]
async fn a_server_that_keeps_nothing_on_disk_is_noted() {
    let server = RedisServer::start(RedisOptions::default());
    let store = RedisStore::connect(&plain(&server)).await.unwrap();
    assert_eq!(store.notes(), [Note::NoAppendOnlyFile]);
    assert!(Note::NoAppendOnlyFile.to_string().contains("appendonly yes"));
}

#[tokio::test]
async fn a_server_that_acknowledges_before_the_disk_has_it_is_noted() {
    let server = RedisServer::start(RedisOptions { durable: true, ..RedisOptions::default() });
    server.ask(&[b"CONFIG", b"SET", b"appendfsync", b"everysec"]);
    let store = RedisStore::connect(&plain(&server)).await.unwrap();
    assert_eq!(store.notes(), [Note::LateFsync]);
}

#[tokio::test]
async fn about_a_durable_server_there_is_nothing_to_say() {
    let server = RedisServer::start(RedisOptions { durable: true, ..RedisOptions::default() });
    let store = RedisStore::connect(&plain(&server)).await.unwrap();
    assert_eq!(store.notes(), []);
}

#[tokio::test]
async fn what_the_vaults_user_may_not_see_is_noted() {
    let server = RedisServer::start(RedisOptions { secured: true, durable: true, ..RedisOptions::default() });
    let store = RedisStore::connect(&secured(&server)).await.unwrap();
    let unseen = ["maxmemory-policy", "appendonly", "appendfsync"].map(Note::Unchecked);
    assert_eq!(store.notes(), unseen);
}

#[tokio::test]
async fn a_server_that_is_down_is_refused_by_name_within_bounds() {
    let mut server = RedisServer::start(RedisOptions::default());
    server.kill();
    let begun = Instant::now();
    let error = refusal(&plain(&server)).await;
    assert!(begun.elapsed() < Duration::from_secs(5));
    assert!(matches!(error, ConnectError::Unreachable { attempts: 3, .. }), "{error}");
    assert!(chain(&error).contains(&format!("127.0.0.1:{}", server.port())), "{}", chain(&error));
    assert!(chain(&error).contains("Connection refused"), "{}", chain(&error));
}

#[tokio::test]
async fn a_server_that_never_answers_is_refused_within_bounds() {
    let server = RedisServer::start(RedisOptions::default());
    server.pause();
    let begun = Instant::now();
    let error = refusal(&plain(&server)).await;
    assert!(matches!(error, ConnectError::Unreachable { .. }), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(10));
}

#[tokio::test]
async fn a_server_that_starts_up_meanwhile_is_waited_for() {
    let mut server = RedisServer::start(RedisOptions::default());
    server.kill();
    let settings = plain(&server);
    let mut connecting = Box::pin(RedisStore::connect(&settings));
    assert!(futures_util::poll!(connecting.as_mut()).is_pending());
    server.restart();
    connecting.await.unwrap();
}

#[tokio::test]
async fn a_server_that_answers_and_takes_no_writes_for_now_is_not_refused_for_good() {
    let server = RedisServer::start(RedisOptions::default());
    server.ask(&[b"CLIENT", b"PAUSE", b"20000", b"WRITE"]);
    let settings = RedisSettings { response_timeout: Duration::from_millis(300), ..plain(&server) };
    let error = refusal(&settings).await;
    assert!(matches!(error, ConnectError::Unreachable { .. }), "{error}");
}

#[tokio::test]
async fn a_cluster_that_is_not_put_together_yet_is_not_refused_for_good() {
    let alone = |port| format!("cluster-enabled yes\ncluster-port {port}\ncluster-config-file nodes.conf\n");
    let node = RedisServer::start_with(RedisOptions::default(), alone);
    let seeds = vec![Endpoint { host: "127.0.0.1".to_owned(), port: node.port() }];
    let error = refusal(&RedisSettings { shape: Shape::Cluster(seeds.clone()), ..plain(&node) }).await;
    assert!(matches!(error, ConnectError::Unreachable { attempts: 3, .. }), "{}", chain(&error));
    node.ask(&[b"CLUSTER", b"ADDSLOTSRANGE", b"0", b"16383"]);
    eventually("the cluster is ready", async || {
        node.ask(&[b"CLUSTER", b"INFO"]).contains("cluster_state:ok").then_some(())
    })
    .await;
    RedisStore::connect(&RedisSettings { shape: Shape::Cluster(seeds), ..plain(&node) }).await.unwrap();
}

#[tokio::test]
async fn a_replica_is_refused() {
    let server = RedisServer::start(RedisOptions::default());
    server.ask(&[b"REPLICAOF", b"127.0.0.1", b"1"]);
    let error = refusal(&plain(&server)).await;
    assert!(matches!(error, ConnectError::Replica { .. }), "{error}");
}

#[tokio::test]
async fn a_wrong_password_is_refused_at_once_and_not_repeated() {
    let server = RedisServer::start(RedisOptions { secured: true, ..RedisOptions::default() });
    let settings = RedisSettings { password: Some("hunter2".to_owned().into()), ..secured(&server) };
    let begun = Instant::now();
    let error = refusal(&settings).await;
    assert!(begun.elapsed() < Duration::from_millis(900));
    assert!(matches!(error, ConnectError::Refused { .. }), "{error}");
    assert!(chain(&error).contains("username or password"), "{}", chain(&error));
    assert!(!format!("{error:?} {}", chain(&error)).contains("hunter2"));
}

#[tokio::test]
async fn a_missing_password_is_refused() {
    let server = RedisServer::start(RedisOptions { secured: true, ..RedisOptions::default() });
    let error = refusal(&RedisSettings { username: None, password: None, ..secured(&server) }).await;
    assert!(chain(&error).contains("username or password"), "{}", chain(&error));
}

#[tokio::test]
async fn a_user_that_may_only_read_is_refused_at_the_start_not_at_the_first_write() {
    let server = RedisServer::start(RedisOptions { secured: true, ..RedisOptions::default() });
    let rights: [&[u8]; 8] = [b"ACL", b"SETUSER", b"reader", b"on", b">pw", b"~vault:*", b"+@read", b"+@connection"];
    server.ask(&rights);
    let settings = RedisSettings {
        username: Some("reader".to_owned()),
        password: Some("pw".to_owned().into()),
        ..secured(&server)
    };
    let error = refusal(&settings).await;
    assert!(matches!(error, ConnectError::Refused { .. }), "{error}");
    assert!(chain(&error).contains("`NOPERM`"), "{}", chain(&error));
}

#[tokio::test]
async fn without_a_client_certificate_there_is_no_connection() {
    let server = RedisServer::start(RedisOptions { secured: true, ..RedisOptions::default() });
    let tls = TlsSettings { ca_file: Some(server.tls_file("ca.crt")), client: None };
    let error = refusal(&RedisSettings { tls: Some(tls), ..secured(&server) }).await;
    assert!(matches!(error, ConnectError::Unreachable { .. }), "{error}");
}

#[tokio::test]
async fn a_server_of_another_authority_is_refused() {
    let [server, other] =
        [(); 2].map(|()| RedisServer::start(RedisOptions { secured: true, ..RedisOptions::default() }));
    let mut settings = secured(&server);
    settings.tls.as_mut().unwrap().ca_file = Some(other.tls_file("ca.crt"));
    let error = refusal(&settings).await;
    assert!(chain(&error).contains("certificate"), "{}", chain(&error));
}

#[tokio::test]
async fn a_server_by_another_name_than_its_certificate_is_refused() {
    let server = RedisServer::start(RedisOptions { secured: true, ..RedisOptions::default() });
    let shape = Shape::Server(Endpoint { host: "localhost".to_owned(), port: server.tls_port() });
    let error = refusal(&RedisSettings { shape, ..secured(&server) }).await;
    assert!(chain(&error).contains("certificate"), "{}", chain(&error));
}

#[tokio::test]
async fn a_file_that_is_missing_is_named() {
    let server = RedisServer::start(RedisOptions { secured: true, ..RedisOptions::default() });
    let mut settings = secured(&server);
    settings.tls.as_mut().unwrap().ca_file = Some("/nowhere/ca.crt".into());
    let error = refusal(&settings).await;
    assert_eq!(error.to_string(), "`/nowhere/ca.crt` cannot be read");
}
