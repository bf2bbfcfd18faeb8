//! Refreshes that nobody asked for, by real processes.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use vault_engine::pb::vault_v1::PlatformStatus;
use vault_engine::pb::vault_v1::watch_status_response::Event;

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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_watches_is_told_of_the_end_of_a_token_that_nothing_renews() {
    let provider = Oidc::start().await;
    let installation = Installation::over_a_file(Some(&provider), "").await;
    let command = installation.command("a").env("VAULT_ENGINE_REFRESH__BACKGROUND__ENABLED", "true");
    let at_work = command.env("VAULT_ENGINE_REFRESH__BACKGROUND__TICK_SECONDS", "1");
    let (_vault, caller) = installation.serve_as(at_work).await;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let soon = i64::try_from((now + Duration::from_secs(6)).as_secs()).unwrap();
    caller.try_store("ada", "access", "", soon).await.unwrap();
    let mut stream = caller.watch("ada").await;

    let mut told: Vec<(String, String)> = Vec::new();
    while told.last().is_none_or(|(status, _)| status == "active") {
        let message = stream.message().await.unwrap().expect("the stream goes on");
        if let Some(Event::Connection(news)) = message.event {
            let PlatformStatus { status, reason, .. } = news.status.unwrap();
            told.push((status, reason));
        }
    }

    let words: Vec<_> = told.iter().map(|(status, reason)| (status.as_str(), reason.as_str())).collect();
    assert_eq!(words, [("active", ""), ("expired", "not_refreshable")]);
}
