//! The proof: three instances over one store, a crowd of callers, a provider that revokes a grant whose token comes
//! twice. Every grant is refreshed once and lives.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use futures_util::future::join_all;

use crate::caller::Caller;
use crate::installation::Installation;
use crate::oidc::{Oidc, Outcome, POST, Stats};
use crate::redis_server::{RedisOptions, RedisServer};

const GRANTS: usize = 200;
const CALLERS: usize = 50;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_at_three_instances_refreshes_every_grant_once_and_loses_none() {
    let (redis, provider) = (RedisServer::start(RedisOptions::default()), Oidc::start().await);
    let installation = Installation::over_redis(redis.port(), Some(&provider), "").await;
    let names = ["a", "b", "c"];
    let instances = join_all(names.iter().map(|name| installation.serve(name))).await;
    let callers: Vec<Caller> = instances.iter().map(|(_, caller)| caller.clone()).collect();
    let users = store_grants(&callers[0], &provider, GRANTS).await;

    let began = Instant::now();
    let crowd = (0..CALLERS * callers.len()).map(|n| {
        let (caller, users) = (callers[n % callers.len()].clone(), users.clone());
        tokio::spawn(async move { visit(&caller, &users, n * 7).await })
    });
    let mut tokens: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for visitor in join_all(crowd).await {
        for (user, token) in visitor.unwrap() {
            tokens.entry(user).or_default().insert(token);
        }
    }
    let took = began.elapsed();

    let stats = provider.stats().await;
    println!("{} calls in {took:.1?}: {stats:?}", GRANTS * CALLERS * callers.len());
    assert_eq!(tokens.len(), GRANTS);
    assert!(tokens.values().all(|seen| seen.len() == 1 && !seen.contains("expired-access")), "one new token each");
    assert_eq!(stats, Stats { refreshes_ok: 200, refreshes_refused: 0, grants_revoked: 0 });
    let log = provider.log().await;
    let refreshed: BTreeSet<_> = log.iter().map(|request| request.grant.clone().unwrap()).collect();
    assert_eq!((log.len(), refreshed.len()), (GRANTS, GRANTS), "one request for each grant");
    assert_alive(&callers[1], &users, &provider).await;
}

/// Stores living grants with access tokens that have expired; the users they belong to.
pub(crate) async fn store_grants(caller: &Caller, provider: &Oidc, count: usize) -> Vec<String> {
    let grants = provider.grants(POST, count).await;
    let users: Vec<String> = (0..count).map(|n| format!("user-{n}")).collect();
    join_all(users.iter().zip(&grants).map(|(user, grant)| caller.store_expired(user, &grant.refresh_token))).await;
    users
}

/// Gets the token of every user, each caller in an order of its own.
async fn visit(caller: &Caller, users: &[String], start: usize) -> Vec<(String, String)> {
    let mut got = Vec::with_capacity(users.len());
    for user in users.iter().cycle().skip(start % users.len()).take(users.len()) {
        let answer = caller.get(user).await.unwrap_or_else(|status| panic!("{user}: {status}"));
        got.push((user.clone(), answer.access_token));
    }
    got
}

/// What is stored for each of them can be refreshed once more: the vault holds the one token of the grant that is good.
pub(crate) async fn assert_alive(caller: &Caller, users: &[String], provider: &Oidc) {
    let before = provider.stats().await;
    let answers = join_all(users.iter().map(|user| caller.get_another(user))).await;
    let dead: Vec<_> =
        users.iter().zip(&answers).filter_map(|(user, answer)| Some((user, answer.as_ref().err()?))).collect();
    let after = provider.stats().await;
    println!("alive: {} of {}", users.len() - dead.len(), users.len());
    assert!(dead.is_empty(), "{dead:?}");
    assert_eq!(after.refreshes_ok - before.refreshes_ok, users.len() as u64);
    assert_eq!((after.refreshes_refused, after.grants_revoked), (0, 0));
    let refused = provider.log().await.into_iter().find(|request| request.outcome == Outcome::Refused);
    assert!(refused.is_none(), "{refused:?}");
}
