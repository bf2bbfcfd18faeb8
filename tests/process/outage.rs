//! The store goes away under a running vault, and comes back.

use std::time::{Duration, Instant};

use tonic::{Code, Status};

use crate::caller::{Caller, reason};
use crate::eventually::eventually;
use crate::installation::Installation;
use crate::oidc::Oidc;
use crate::process::Running;
use crate::proof::{assert_alive, store_grants};
use crate::redis_server::{RedisOptions, RedisServer};

struct Stage {
    redis: RedisServer,
    provider: Oidc,
    users: Vec<String>,
    installation: Installation,
    caller: Caller,
    vault: Running,
}

async fn stage() -> Stage {
    let redis = RedisServer::start(RedisOptions { durable: true, ..RedisOptions::default() });
    let provider = Oidc::start().await;
    let installation = Installation::over_redis(redis.port(), Some(&provider), "").await;
    let (vault, caller) = installation.serve("a").await;
    let users = store_grants(&caller, &provider, 2).await;
    caller.get(&users[0]).await.unwrap();
    Stage { redis, provider, users, installation, caller, vault }
}

#[track_caller]
fn assert_away(refused: &Status) {
    assert_eq!((refused.code(), &*reason(refused)), (Code::Unavailable, "STORE_UNAVAILABLE"), "{refused}");
}

/// Waits until the store is used again, and says how long that took.
async fn back(stage: &Stage) -> Duration {
    let since = Instant::now();
    eventually("calls work again", async || {
        stage.caller.get_within(Duration::from_secs(2), &stage.users[0]).await.ok()
    })
    .await;
    since.elapsed()
}

#[tokio::test]
async fn while_redis_hangs_every_call_is_answered_within_its_deadline() {
    let stage = stage().await;
    stage.redis.pause();
    for limit in [1, 2, 5].map(Duration::from_secs) {
        // Fresh or expired, nothing can be known about it.
        for user in &stage.users {
            let asked_at = Instant::now();
            assert_away(&stage.caller.get_within(limit, user).await.unwrap_err());
            assert!(asked_at.elapsed() < limit);
        }
    }

    stage.redis.resume();
    let took = back(&stage).await;
    println!("back after {took:.1?}");
    assert!(took < Duration::from_secs(8), "{took:?}");
    stage.caller.get(&stage.users[1]).await.unwrap();
    assert_alive(&stage.caller, &stage.users, &stage.provider).await;
}

#[tokio::test]
async fn after_a_crash_of_redis_calls_work_again_and_nothing_is_lost() {
    let mut stage = stage().await;
    stage.redis.kill();
    let limit = Duration::from_secs(5);
    for _ in 0..3 {
        let asked_at = Instant::now();
        assert_away(&stage.caller.get_within(limit, &stage.users[0]).await.unwrap_err());
        assert!(asked_at.elapsed() < limit);
    }

    stage.redis.restart();
    let took = back(&stage).await;
    println!("back after {took:.1?}");
    assert!(took < Duration::from_secs(8), "{took:?}");
    stage.caller.get(&stage.users[1]).await.unwrap();
    assert_alive(&stage.caller, &stage.users, &stage.provider).await;
}

#[tokio::test]
async fn an_answer_that_arrives_while_redis_is_down_is_served_and_stored_when_it_is_back() {
    let mut stage = stage().await;
    let held = crate::oidc::Fault { delay_after_ms: 60_000, ..crate::oidc::Fault::default() };
    stage.provider.fault(held).await;
    let call = tokio::spawn({
        let (caller, user) = (stage.caller.clone(), stage.users[1].clone());
        async move { caller.get(&user).await }
    });
    // The platform has rotated; its answer comes when the store is gone.
    stage.provider.judged(2).await;
    stage.redis.kill();
    stage.provider.release().await;

    let served = call.await.unwrap().unwrap();
    assert!(served.refreshed);
    assert_eq!(stage.caller.get(&stage.users[1]).await.unwrap().access_token, served.access_token, "from memory");

    stage.redis.restart();
    // A process that is asked to end stores what it has first.
    stage.vault.terminate().await;
    assert_eq!(stage.vault.ended().await, Some(0));
    let (_vault, caller) = stage.installation.serve("b").await;
    assert_eq!(caller.get(&stage.users[1]).await.unwrap().access_token, served.access_token, "from the store");
    assert_alive(&caller, &stage.users, &stage.provider).await;
}
