//! One refresh per generation, whoever asks and however often.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::join_all;
use vault_engine::domain::catalog::Platform;
use vault_engine::domain::error::VaultError;
use vault_engine::domain::ports::{Exchange, RefreshCall, Renewal as _, TokenEndpoint, Wanted};
use vault_engine::domain::secret::{AccessToken, ClientSecret};
use vault_engine::domain::time::Timestamp;

use crate::eventually::eventually;
use crate::house::{Instance, LEASE, LIFE, World, connection_of, granted};

const MOMENT: Duration = Duration::from_millis(100);

/// Three instances, twenty callers each, one expired record.
async fn is_refreshed_once(world: World) {
    let key = connection_of("ada");
    let instances: [Instance; 3] = std::array::from_fn(|_| world.instance());
    instances[0].consent(&key, "access-0", "refresh-0").await;
    world.clock.advance(LIFE);
    let gate = world.hold(granted(1));

    let callers = join_all(instances.iter().flat_map(|instance| (0..20).map(|_| instance.get(&key))));
    let (answers, ()) = tokio::join!(callers, async {
        world.provider.has_seen(1).await;
        gate.open();
    });

    assert_eq!(answers.len(), 60);
    for answer in answers {
        let answer = answer.unwrap();
        assert_eq!((answer.access.expose(), answer.refreshed), ("access-1", true));
    }
    assert_eq!(world.presented(), ["refresh-0"]);
    assert_eq!(world.connection(&key).await.generation.0, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_callers_of_three_instances_make_one_refresh() {
    is_refreshed_once(World::new().await).await;
}

#[cfg(feature = "redis")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_callers_of_three_instances_make_one_refresh_over_redis() {
    use crate::redis_server::{RedisOptions, RedisServer};
    use vault_engine::adapters::store::redis::{Endpoint, RedisSettings, RedisStore, Shape};

    let server = RedisServer::start(RedisOptions::default());
    let endpoint = Endpoint { host: "127.0.0.1".to_owned(), port: server.port() };
    let settings = RedisSettings { shape: Shape::Server(endpoint), ..RedisSettings::default() };
    let store = RedisStore::connect(&settings).await.unwrap();
    is_refreshed_once(World::over(Arc::new(store), tempfile::tempdir().unwrap(), |_| {}).await).await;
}

#[tokio::test]
async fn a_refresh_that_runs_elsewhere_is_waited_for() {
    let (world, key) = (World::new().await, connection_of("ada"));
    let (a, b) = (world.instance(), world.instance());
    a.consent(&key, "access-0", "refresh-0").await;
    world.clock.advance(LIFE);
    let gate = world.hold(granted(1));

    let (first, second, ()) = tokio::join!(a.get(&key), b.get(&key), async {
        world.provider.has_seen(1).await;
        eventually("both have looked at the record", async || (a.store.reads().min(b.store.reads()) > 1).then_some(()))
            .await;
        gate.open();
    });

    assert_eq!(first.unwrap().access.expose(), "access-1");
    assert_eq!(second.unwrap().access.expose(), "access-1");
    assert_eq!(world.refreshes(), 1);
}

#[tokio::test]
async fn whoever_cannot_wait_for_it_is_told_when_to_come_back() {
    let (world, key) = (World::new().await, connection_of("ada"));
    let (a, b) = (world.instance(), world.instance());
    a.consent(&key, "access-0", "refresh-0").await;
    world.clock.advance(LIFE);
    let gate = world.hold(granted(1));

    for hurried in [a.get_within(MOMENT, &key).await, b.get_within(MOMENT, &key).await] {
        let Err(VaultError::Contended { retry_after }) = hurried else { panic!("{hurried:?}") };
        assert!(!retry_after.is_zero());
    }
    gate.open();

    assert_eq!(b.get(&key).await.unwrap().access.expose(), "access-1");
    assert_eq!(world.refreshes(), 1);
}

#[tokio::test]
async fn a_refresh_goes_on_when_all_its_callers_are_gone() {
    let (world, key) = (World::new().await, connection_of("ada"));
    let vault = world.instance();
    vault.consent(&key, "access-0", "refresh-0").await;
    world.clock.advance(LIFE);
    let gate = world.hold(granted(1));

    let callers = join_all((0..5).map(|_| vault.get(&key)));
    tokio::select! {
        _ = callers => panic!("there is no answer yet"),
        () = world.provider.has_seen(1) => {}
    }
    gate.open();
    vault.settled().await;

    assert_eq!(world.connection(&key).await.grant.access.expose(), "access-1");
}

#[tokio::test]
async fn a_token_about_to_expire_is_served_while_one_refresh_runs_behind_it() {
    let (world, key) = (World::new().await, connection_of("ada"));
    let vault = world.instance();
    vault.consent(&key, "access-0", "refresh-0").await;
    world.clock.advance(LIFE - Duration::from_secs(120));

    for answer in join_all((0..20).map(|_| vault.get(&key))).await {
        let answer = answer.unwrap();
        assert_eq!((answer.access.expose(), answer.refresh_in_progress, answer.warning), ("access-0", true, None));
    }
    vault.settled().await;

    assert_eq!(vault.get(&key).await.unwrap().access.expose(), "access-1");
    assert_eq!(world.refreshes(), 1);
}

#[tokio::test]
async fn a_wish_for_a_longer_life_than_the_margin_is_honoured() {
    let (world, key) = (World::new().await, connection_of("ada"));
    let vault = world.instance();
    vault.consent(&key, "access-0", "refresh-0").await;
    world.clock.advance(LIFE / 2);
    let wish = Duration::from_secs(2_400);

    let renewed = vault.get_lasting(wish, &key).await.unwrap();
    let again = vault.get_lasting(wish, &key).await.unwrap();

    assert_eq!((renewed.access.expose(), renewed.refreshed), ("access-1", true));
    assert_eq!((again.access.expose(), again.refreshed), ("access-1", false));
    assert_eq!(world.refreshes(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_every_instance_was_refused_with_is_replaced_once() {
    let (world, key) = (World::new().await, connection_of("ada"));
    let instances: [Instance; 3] = std::array::from_fn(|_| world.instance());
    instances[0].consent(&key, "access-0", "refresh-0").await;
    let gate = world.hold(granted(1));

    let callers = join_all(instances.iter().map(|instance| instance.get_another(&key)));
    let (answers, ()) = tokio::join!(callers, async {
        let have_looked = async || instances.iter().all(|instance| instance.store.reads() > 1).then_some(());
        eventually("all have looked at the record", have_looked).await;
        gate.open();
    });

    for answer in answers {
        assert_eq!(answer.unwrap().access.expose(), "access-1");
    }
    assert_eq!(world.refreshes(), 1);
}

#[tokio::test]
async fn callers_who_may_wait_for_one_refresh_are_counted() {
    let (world, key) = (World::with(|setup| setup.settings.max_waiters = 3).await, connection_of("ada"));
    let vault = world.instance();
    vault.consent(&key, "access-0", "refresh-0").await;
    world.clock.advance(LIFE);
    let gate = world.hold(granted(1));
    let request = "request-1".parse().unwrap();
    let waiter = || vault.refresher.renew_and_wait(&key, &request, Wanted::Lasting(Duration::ZERO), LIFE);

    let mut waiting = join_all((0..3).map(|_| waiter()));
    tokio::select! {
        _ = &mut waiting => panic!("there is no answer yet"),
        () = world.provider.has_seen(1) => {}
    }
    let turned_away = waiter().await;
    gate.open();

    let Err(VaultError::TooManyWaiters { retry_after }) = turned_away else { panic!("{turned_away:?}") };
    assert!(!retry_after.is_zero());
    for outcome in waiting.await {
        assert_eq!(outcome.unwrap().0.grant.access.expose(), "access-1");
    }
}

#[tokio::test]
async fn the_shortest_lease_there_is_leaves_time_for_the_platform() {
    let world = World::with(|setup| setup.settings.lease = Duration::from_secs(5)).await;
    let (vault, key) = (world.instance(), connection_of("ada"));
    vault.consent(&key, "access-0", "refresh-0").await;
    world.clock.advance(LIFE);

    assert_eq!(vault.get(&key).await.unwrap().access.expose(), "access-1");
}

/// A way to the platform that leads nowhere.
struct Crashing;

#[async_trait]
impl TokenEndpoint for Crashing {
    async fn refresh(&self, _: RefreshCall<'_>) -> Exchange {
        panic!("this is what the test is about")
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

#[tokio::test]
async fn a_refresh_that_crashes_leaves_nobody_waiting_and_can_be_tried_again() {
    let (world, key) = (World::new().await, connection_of("ada"));
    let (crashing, sound) = (world.instance_with(Arc::new(Crashing)), world.instance());
    crashing.consent(&key, "access-0", "refresh-0").await;
    world.clock.advance(LIFE);

    for answer in join_all((0..5).map(|_| crashing.get(&key))).await {
        assert!(matches!(answer, Err(VaultError::Internal(_))), "{answer:?}");
    }
    sound.sees(&key).await;
    world.clock.advance(LEASE);

    assert_eq!(sound.get(&key).await.unwrap().access.expose(), "access-1");
}

#[tokio::test]
async fn whoever_wants_another_token_does_not_get_the_one_there_is_from_a_refresh_that_was_under_way() {
    let (world, key) = (World::new().await, connection_of("ada"));
    let (first, second) = (world.instance(), world.instance());
    first.consent(&key, "access-0", "refresh-0").await;
    world.clock.advance(LIFE);
    let gate = world.hold(granted(7));
    let (answer, ()) = tokio::join!(first.get(&key), async {
        world.provider.has_seen(1).await;
        // Its caller gives up, and it goes on waiting for the claim of the other instance.
        let hurried = second.get_within(Duration::from_millis(50), &key).await;
        assert!(matches!(hurried, Err(VaultError::Contended { .. })), "{hurried:?}");
        gate.open();
    });
    assert_eq!(answer.unwrap().access.expose(), "access-7");

    let another = second.get_another(&key).await.unwrap();

    assert_eq!(another.access.expose(), "access-1");
    assert_eq!(world.presented(), ["refresh-0", "refresh-7"]);
}
