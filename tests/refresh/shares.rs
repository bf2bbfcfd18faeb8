//! How instances share the partitions, and what walking them costs.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use vault_engine::adapters::outbox::Bounds;
use vault_engine::domain::ports::{Address, Partition};
use vault_engine::refresher::{BackgroundSettings, Scheduler};

use crate::eventually::eventually;
use crate::house::{Instance, LIFE, Setup, World, connection_of};
use crate::memory_store::MemoryStore;

const SETTINGS: BackgroundSettings = BackgroundSettings {
    tick: Duration::from_millis(20),
    per_second: 10_000,
    concurrency: 1_000,
    lease: Duration::from_millis(600),
};

/// A scheduler that runs until it is stopped, or killed.
struct Running {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
    _vault: Instance,
}

// === impl Running ===

impl Running {
    fn start(world: &World) -> Self {
        let vault = world.instance();
        let (stop, stopped) = oneshot::channel();
        let scheduler = scheduler(world, &vault);
        let task = tokio::spawn(scheduler.run(async move { stopped.await.unwrap_or_default() }));
        Self { stop, task, _vault: vault }
    }

    async fn stop(self) {
        self.stop.send(()).unwrap();
        self.task.await.unwrap();
    }
}

fn scheduler(world: &World, vault: &Instance) -> Scheduler {
    Scheduler::new(Arc::clone(&vault.refresher), Arc::clone(&world.store), Arc::clone(&world.index), SETTINGS)
}

/// How many partitions each owner has; 0 is nobody.
async fn shares(world: &World) -> BTreeMap<u64, usize> {
    let leases = join_all(Partition::all().map(|partition| {
        let store = Arc::clone(&world.store);
        async move { store.get(&Address::Lease { partition }).await.unwrap() }
    }));
    let owner = |value: &[u8]| u64::from_be_bytes(value[1..9].try_into().unwrap());
    leases.await.into_iter().flatten().fold(BTreeMap::new(), |mut shares, lease| {
        *shares.entry(owner(&lease.value)).or_default() += 1;
        shares
    })
}

async fn come_to_be(world: &World, wanted: &[usize]) {
    let look = async || {
        let mut counts: Vec<_> = shares(world).await.into_values().collect();
        counts.sort_unstable();
        (counts == wanted).then_some(())
    };
    eventually(&format!("shares of {wanted:?}"), look).await;
}

#[tokio::test]
async fn instances_come_to_even_shares_whoever_comes_and_goes() {
    let world = World::new().await;
    let first = Running::start(&world);
    come_to_be(&world, &[16]).await;
    let second = Running::start(&world);
    come_to_be(&world, &[8, 8]).await;
    let third = Running::start(&world);
    come_to_be(&world, &[5, 5, 6]).await;

    third.task.abort();
    come_to_be(&world, &[8, 8]).await;
    second.stop().await;
    come_to_be(&world, &[16]).await;
    first.stop().await;
    assert_eq!(shares(&world).await, BTreeMap::from([(0, 16)]), "all of them are given back");
}

/// How often the store is asked while `due` of `stored` tokens are refreshed, and in how many ticks.
async fn calls(stored: usize, due: usize) -> (usize, usize) {
    let store = Arc::new(MemoryStore::default());
    let roomy = |setup: &mut Setup| setup.outbox = Bounds { entries: 1_000, bytes: 1_024 * 1_024 * 1_024 };
    let world = World::over(Arc::clone(&store), tempfile::tempdir().unwrap(), roomy).await;
    let vault = world.instance();
    for user in 0..due {
        vault.consent(&connection_of(&format!("due-{user}")), "access-0", "refresh-0").await;
    }
    world.clock.advance(LIFE / 2);
    for user in due..stored {
        vault.consent(&connection_of(&format!("fresh-{user}")), "access-0", "refresh-0").await;
    }
    world.clock.advance(LIFE / 2);
    let mut scheduler = scheduler(&world, &vault);
    let (before, mut ticks) = (store.calls(), 0);
    while world.refreshes() < due {
        scheduler.tick().await;
        vault.settled().await;
        ticks += 1;
    }
    assert_eq!(world.refreshes(), due);
    (store.calls() - before, ticks)
}

/// Sixteen leases read and written, sixteen looks into the index.
const PER_TICK: usize = 3 * 16;
/// Two reads, the claim and the answer.
const PER_REFRESH: usize = 4;

#[tokio::test]
async fn the_work_of_a_tick_grows_with_what_is_due_and_not_with_what_is_stored() {
    let (few, many) = (calls(300, 50).await, calls(3_000, 50).await);
    assert_eq!(few, many);
    assert_eq!(few, (PER_TICK + PER_REFRESH * 50, 1));
    assert_eq!(calls(300, 100).await, (PER_TICK + PER_REFRESH * 100, 1));
}

/// How many tokens are stored; a million in the long form.
fn tokens() -> usize {
    std::env::var("VAULT_TEST_TOKENS").ok().and_then(|tokens| tokens.parse().ok()).unwrap_or(10_000)
}

#[tokio::test]
async fn of_however_many_tokens_the_hundredth_that_is_due_is_all_that_is_touched() {
    let (stored, due) = (tokens(), tokens() / 100);
    let (asked, ticks) = calls(stored, due).await;

    println!("{stored} stored, {due} due: the store was asked {asked} times in {ticks} ticks");
    let refreshes = PER_REFRESH * due;
    assert!((refreshes..=refreshes + PER_TICK * ticks).contains(&asked), "{asked} times in {ticks} ticks");
    assert!(ticks <= 2 + due / 100, "{ticks} ticks");
}
