//! TLS, a certificate of one's own and an ACL user on every leg: to sentinels, to the primary they name, to the nodes of a
//! cluster.

#![expect(clippy::unwrap_used, reason = "an assertion fails by panicking")]

use std::net::{Ipv4Addr, TcpListener};

use bytes::Bytes;
use vault_engine::adapters::store::redis::{RedisSettings, RedisStore, SentinelSettings, Shape};
use vault_engine::domain::ports::{Address, Expected, Index as _, Scope, Store as _};

use super::backends::{local, secured};
use super::eventually::eventually;
use super::promises::connection;
use super::redis_server::{RIGHTS, RedisOptions, RedisServer};
use super::redis_shapes::MASTER_NAME;

const SECURED: RedisOptions = RedisOptions { secured: true, durable: true, maxmemory_policy: "noeviction" };

fn gmail() -> Address {
    connection("default", "u1", "gmail")
}

fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

async fn serves(settings: &RedisSettings) {
    let store = RedisStore::connect(settings).await.unwrap();
    store.put(&gmail(), Expected::Absent, Bytes::from_static(b"sealed").into()).await.unwrap();
    assert_eq!(store.get(&gmail()).await.unwrap().unwrap().value, "sealed");
    let page = store.scan(&Scope::All, None, 10).await.unwrap();
    assert_eq!(page.items.len(), 1);
}

/// Without the certificate, or with nothing but plaintext, nobody gets in.
async fn admits_nobody_without(settings: &RedisSettings) {
    let mut without_certificate = settings.clone();
    without_certificate.tls.as_mut().unwrap().client = None;
    assert!(RedisStore::connect(&without_certificate).await.is_err());
    assert!(RedisStore::connect(&RedisSettings { tls: None, ..settings.clone() }).await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_is_reached_over_tls() {
    let node = RedisServer::start_with(SECURED, |_| {
        format!(
            "cluster-enabled yes\ncluster-port {}\ncluster-config-file nodes.conf\ntls-cluster yes\n\
             tls-replication yes\n",
            free_port()
        )
    });
    node.ask(&[b"CLUSTER", b"ADDSLOTSRANGE", b"0", b"16383"]);
    eventually("the cluster is whole", async || {
        node.ask(&[b"CLUSTER", b"INFO"]).contains("cluster_state:ok").then_some(())
    })
    .await;
    node.allow(&format!("{RIGHTS} +cluster|slots +asking"));
    let settings = RedisSettings { shape: Shape::Cluster(vec![local(node.tls_port())]), ..secured(&node) };

    serves(&settings).await;
    admits_nobody_without(&settings).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sentinels_and_the_primary_they_name_are_reached_over_tls() {
    let primary = RedisServer::start_with(SECURED, |_| "tls-replication yes\n".to_owned());
    primary.allow(&format!("{RIGHTS} +role"));
    let file = |name| primary.tls_file(name).display().to_string();
    let port = free_port();
    let sentinel = RedisServer::start_sentinel(&format!(
        "tls-port {port}\ntls-auth-clients yes\ntls-replication yes\ntls-ca-cert-file {}\ntls-cert-file {}\n\
         tls-key-file {}\nrequirepass watch-pw\nsentinel sentinel-pass watch-pw\n\
         sentinel monitor {MASTER_NAME} 127.0.0.1 {} 1\nsentinel auth-user {MASTER_NAME} admin\n\
         sentinel auth-pass {MASTER_NAME} admin-pw\n",
        file("ca.crt"),
        file("server.crt"),
        file("server.key"),
        primary.tls_port(),
    ));
    let settings = secured(&primary);
    let watched = |tls| {
        let shape = Shape::Sentinel(SentinelSettings {
            addresses: vec![local(port)],
            master_name: MASTER_NAME.to_owned(),
            username: None,
            password: Some("watch-pw".to_owned().into()),
            tls,
        });
        RedisSettings { shape, ..settings.clone() }
    };

    serves(&watched(settings.tls.clone())).await;
    assert!(RedisStore::connect(&watched(None)).await.is_err(), "a sentinel that speaks TLS only");
    drop(sentinel);
}
