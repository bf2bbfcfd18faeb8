//! The store goes away under a running vault at the worst of moments, and comes back.

use crate::caller::Caller;
use crate::grants::{assert_alive, store_grants};
use crate::installation::Installation;
use crate::oidc::Oidc;
use crate::process::Running;
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
