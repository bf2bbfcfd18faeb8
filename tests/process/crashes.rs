//! A vault is ended at each step that cannot be taken back, and at random moments. What a platform answered is there
//! when it starts again.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::future::join_all;
use tonic::Code;

use crate::caller::{Caller, reason};
use crate::grants::assert_alive;
use crate::installation::Installation;
use crate::oidc::{Fault, Oidc, Outcome, POST};
use crate::redis_server::{RedisOptions, RedisServer};
use crate::vault_log::users_of;

/// Claims run out soon, and nobody is waited for who is not coming.
const SOON: &str = "refresh: { lease_seconds: 5 }\noutbox: { handover_seconds: 0 }\nlog: { level: debug }\n";
/// Grants that are refreshed at once when the vault is killed.
const GRANTS: usize = 30;
/// How far apart the provider answers, in milliseconds.
const APART: u64 = 20;

/// Stores one living grant with an access token that has expired.
async fn store_one(caller: &Caller, provider: &Oidc, user: &str) {
    let grant = provider.grants(POST, 1).await.remove(0);
    caller.store_expired(user, &grant.refresh_token).await;
}

/// For each of these places a vault that ends there while it refreshes the token of a user of that name.
async fn end_at(places: &[&str], installation: &Installation, provider: &Oidc) {
    for place in places {
        let (mut vault, caller) = installation.serve("a").await;
        store_one(&caller, provider, place).await;
        vault.kill().await;
        let (mut vault, caller) = installation.serve_until(place, "a").await;
        let cut = caller.get(place).await;
        assert!(cut.is_err(), "`{place}`: {cut:?}");
        assert_eq!(vault.ended().await, None, "`{place}`: a signal ends it");
    }
}

async fn a_rotating_grant_survives(installation: &Installation, provider: &Oidc) {
    let places = ["claimed", "kept", "stored", "removed"];
    end_at(&places, installation, provider).await;
    // Killed once more, while what it left is being stored.
    end_at(&["kept"], installation, provider).await;
    let mut vault = installation.command("a").env("VAULT_FAILPOINT", "replayed").start().await;
    assert_eq!(vault.ended().await, None, "it ends before it serves");

    let (_vault, caller) = installation.serve("a").await;
    let users = places.map(str::to_owned);
    for user in &users {
        let answer = caller.get(user).await.unwrap_or_else(|status| panic!("`{user}`: {status}"));
        assert_ne!(answer.access_token, "expired-access", "`{user}`");
    }
    let stats = provider.stats().await;
    // One for each user, and one more for the one who consented twice.
    assert_eq!((stats.refreshes_ok, stats.refreshes_refused, stats.grants_revoked), (5, 0, 0));
    assert_alive(&caller, &users, provider).await;
}

async fn a_grant_that_does_not_rotate_survives(installation: &Installation, provider: &Oidc) {
    let places = ["claimed", "answered", "stored"];
    end_at(&places, installation, provider).await;
    let (_vault, caller) = installation.serve("a").await;
    for user in places {
        let answer = caller.get(user).await.unwrap_or_else(|status| panic!("`{user}`: {status}"));
        assert_ne!(answer.access_token, "expired-access", "`{user}`");
    }
    let users = places.map(str::to_owned);
    let stats = provider.stats().await;
    assert_eq!((stats.refreshes_ok, stats.refreshes_refused), (4, 0), "the one whose answer was lost was asked again");
    assert_alive(&caller, &users, provider).await;
}

#[tokio::test]
#[cfg_attr(not(feature = "failpoints"), ignore = "needs a binary with failpoints: --features failpoints")]
async fn over_redis_no_step_of_a_refresh_loses_a_grant_that_rotates() {
    let (redis, provider) = (RedisServer::start(RedisOptions::default()), Oidc::start().await);
    a_rotating_grant_survives(&Installation::over_redis(redis.port(), Some(&provider), SOON).await, &provider).await;
}

#[tokio::test]
#[cfg_attr(not(feature = "failpoints"), ignore = "needs a binary with failpoints: --features failpoints")]
async fn over_a_file_no_step_of_a_refresh_loses_a_grant_that_rotates() {
    let provider = Oidc::start().await;
    a_rotating_grant_survives(&Installation::over_a_file(Some(&provider), SOON).await, &provider).await;
}

#[tokio::test]
#[cfg_attr(not(feature = "failpoints"), ignore = "needs a binary with failpoints: --features failpoints")]
async fn over_redis_no_step_of_a_refresh_loses_a_grant_that_does_not_rotate() {
    let (redis, provider) = (RedisServer::start(RedisOptions::default()), Oidc::start_without_rotation().await);
    let installation = Installation::over_redis(redis.port(), Some(&provider), SOON).await;
    a_grant_that_does_not_rotate_survives(&installation, &provider).await;
}

#[tokio::test]
#[cfg_attr(not(feature = "failpoints"), ignore = "needs a binary with failpoints: --features failpoints")]
async fn over_a_file_no_step_of_a_refresh_loses_a_grant_that_does_not_rotate() {
    let provider = Oidc::start_without_rotation().await;
    let installation = Installation::over_a_file(Some(&provider), SOON).await;
    a_grant_that_does_not_rotate_survives(&installation, &provider).await;
}

#[tokio::test]
#[cfg_attr(not(feature = "failpoints"), ignore = "needs a binary with failpoints: --features failpoints")]
async fn what_the_outbox_had_no_time_to_write_is_lost_and_said_to_be() {
    let provider = Oidc::start().await;
    let installation = Installation::over_a_file(Some(&provider), SOON).await;
    end_at(&["answered"], &installation, &provider).await;

    let (_vault, caller) = installation.serve("a").await;
    let refused = caller.get("answered").await.unwrap_err();

    assert_eq!((refused.code(), &*reason(&refused)), (Code::FailedPrecondition, "EXPIRED_TOKEN"), "{refused}");
}

/// What became of a round of refreshes in the middle of which the vault was killed. Users, by what is known of their
/// grants.
struct Round {
    /// How many the provider had rotated.
    rotated: usize,
    /// The vault said that it had the answer.
    arrived: BTreeSet<String>,
    /// The vault said that the answer was on disk.
    on_disk: BTreeSet<String>,
    /// They are dead.
    lost: BTreeSet<String>,
}

/// The step of the last refresh before the kill.
#[derive(Clone, Copy)]
enum Moment {
    /// The provider has rotated the token and is about to answer.
    Rotated,
    /// The answer has left the provider.
    Answered,
}

/// Refreshes that are answered one after the other, until `after` of them have come so far.
async fn killed_in_the_middle(installation: &Installation, provider: &Oidc, after: usize, moment: Moment) -> Round {
    let (mut vault, caller) = installation.serve("a").await;
    let log = provider.log().await;
    let (seen, judged) = (log.len(), log.iter().filter(|request| request.client.is_some()).count());
    let grants = provider.grants(POST, GRANTS).await;
    let users: Vec<String> = (0..GRANTS).map(|n| format!("user-{n}")).collect();
    join_all(users.iter().zip(&grants).map(|(user, grant)| caller.store_expired(user, &grant.refresh_token))).await;
    // Whoever has hung up when its turn comes was never heard.
    for turn in 0..GRANTS as u64 {
        provider.fault(Fault { delay_before_ms: 500 + turn * APART, ..Fault::default() }).await;
    }
    let calls = users.iter().cloned().map(|user| {
        let caller = caller.clone();
        tokio::spawn(async move { caller.get(&user).await })
    });
    let calls: Vec<_> = calls.collect();
    match moment {
        Moment::Rotated => provider.judged(judged + after).await,
        Moment::Answered => provider.finished(seen + after).await,
    }
    let said = vault.last_words().await;
    drop(join_all(calls).await);
    provider.finished(seen + GRANTS).await;
    let log = provider.log().await.split_off(seen);
    let mut round = Round {
        rotated: log.iter().filter(|request| request.outcome == Outcome::Ok).count(),
        arrived: users_of(&said, "a platform has answered").into_iter().collect(),
        on_disk: users_of(&said, "an answer is on disk").into_iter().collect(),
        lost: BTreeSet::new(),
    };

    let (mut vault, caller) = installation.serve("a").await;
    let first = join_all(users.iter().map(|user| caller.get(user))).await;
    let again = join_all(users.iter().map(|user| caller.get_another(user))).await;
    for ((user, first), again) in users.into_iter().zip(first).zip(again) {
        if let Err(status) = first.and(again) {
            assert_eq!(reason(&status), "EXPIRED_TOKEN", "{user}: {status}");
            round.lost.insert(user);
        }
    }
    vault.kill().await;
    round
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_the_moment_of_a_kill_no_answer_is_lost_that_had_arrived() {
    let rounds: usize = std::env::var("VAULT_KILL_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(2);
    let redis = RedisServer::start(RedisOptions { durable: true, ..RedisOptions::default() });
    let provider = Oidc::start().await;
    let installation = Installation::over_redis(redis.port(), Some(&provider), SOON).await;
    let (mut rotated, mut arrived, mut on_disk, mut between, mut lost) = (0, 0, 0, 0, 0);
    for n in 0..rounds {
        let moment = if n % 2 == 0 { Moment::Answered } else { Moment::Rotated };
        let round = killed_in_the_middle(&installation, &provider, 5 + (n * 7 + 5) % (GRANTS - 5), moment).await;
        let both: Vec<_> = round.lost.intersection(&round.on_disk).collect();
        assert!(both.is_empty(), "lost although the answer was on disk: {both:?}");
        rotated += round.rotated;
        arrived += round.arrived.len();
        on_disk += round.on_disk.len();
        between += round.lost.intersection(&round.arrived).count();
        lost += round.lost.len();
    }
    println!(
        "{rounds} kills, {GRANTS} grants each: {rotated} rotated, {arrived} answers arrived, {on_disk} were on disk; \
         {lost} lost, {between} of them after the answer had arrived"
    );
    assert!(on_disk > 0, "the kills came too early to prove anything");
}

#[tokio::test]
async fn an_answer_is_on_disk_within_this_time() {
    let redis = RedisServer::start(RedisOptions { durable: true, ..RedisOptions::default() });
    let provider = Oidc::start().await;
    let installation = Installation::over_redis(redis.port(), Some(&provider), SOON).await;
    let (vault, caller) = installation.serve("a").await;
    for round in 0..10 {
        for user in 0..10 {
            store_one(&caller, &provider, &format!("user-{user}")).await;
            caller.get_within(Duration::from_secs(10), &format!("user-{user}")).await.unwrap_or_else(|status| {
                panic!("round {round}, user {user}: {status}");
            });
        }
    }
    let lines = vault.stderr();
    let lines = lines.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let lines: Vec<_> = lines.collect();
    for message in ["an answer survives this process", "an answer is written"] {
        let said = lines.iter().filter(|line| line["message"] == message);
        let mut took: Vec<u64> = said.map(|line| line["microseconds"].as_u64().unwrap()).collect();
        took.sort_unstable();
        assert_eq!(took.len(), 100, "each of them was written down");
        println!("{message} after {} us (median), {} us (90 %), {} us (longest)", took[50], took[90], took[99]);
    }
}
