//! Several real servers together: a primary with replicas that sentinels watch, and a cluster.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test harness fails by panicking")]

use std::process::Command;
use std::sync::{Arc, Weak};

use tokio::sync::Mutex;

use super::eventually::eventually;
use super::redis_server::{RedisOptions, RedisServer};

/// What the sentinels call their primary.
pub(crate) const MASTER_NAME: &str = "vault";

/// A primary, its replicas, and three sentinels.
#[derive(Debug)]
pub(crate) struct Watched {
    pub(crate) servers: Vec<RedisServer>,
    pub(crate) sentinels: Vec<RedisServer>,
}

/// Three primaries with a replica each.
#[derive(Debug)]
pub(crate) struct Nodes {
    pub(crate) nodes: Vec<RedisServer>,
}

/// Servers that many tests may use at a time. They end with the last of these tests.
pub(crate) struct Shared<T>(Mutex<Weak<T>>);

// === impl Watched ===

impl Watched {
    /// Starts them, with one replica, and waits until all know of all. The sentinels want this password, if any.
    pub(crate) async fn start(password: Option<&str>) -> Self {
        Self::start_with(1, password).await
    }

    /// The same with so many replicas.
    pub(crate) async fn start_with(replicas: usize, password: Option<&str>) -> Self {
        let durable = RedisOptions { durable: true, ..RedisOptions::default() };
        let primary = RedisServer::start_with(durable, |_| "repl-diskless-sync-delay 0\n".to_owned());
        let port = primary.port();
        let replica = |_| {
            RedisServer::start_with(durable, |_| format!("repl-diskless-sync-delay 0\nreplicaof 127.0.0.1 {port}\n"))
        };
        let servers: Vec<_> = std::iter::once(primary).chain((0..replicas).map(replica)).collect();
        let access = password.map(|it| format!("requirepass {it}\nsentinel sentinel-pass {it}\n")).unwrap_or_default();
        let lines = format!(
            "sentinel monitor {MASTER_NAME} 127.0.0.1 {port} 2\nsentinel down-after-milliseconds {MASTER_NAME} 1000\n\
             sentinel failover-timeout {MASTER_NAME} 6000\n{access}"
        );
        let sentinels: Vec<_> = (0..3).map(|_| RedisServer::start_sentinel(&lines)).collect();
        if password.is_none() {
            eventually("all sentinels know of all", async || {
                let informed = |sentinel: &RedisServer| {
                    sentinel.ask(&[b"INFO", b"sentinel"]).contains("status=ok") && knows_all(sentinel, replicas)
                };
                sentinels.iter().all(informed).then_some(())
            })
            .await;
        }
        eventually("all replicas copy the primary", async || {
            let copies =
                |server: &RedisServer| server.ask(&[b"INFO", b"replication"]).contains("master_link_status:up");
            servers.iter().skip(1).all(copies).then_some(())
        })
        .await;
        Self { servers, sentinels }
    }

    /// Waits until the sentinels have made this server the primary.
    pub(crate) async fn promoted(&self, number: usize) {
        eventually("the replica is promoted", async || self.is_primary(number).then_some(())).await;
    }

    /// The number of the primary, if most sentinels name a server that is one.
    pub(crate) fn primary(&self) -> Option<usize> {
        (0..self.servers.len()).find(|number| self.is_primary(*number))
    }

    fn is_primary(&self, number: usize) -> bool {
        let server = &self.servers[number];
        let address = format!("address=127.0.0.1:{},", server.port());
        let names_it = |sentinel: &&RedisServer| sentinel.ask(&[b"INFO", b"sentinel"]).contains(&address);
        let named = self.sentinels.iter().filter(names_it).count() * 2 > self.sentinels.len();
        // Whom nobody names may be dead, or hang.
        named
            && server.is_reachable()
            && server.try_ask(&[b"INFO", b"replication"]).is_ok_and(|told| told.contains("role:master"))
    }
}

// === impl Nodes ===

impl Nodes {
    /// Starts them and waits until all agree.
    pub(crate) async fn start() -> Self {
        let durable = RedisOptions { durable: true, ..RedisOptions::default() };
        let nodes: Vec<_> = (0..6)
            .map(|_| {
                RedisServer::start_with(durable, |bus_port| {
                    format!(
                        "cluster-enabled yes\ncluster-port {bus_port}\ncluster-node-timeout 1500\n\
                         cluster-config-file nodes.conf\ncluster-replica-validity-factor 0\n\
                         repl-diskless-sync-delay 0\n"
                    )
                })
            })
            .collect();
        let addresses: Vec<_> = nodes.iter().map(|node| format!("127.0.0.1:{}", node.port())).collect();
        let made = Command::new("redis-cli")
            .args(["--cluster", "create"])
            .args(&addresses)
            .args(["--cluster-replicas", "1", "--cluster-yes"])
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stdout));
        let cluster = Self { nodes };
        eventually("all nodes agree", async || {
            let agrees = |node: &RedisServer| {
                node.ask(&[b"CLUSTER", b"INFO"]).contains("cluster_state:ok")
                    && node.ask(&[b"CLUSTER", b"NODES"]).matches(" slave ").count()
                        + node.ask(&[b"CLUSTER", b"NODES"]).matches("myself,slave ").count()
                        == 3
            };
            cluster.nodes.iter().all(agrees).then_some(())
        })
        .await;
        eventually("all replicas copy", async || {
            let copies = |node: &&RedisServer| {
                let replication = node.ask(&[b"INFO", b"replication"]);
                replication.contains("role:master") || replication.contains("master_link_status:up")
            };
            (cluster.nodes.iter().filter(copies).count() == 6).then_some(())
        })
        .await;
        cluster
    }

    /// The number of the node that has this slot.
    pub(crate) fn owner_of(&self, slot: u16) -> usize {
        self.nodes.iter().position(|node| claims(&node.ask(&[b"CLUSTER", b"NODES"]), slot)).unwrap()
    }

    /// The name the nodes have for one of them.
    pub(crate) fn id_of(&self, number: usize) -> String {
        self.nodes[number].ask(&[b"CLUSTER", b"MYID"])
    }
}

// === impl Shared ===

impl<T> Shared<T> {
    pub(crate) const fn new() -> Self {
        Self(Mutex::const_new(Weak::new()))
    }

    /// Those that run, or new ones.
    pub(crate) async fn get(&self, start: impl AsyncFnOnce() -> T) -> Arc<T> {
        let mut shared = self.0.lock().await;
        if let Some(running) = shared.upgrade() {
            return running;
        }
        let started = Arc::new(start().await);
        *shared = Arc::downgrade(&started);
        started
    }
}

fn knows_all(sentinel: &RedisServer, replicas: usize) -> bool {
    sentinel.ask(&[b"INFO", b"sentinel"]).contains(&format!("slaves={replicas},sentinels=3"))
}

/// Whether the node that wrote this table says that it has this slot itself.
pub(crate) fn claims(table: &str, slot: u16) -> bool {
    let mut own = table.lines().filter(|line| line.contains("myself,master"));
    own.any(|line| line.split(' ').skip(8).any(|range| contains(range, slot)))
}

/// Whether a range of slots, as a node writes it, contains this one.
fn contains(range: &str, slot: u16) -> bool {
    let (from, to) = range.split_once('-').unwrap_or((range, range));
    from.parse().is_ok_and(|from: u16| to.parse().is_ok_and(|to| (from..=to).contains(&slot)))
}
