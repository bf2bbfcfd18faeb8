//! Refreshes that nobody asked for, by real processes.

use crate::eventually::eventually;
use crate::grants::{assert_alive, store_grants};
use crate::installation::Installation;
use crate::oidc::{Oidc, Stats};
use crate::redis_server::{RedisOptions, RedisServer};

const GRANTS: usize = 40;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_due_is_refreshed_once_by_whichever_instance_walks_its_partition() {
    let (redis, provider) = (RedisServer::start(RedisOptions::default()), Oidc::start().await);
    let installation = Installation::over_redis(redis.port(), Some(&provider), "").await;
    let at_work = |instance: &str| {
        let command = installation.command(instance).env("VAULT_ENGINE_REFRESH__BACKGROUND__ENABLED", "true");
        installation.serve_as(command.env("VAULT_ENGINE_REFRESH__BACKGROUND__TICK_SECONDS", "1"))
    };
    let [(mut first, caller), (_second, other)] = [at_work("a").await, at_work("b").await];
    let users = store_grants(&caller, &provider, GRANTS).await;

    eventually("all of them are refreshed", async || {
        (provider.stats().await.refreshes_ok == GRANTS as u64).then_some(())
    })
    .await;

    for user in &users {
        assert_ne!(other.get(user).await.unwrap().access_token, "expired-access");
    }
    let once = Stats { refreshes_ok: GRANTS as u64, refreshes_refused: 0, grants_revoked: 0 };
    assert_eq!(provider.stats().await, once, "each once");
    first.terminate().await;
    assert_eq!(first.ended().await, Some(0));
    assert_alive(&other, &users, &provider).await;
}
