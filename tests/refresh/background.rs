//! What the scheduler does about what is due, and what it leaves alone.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use vault_engine::domain::audit::{AuditAction, AuditResult};
use vault_engine::domain::id::ConnectionKey;
use vault_engine::domain::ports::{
    Address, Change, ChangeCursor, Changes, Clock as _, Expected, Hints, Item, Partition, Record, Scope, StateHint,
};
use vault_engine::domain::time::Timestamp;
use vault_engine::refresher::{BackgroundSettings, Scheduler};

use crate::house::{Instance, LEASE, LIFE, World, connection_of, granted, refused};

/// As fast as a test likes it.
const FAST: BackgroundSettings = BackgroundSettings {
    tick: Duration::from_millis(20),
    per_second: 10_000,
    concurrency: 32,
    lease: Duration::from_secs(60),
};

/// The scheduler of an instance.
fn scheduler(world: &World, vault: &Instance) -> Scheduler {
    Scheduler::new(Arc::clone(&vault.refresher), Arc::clone(&vault.store) as _, Arc::clone(&world.index), FAST)
}

/// Lets an instance look around some times, and finish what it found.
async fn looks_around(world: &World, vault: &Instance) {
    let mut scheduler = scheduler(world, vault);
    for _ in 0..5 {
        scheduler.tick().await;
    }
    scheduler.retire().await;
    vault.settled().await;
}

/// What the record can be found by.
async fn hints(world: &World, key: &ConnectionKey) -> Hints {
    let page = world.index.scan(&Scope::Tenant(key.tenant.clone()), None, 100).await.unwrap();
    let of_it = |item: &Item| item.address == Address::Connection(key.clone());
    page.items.into_iter().find(of_it).unwrap().hints
}

/// Where the changes of the record end.
async fn end(world: &World, key: &ConnectionKey) -> ChangeCursor {
    let partition = Partition::of(&key.tenant, &key.user);
    match world.index.changes(partition, None, 1).await.unwrap() {
        Changes::Next { cursor, .. } => cursor,
        Changes::Forgotten => panic!("there is always an end"),
    }
}

/// How the changes of the record after a place look to whoever watches.
async fn changes(world: &World, key: &ConnectionKey, after: &ChangeCursor) -> Vec<Change> {
    let partition = Partition::of(&key.tenant, &key.user);
    let Changes::Next { changes, .. } = world.index.changes(partition, Some(after), 100).await.unwrap() else {
        panic!("they are remembered for a day")
    };
    changes.into_iter().map(|(change, _)| change).collect()
}

#[tokio::test]
async fn a_token_is_refreshed_before_anybody_asks_for_it() {
    let (world, key) = (World::new().await, connection_of("ada"));
    let vault = world.instance();
    vault.consent(&key, "access-0", "refresh-0").await;
    world.clock.advance(LIFE - Duration::from_secs(200));

    looks_around(&world, &vault).await;

    assert_eq!(world.presented(), ["refresh-0"]);
    let got = vault.get(&key).await.unwrap();
    assert_eq!((got.access.expose(), got.refreshed, got.refresh_in_progress), ("access-1", false, false));
    let due = hints(&world, &key).await.due_at.unwrap().since(world.clock.now());
    assert!((LIFE - Duration::from_secs(301)..LIFE).contains(&due), "{due:?}");
}

#[tokio::test]
async fn a_background_refresh_is_in_the_trail_like_any_other() {
    let (world, key) = (World::new().await, connection_of("ada"));
    let vault = world.instance();
    vault.consent(&key, "access-0", "refresh-0").await;
    world.clock.advance(LIFE);

    looks_around(&world, &vault).await;

    let [line] = &vault.audit.entries()[..] else { panic!("one line") };
    assert_eq!((line.action, line.result, line.record_version), (AuditAction::Refresh, AuditResult::Ok, Some(3)));
    assert!(line.request_id.as_str().starts_with("background-"), "{}", line.request_id);
    assert!(line.engine.is_none());
}

#[tokio::test]
async fn what_is_not_due_is_not_even_read() {
    let (world, key) = (World::new().await, connection_of("ada"));
    let vault = world.instance();
    vault.consent(&key, "access-0", "refresh-0").await;
    world.clock.advance(LIFE - Duration::from_secs(301));
    let reads = vault.store.reads();

    looks_around(&world, &vault).await;

    assert_eq!((vault.store.reads(), world.refreshes()), (reads, 0));
}

#[tokio::test]
async fn a_refresh_token_that_would_die_idle_is_kept_alive() {
    let world = World::with(|setup| {
        setup.profile.refresh.idle_days = Some(30);
        setup.profile.expiry.never = true;
    })
    .await;
    let (vault, key) = (world.instance(), connection_of("ada"));
    vault.consent(&key, "access-0", "refresh-0").await;
    world.clock.advance(Duration::from_hours(24 * 22));
    looks_around(&world, &vault).await;
    assert_eq!(world.refreshes(), 0);
    world.clock.advance(Duration::from_hours(24 * 2));

    let vault = world.instance();
    looks_around(&world, &vault).await;

    assert_eq!(world.presented(), ["refresh-0"]);
}

#[tokio::test]
async fn what_fails_is_tried_again_when_it_has_rested_and_not_before() {
    let (world, key) = (World::new().await, connection_of("ada"));
    let vault = world.instance();
    vault.consent(&key, "access-0", "refresh-0").await;
    world.clock.advance(LIFE - Duration::from_secs(200));
    world.provider.will(refused(503, "busy"));

    looks_around(&world, &vault).await;
    let other = world.instance();
    looks_around(&world, &other).await;
    assert_eq!(world.refreshes(), 1);
    let next_at = world.connection(&key).await.backoff.unwrap().next_at;
    let due_at = hints(&world, &key).await.due_at.unwrap();
    assert!(due_at >= next_at && due_at.since(next_at) <= Duration::from_secs(1));

    world.clock.advance(Duration::from_secs(31));
    let third = world.instance();
    looks_around(&world, &third).await;
    assert_eq!(world.connection(&key).await.grant.access.expose(), "access-1");
}

#[tokio::test]
async fn a_platform_that_is_left_alone_is_asked_nothing_in_the_background() {
    let world = World::new().await;
    let vault = world.instance();
    vault.consent(&connection_of("first"), "a", "r").await;
    world.clock.advance(LIFE);
    world.provider.will(refused(401, "invalid_client"));
    assert!(vault.get(&connection_of("first")).await.is_err(), "this opens the circuit");
    for user in 0..20 {
        vault.consent(&connection_of(&format!("u{user}")), "a", "r").await;
    }
    world.clock.advance(LIFE);
    let reads = vault.store.reads();

    looks_around(&world, &vault).await;

    assert_eq!((world.refreshes(), vault.store.reads()), (1, reads));
}

#[tokio::test]
async fn a_record_that_cannot_be_read_is_not_looked_at_again_and_again() {
    let world = World::new().await;
    let (vault, key) = (world.instance(), connection_of("ada"));
    vault.consent(&key, "access-0", "refresh-0").await;
    let long_ago = Some(Timestamp::from_unix_seconds(1));
    for user in ["mallory", "trudy"] {
        let hints = Hints { state: StateHint::Alive, expires_at: long_ago, due_at: long_ago };
        let planted = Record { value: Bytes::from_static(b"not a sealed record"), hints };
        world.store.put(&Address::Connection(connection_of(user)), Expected::Absent, planted).await.unwrap();
    }
    world.clock.advance(LIFE);
    let reads = vault.store.reads();

    looks_around(&world, &vault).await;

    assert_eq!(world.connection(&key).await.grant.access.expose(), "access-1", "the others are none the worse for it");
    // One look, one read under the flight, and one for each of the two.
    assert_eq!(vault.store.reads() - reads, 4);
}

#[tokio::test]
async fn hints_that_promise_too_much_are_put_right_once() {
    let world = World::new().await;
    let (vault, key) = (world.instance(), connection_of("ada"));
    let mut hasty = world.profile().clone();
    hasty.refresh.margin = LIFE / 2;
    world.instance_of(&hasty).consent(&key, "access-0", "refresh-0").await;
    let wrong = hints(&world, &key).await.due_at.unwrap();
    world.clock.advance(wrong.since(world.clock.now()));

    looks_around(&world, &vault).await;

    assert_eq!((world.refreshes(), world.entry(&key).await.1.0), (0, 2));
    let right = hints(&world, &key).await.due_at.unwrap();
    assert!(right.since(wrong) > LIFE / 5, "{right} is no better than {wrong}");
}

#[tokio::test]
async fn the_end_of_a_token_that_nothing_renews_is_a_change_that_can_be_watched() {
    let (world, key) = (World::new().await, connection_of("ada"));
    let (vault, beginning) = (world.instance(), end(&world, &key).await);
    vault.consent_without_refresh_token(&key, "access-0").await;
    world.clock.advance(LIFE - Duration::from_secs(31));
    looks_around(&world, &vault).await;
    assert_eq!(changes(&world, &key, &beginning).await.len(), 1);
    world.clock.advance(Duration::from_secs(1));

    let vault = world.instance();
    looks_around(&world, &vault).await;

    let states: Vec<_> = changes(&world, &key, &beginning).await.into_iter().map(|change| change.state).collect();
    assert_eq!(states, [StateHint::Alive, StateHint::Dead]);
    assert_eq!(hints(&world, &key).await.due_at, None);
    assert_eq!(world.refreshes(), 0);
}

#[tokio::test]
async fn what_a_dead_instance_had_begun_is_found_without_anybody_asking() {
    let (world, key) = (World::new().await, connection_of("ada"));
    let (dying, survivor) = (world.instance(), world.instance());
    dying.consent(&key, "access-0", "refresh-0").await;
    world.clock.advance(LIFE);
    world.dies_waiting(&dying, dying.get(&key)).await;
    survivor.sees(&key).await;
    world.clock.advance(LEASE + Duration::from_secs(1));

    looks_around(&world, &survivor).await;

    assert_eq!(world.connection(&key).await.grant.access.expose(), "access-1");
}

#[tokio::test]
async fn a_deleted_connection_is_never_due() {
    let (world, key) = (World::new().await, connection_of("ada"));
    let vault = world.instance();
    vault.consent(&key, "access-0", "refresh-0").await;
    vault.delete(&key).await;

    assert_eq!(hints(&world, &key).await, Hints { state: StateHint::Deleted, ..Hints::default() });
}

#[tokio::test]
async fn a_caller_and_the_scheduler_make_one_refresh() {
    let (world, key) = (World::new().await, connection_of("ada"));
    let vault = world.instance();
    vault.consent(&key, "access-0", "refresh-0").await;
    world.clock.advance(LIFE);
    let gate = world.hold(granted(1));

    let (answer, ()) = tokio::join!(vault.get(&key), async {
        world.provider.has_seen(1).await;
        let mut scheduler = scheduler(&world, &vault);
        scheduler.tick().await;
        gate.open();
    });

    assert_eq!(answer.unwrap().access.expose(), "access-1");
    vault.settled().await;
    assert_eq!(world.refreshes(), 1);
}
