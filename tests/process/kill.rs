//! An instance is killed with its refreshes on the way. Whoever asks the others gets a token, and no grant is lost whose
//! answer had not arrived.

use std::time::Duration;

use futures_util::future::join_all;

use crate::eventually::eventually;
use crate::grants::{assert_alive, store_grants};
use crate::installation::Installation;
use crate::oidc::{Fault, Oidc, Outcome};
use crate::redis_server::{RedisOptions, RedisServer};

/// Grants each instance is refreshing in the moment of the kill.
const EACH: usize = 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_killed_in_the_middle_of_its_refreshes_loses_no_grant() {
    let (redis, provider) = (RedisServer::start(RedisOptions::default()), Oidc::start().await);
    let soon = "refresh: { lease_seconds: 10 }\noutbox: { handover_seconds: 2 }\n";
    let installation = Installation::over_redis(redis.port(), Some(&provider), soon).await;
    let [(mut doomed, a), (_b, b), (_c, c)] =
        [installation.serve("a").await, installation.serve("b").await, installation.serve("c").await];
    let users = store_grants(&b, &provider, 3 * EACH).await;
    let held = Fault { times: 60, delay_before_ms: 60_000, ..Fault::default() };
    provider.fault(held).await;

    let calls = users.chunks(EACH).zip([&a, &b, &c]).flat_map(|(users, caller)| {
        users.iter().map(|user| {
            let (caller, user) = (caller.clone(), user.clone());
            tokio::spawn(async move { caller.get(&user).await })
        })
    });
    let calls: Vec<_> = calls.collect();
    provider.arrived(3 * EACH).await;
    doomed.kill().await;
    eventually("the provider notices that somebody hung up", async || {
        let abandoned = provider.log().await.iter().filter(|seen| seen.outcome == Outcome::Abandoned).count();
        (abandoned == EACH).then_some(())
    })
    .await;
    provider.release().await;

    let answers: Vec<_> = join_all(calls).await.into_iter().map(Result::unwrap).collect();
    let (cut, answered) = answers.split_at(EACH);
    assert!(cut.iter().all(Result::is_err), "their instance is gone");
    assert!(answered.iter().all(Result::is_ok), "{answered:?}");

    // The claims of the dead instance hold for a while. Then the others take over.
    let rest = join_all(users.iter().enumerate().map(|(n, user)| if n % 2 == 0 { b.get(user) } else { c.get(user) }));
    for (user, answer) in users.iter().zip(rest.await) {
        let answer = answer.unwrap_or_else(|status| panic!("{user}: {status}"));
        assert_ne!(answer.access_token, "expired-access");
    }
    let stats = provider.stats().await;
    println!("killed with {EACH} refreshes on the way: {stats:?}");
    assert_eq!((stats.refreshes_ok, stats.refreshes_refused, stats.grants_revoked), (60, 0, 0));
    assert_alive(&c, &users, &provider).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_refreshed_before_a_kill_is_there_after_it() {
    let redis = RedisServer::start(RedisOptions { durable: true, ..RedisOptions::default() });
    let provider = Oidc::start().await;
    let installation = Installation::over_redis(redis.port(), Some(&provider), "").await;
    let (mut first, caller) = installation.serve("a").await;
    let users = store_grants(&caller, &provider, EACH).await;
    let before = join_all(users.iter().map(|user| caller.get(user))).await;

    first.kill().await;
    let (_second, caller) = installation.serve("a").await;

    let after = join_all(users.iter().map(|user| caller.get_within(Duration::from_secs(10), user))).await;
    for (before, after) in before.into_iter().zip(after) {
        assert_eq!(before.unwrap().access_token, after.unwrap().access_token);
    }
    assert_eq!(provider.stats().await.refreshes_ok, EACH as u64);
    assert_alive(&caller, &users, &provider).await;
}
