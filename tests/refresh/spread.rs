//! How evenly the scheduler asks a platform, on a clock that stands still until there is nothing left to do.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::{Instant, interval};
use vault_engine::domain::catalog::Platform;
use vault_engine::domain::connection::Renewed;
use vault_engine::domain::ports::{Clock as _, Exchange, Granted, RefreshCall, TokenEndpoint};
use vault_engine::domain::profile::Rotates;
use vault_engine::domain::secret::{AccessToken, ClientSecret, RefreshToken};
use vault_engine::domain::time::Timestamp;
use vault_engine::refresher::{BackgroundSettings, Scheduler};

use crate::house::{LIFE, Setup, World, connection_of};
use crate::memory_store::MemoryStore;
use crate::set_clock::SetClock;

/// A platform that grants at once, and remembers when it was asked.
struct Counting {
    clock: Arc<SetClock>,
    asked: Mutex<Vec<Instant>>,
}

#[async_trait]
impl TokenEndpoint for Counting {
    async fn refresh(&self, _: RefreshCall<'_>) -> Exchange {
        self.asked.lock().unwrap().push(Instant::now());
        let sent_at = self.clock.now();
        let renewed = Renewed {
            access: AccessToken::new("access-1".to_owned()).unwrap(),
            refresh: RefreshToken::new("refresh-1".to_owned()),
            expires_at: Some(sent_at + LIFE * 10),
            sent_at,
            scopes: None,
            token_type: None,
            refresh_expires_at: None,
        };
        Exchange::Granted(Box::new(Granted { renewed, expiry_assumed: false, server_date: None }))
    }

    async fn introspect(
        &self,
        _: &Platform,
        _: Option<&ClientSecret>,
        _: &AccessToken,
        _: Duration,
    ) -> Option<Timestamp> {
        None
    }
}

/// How many requests the platform sees in each second, when so many tokens of the same moment fall due.
async fn requests_per_second(tokens: usize, per_second: u32) -> Vec<usize> {
    // What does not rotate does not wait for a disk, which this clock would not wait for.
    let folder = tempfile::tempdir().unwrap();
    let plain = |setup: &mut Setup| setup.profile.refresh.rotates = Rotates::No;
    let world = World::over(Arc::new(MemoryStore::default()), folder, plain).await;
    let platform = Arc::new(Counting { clock: Arc::clone(&world.clock), asked: Mutex::default() });
    let vault = world.instance_with(Arc::clone(&platform) as _);
    for user in 0..tokens {
        vault.consent(&connection_of(&format!("user-{user}")), "access-0", "refresh-0").await;
    }
    world.clock.advance(LIFE - Duration::from_secs(310));
    let settings = BackgroundSettings { per_second, ..BackgroundSettings::default() };
    let scheduler =
        Scheduler::new(Arc::clone(&vault.refresher), Arc::clone(&world.store), Arc::clone(&world.index), settings);
    let passing = async {
        let mut seconds = interval(Duration::from_secs(1));
        seconds.tick().await;
        while platform.asked.lock().unwrap().len() < tokens {
            seconds.tick().await;
            world.clock.advance(Duration::from_secs(1));
        }
    };
    scheduler.run(passing).await;
    let asked = platform.asked.lock().unwrap();
    assert_eq!(asked.len(), tokens, "each once");
    let first = asked[0];
    let last = asked[tokens - 1].duration_since(first).as_secs();
    let in_second = |second| asked.iter().filter(|at| at.duration_since(first).as_secs() == second).count();
    (0..=last).map(in_second).collect()
}

fn assert_even(seconds: &[usize]) {
    let mean = seconds.iter().sum::<usize>() / seconds.len();
    let most = seconds.iter().copied().max().unwrap();
    assert!(most <= 2 * mean, "{most} in one second, {mean} in the mean: {seconds:?}");
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_tokens_of_one_moment_are_refreshed_evenly() {
    let seconds = requests_per_second(10_000, 1_000).await;
    assert_even(&seconds);
    assert!((55..=75).contains(&seconds.len()), "over the time in which they fall due: {} s", seconds.len());
}

#[tokio::test(start_paused = true)]
async fn no_platform_is_asked_faster_than_its_budget() {
    let seconds = requests_per_second(2_000, 20).await;
    assert_even(&seconds);
    assert!(seconds.iter().all(|requests| *requests <= 21), "{seconds:?}");
}
