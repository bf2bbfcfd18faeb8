//! Processes whose wall clock is set while they run: the machine's real one, as they see it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::future::join_all;

use crate::eventually::eventually;
use crate::grants::{assert_alive, store_grants};
use crate::installation::Installation;
use crate::oidc::{Fault, Oidc, Stats};
use crate::redis_server::{RedisOptions, RedisServer};

const GRANTS: usize = 10;

/// The library that shows a process another wall clock than the machine's. Clocks that do not step are left alone.
fn faketime() -> PathBuf {
    let folders = fs::read_dir("/usr/lib").unwrap().map(|entry| entry.unwrap().path());
    let mut libraries = folders.map(|folder| folder.join("faketime/libfaketimeMT.so.1"));
    libraries.find(|library| library.exists()).unwrap_or_else(|| panic!("install faketime; ./test does"))
}

/// By how much the wall clock is wrong from now on, such as `+1h`.
fn set(clock: &Path, offset: &str) {
    let next = clock.with_extension("next");
    fs::write(&next, offset).unwrap();
    fs::rename(next, clock).unwrap();
}

fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs().try_into().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_set_by_an_hour_takes_no_claim_away_and_lets_no_token_outlive_itself() {
    for offset in ["+1h", "-1h"] {
        let (redis, provider) = (RedisServer::start(RedisOptions::default()), Oidc::start().await);
        let installation = Installation::over_redis(redis.port(), Some(&provider), "").await;
        let folder = tempfile::tempdir().unwrap();
        let clock = folder.path().join("clock");
        set(&clock, "+0");
        let wrong = installation.command("wrong").env("LD_PRELOAD", faketime().display().to_string());
        let wrong = wrong.env("FAKETIME_TIMESTAMP_FILE", clock.display().to_string());
        let wrong = wrong.env("FAKETIME_NO_CACHE", "1").env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        let (_right, owner) = installation.serve("right").await;
        let (stepped, other) = installation.serve_as(wrong).await;
        let users = store_grants(&owner, &provider, GRANTS).await;
        let held = Fault { times: 60, delay_before_ms: 60_000, ..Fault::default() };
        provider.fault(held).await;
        let calls = users.iter().map(|user| {
            let (owner, user) = (owner.clone(), user.clone());
            tokio::spawn(async move { owner.get(&user).await })
        });
        let calls: Vec<_> = calls.collect();
        provider.arrived(GRANTS).await;

        set(&clock, offset);
        let hurried = join_all(users.iter().map(|user| other.get_within(Duration::from_secs(2), user))).await;
        assert!(hurried.iter().all(Result::is_err), "{offset}: nobody hands out what has expired: {hurried:?}");
        let told = async || stepped.stderr().contains("clock_step").then_some(());
        eventually("the step is told", told).await;
        provider.release().await;
        for call in calls {
            assert_ne!(call.await.unwrap().unwrap().access_token, "expired-access");
        }
        let once = Stats { refreshes_ok: GRANTS as u64, refreshes_refused: 0, grants_revoked: 0 };
        assert_eq!(provider.stats().await, once, "{offset}: the claims held");

        let (before, renewed) = (now(), other.get_another(&users[0]).await.unwrap());
        let life = renewed.expires_at - before;
        assert!((0..=3_600 + 30).contains(&life), "{offset}: a token of an hour for {life} s");
        assert_alive(&owner, &users, &provider).await;
    }
}
