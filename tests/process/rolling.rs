//! A new version is rolled out: one instance after the other is stopped and started while callers go on asking.

use std::error::Error as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::sync::RwLock;
use tonic::{Code, Status};

use crate::caller::Caller;
use crate::eventually::eventually;
use crate::grants::{assert_alive, store_grants};
use crate::installation::Installation;
use crate::oidc::Oidc;
use crate::redis_server::{RedisOptions, RedisServer};

const INSTANCES: usize = 3;
const CALLERS: usize = 12;

/// Callers who want a new token every time, and go to the next instance when one cannot answer.
struct Crowd {
    instances: RwLock<Vec<Caller>>,
    users: Vec<String>,
    answers: AtomicUsize,
    go_home: AtomicBool,
}

// === impl Crowd ===

impl Crowd {
    async fn ask(&self, start: usize) {
        let (mut user, mut instance) = (start, start);
        while !self.go_home.load(Ordering::Relaxed) {
            let caller = self.instances.read().await[instance % INSTANCES].clone();
            match caller.get_another(&self.users[user % self.users.len()]).await {
                Ok(_) => {
                    self.answers.fetch_add(1, Ordering::Relaxed);
                    user += 1;
                }
                Err(status) if is_elsewhere(&status) => instance += 1,
                Err(status) => panic!("{status}"),
            }
        }
    }

    async fn asks_on(&self) {
        let before = self.answers.load(Ordering::Relaxed);
        eventually("callers are served", async || (self.answers.load(Ordering::Relaxed) > before + 50).then_some(()))
            .await;
    }
}

/// The instance is going, gone, or not there yet: it says so, or the connection to it ends.
fn is_elsewhere(status: &Status) -> bool {
    matches!(status.code(), Code::Unavailable | Code::Unknown | Code::Cancelled)
        || status.source().and_then(|source| source.downcast_ref::<tonic::transport::Error>()).is_some()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_under_load_loses_no_grant() {
    let (redis, provider) = (RedisServer::start(RedisOptions::default()), Oidc::start().await);
    let installation = Installation::over_redis(redis.port(), Some(&provider), "").await;
    let names = ["a", "b", "c"];
    let (mut vaults, mut callers) = (Vec::new(), Vec::new());
    for name in names {
        let (vault, caller) = installation.serve(name).await;
        vaults.push(vault);
        callers.push(caller);
    }
    let users = store_grants(&callers[0], &provider, 30).await;
    let crowd = Arc::new(Crowd {
        instances: RwLock::new(callers),
        users: users.clone(),
        answers: AtomicUsize::new(0),
        go_home: AtomicBool::new(false),
    });
    let tasks: Vec<_> = (0..CALLERS)
        .map(|n| {
            let crowd = Arc::clone(&crowd);
            tokio::spawn(async move { crowd.ask(n).await })
        })
        .collect();

    for (n, name) in names.iter().enumerate() {
        crowd.asks_on().await;
        vaults[n].terminate().await;
        assert_eq!(vaults[n].ended().await, Some(0));
        let (vault, caller) = installation.serve(name).await;
        vaults[n] = vault;
        crowd.instances.write().await[n] = caller;
    }
    crowd.asks_on().await;
    crowd.go_home.store(true, Ordering::Relaxed);
    for task in tasks {
        task.await.unwrap();
    }

    let stats = provider.stats().await;
    println!("{} answers during the roll-out: {stats:?}", crowd.answers.load(Ordering::Relaxed));
    assert_eq!((stats.refreshes_refused, stats.grants_revoked), (0, 0));
    assert_alive(&crowd.instances.read().await[0], &users, &provider).await;
}
