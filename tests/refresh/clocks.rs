//! Instances whose clocks are an hour wrong, from the start or all of a sudden, at each phase of a refresh.

use std::sync::Arc;
use std::time::Duration;

use vault_engine::domain::error::VaultError;
use vault_engine::domain::ports::Clock as _;
use vault_engine::domain::time::Timestamp;
use vault_engine::refresher::{BackgroundSettings, Scheduler};

use crate::house::{Instance, LEASE, LIFE, World, connection_of, granted};
use crate::provider::Answer;

const HOUR: i64 = 3_600;
const MOMENT: Duration = Duration::from_millis(300);
/// By how much a token may outlive its expiry.
const TOLERANCE: Duration = Duration::from_secs(30);

/// An instance whose clock is set to the wrong time after it started, and one that never had the right one.
fn wrong_instances(world: &World, seconds: i64) -> [Instance; 2] {
    let stepped = world.instance();
    stepped.clock.step(seconds);
    [stepped, world.instance_wrong_by(seconds)]
}

/// When the stored access token expires, truly: it was issued now.
fn true_end(world: &World) -> Timestamp {
    world.clock.now() + LIFE
}

/// An answer of a platform whose clock is right.
fn dated(world: &World, n: usize) -> Answer {
    let date = time::OffsetDateTime::from_unix_timestamp(world.clock.now().unix_seconds()).unwrap();
    let date = date.format(&time::format_description::well_known::Rfc2822).unwrap();
    granted(n).header("date", &date.replace("+0000", "GMT"))
}

#[tokio::test]
async fn a_live_claim_is_respected_by_whoever_has_the_wrong_time() {
    for seconds in [HOUR, -HOUR] {
        let (world, key) = (World::new().await, connection_of("ada"));
        let owner = world.instance();
        owner.consent(&key, "access-0", "refresh-0").await;
        world.clock.advance(LIFE);
        let gate = world.hold(granted(1));
        let wrong = wrong_instances(&world, seconds);

        let (answer, ()) = tokio::join!(owner.get(&key), async {
            world.provider.has_seen(1).await;
            for instance in &wrong {
                // Whoever is behind believes the token is good; whoever wants another one has to wait all the same.
                let told = instance.get_within(MOMENT, &key).await;
                assert!(told.is_err() || seconds < 0, "{told:?}");
                drop(tokio::time::timeout(MOMENT, instance.get_another(&key)).await);
                assert_eq!(world.refreshes(), 1, "a clock wrong by {seconds} s");
            }
            gate.open();
        });

        assert_eq!(answer.unwrap().access.expose(), "access-1");
        assert_eq!(world.refreshes(), 1);
    }
}

#[tokio::test]
async fn a_claim_made_by_a_wrong_clock_holds_for_its_lease_and_no_longer() {
    for seconds in [HOUR, -HOUR] {
        let (world, key) = (World::new().await, connection_of("ada"));
        let (owner, other) = (world.instance_wrong_by(seconds), world.instance());
        other.consent(&key, "access-0", "refresh-0").await;
        world.clock.advance(LIFE * 2);
        world.dies_waiting(&owner, owner.get(&key)).await;

        other.sees(&key).await;
        world.clock.advance(LEASE - Duration::from_secs(1));
        let hurried = other.get_within(MOMENT, &key).await;
        assert!(matches!(hurried, Err(VaultError::Contended { .. })), "{hurried:?}");
        assert_eq!(world.refreshes(), 1);
        world.clock.advance(Duration::from_secs(1));

        assert_eq!(other.get(&key).await.unwrap().access.expose(), "access-1", "a clock wrong by {seconds} s");
    }
}

#[tokio::test]
async fn a_claim_that_is_seen_late_is_watched_before_it_is_taken_over() {
    let (world, key) = (World::new().await, connection_of("ada"));
    let (owner, newcomer) = (world.instance(), world.instance());
    owner.consent(&key, "access-0", "refresh-0").await;
    world.clock.advance(LIFE);
    world.dies_waiting(&owner, owner.get(&key)).await;
    world.clock.advance(LEASE * 2);

    let hurried = newcomer.get_within(MOMENT, &key).await;
    assert!(matches!(hurried, Err(VaultError::Contended { .. })), "{hurried:?}");
    world.clock.advance(LEASE);
    assert_eq!(newcomer.get(&key).await.unwrap().access.expose(), "access-1");
}

#[tokio::test]
async fn the_scheduler_watches_a_claim_instead_of_waiting_for_it() {
    let (world, key) = (World::new().await, connection_of("ada"));
    let (owner, other) = (world.instance(), world.instance_wrong_by(HOUR));
    owner.consent(&key, "access-0", "refresh-0").await;
    world.clock.advance(LIFE);
    let gate = world.hold(granted(1));

    let (answer, ()) = tokio::join!(owner.get(&key), async {
        world.provider.has_seen(1).await;
        let settings = BackgroundSettings { tick: Duration::from_millis(20), ..BackgroundSettings::default() };
        let (refresher, index) = (Arc::clone(&other.refresher), Arc::clone(&world.index));
        let mut scheduler = Scheduler::new(refresher, Arc::clone(&world.store), index, settings);
        for _ in 0..5 {
            scheduler.tick().await;
        }
        assert_eq!(other.store.reads(), 1, "by its clock the claim is over; one look begins the watch");
        gate.open();
    });

    assert_eq!(answer.unwrap().access.expose(), "access-1");
    assert_eq!(world.refreshes(), 1);
}

#[tokio::test]
async fn an_expired_token_is_not_handed_out_after_the_clock_was_set_back() {
    let (world, key) = (World::new().await, connection_of("ada"));
    let vault = world.instance();
    vault.consent(&key, "access-0", "refresh-0").await;
    vault.clock.step(-HOUR);
    world.clock.advance(LIFE - TOLERANCE);

    assert_eq!(vault.get(&key).await.unwrap().access.expose(), "access-1");
}

#[tokio::test]
async fn a_clock_set_ahead_costs_one_refresh_and_no_more() {
    let (world, key) = (World::new().await, connection_of("ada"));
    let vault = world.instance();
    vault.consent(&key, "access-0", "refresh-0").await;
    vault.consent(&connection_of("bob"), "access-b", "refresh-b").await;
    world.clock.advance(Duration::from_secs(60));
    vault.clock.step(HOUR);
    world.provider.will(dated(&world, 1));

    assert_eq!(vault.get(&key).await.unwrap().access.expose(), "access-1");
    for _ in 0..3 {
        assert_eq!(vault.get(&key).await.unwrap().access.expose(), "access-1");
        assert_eq!(vault.get(&connection_of("bob")).await.unwrap().access.expose(), "access-b");
    }

    assert_eq!(world.refreshes(), 1, "the platform told the time");
    let end = world.connection(&key).await.grant.expires_at.unwrap();
    assert!(end.since(true_end(&world)) <= TOLERANCE, "{end} is an hour too late");
}

#[tokio::test]
async fn a_step_while_the_platform_is_asked_moves_no_expiry() {
    for seconds in [HOUR, -HOUR] {
        let (world, key) = (World::new().await, connection_of("ada"));
        let vault = world.instance();
        vault.consent(&key, "access-0", "refresh-0").await;
        world.clock.advance(LIFE);
        let gate = world.hold(granted(1));

        let (answer, ()) = tokio::join!(vault.get(&key), async {
            world.provider.has_seen(1).await;
            vault.clock.step(seconds);
            gate.open();
        });

        assert_eq!(answer.unwrap().access.expose(), "access-1");
        let (end, right) = (world.connection(&key).await.grant.expires_at.unwrap(), true_end(&world));
        assert!(end.since(right).max(right.since(end)) <= TOLERANCE, "{seconds}: {end} and not {right}");
        assert_eq!(world.refreshes(), 1);
    }
}

#[tokio::test]
async fn a_step_while_the_platform_is_asked_gives_its_owner_no_other_time() {
    for seconds in [HOUR, -HOUR] {
        let world = World::with(|setup| setup.client_secrets = Some(vec!["old", "new"])).await;
        let (vault, key) = (world.instance(), connection_of("ada"));
        vault.consent(&key, "access-0", "refresh-0").await;
        world.clock.advance(LIFE);
        let gate = world.hold(crate::house::refused(401, "invalid_client"));

        let (answer, ()) = tokio::join!(vault.get(&key), async {
            world.provider.has_seen(1).await;
            vault.clock.step(seconds);
            gate.open();
        });

        assert_eq!(answer.unwrap().access.expose(), "access-1", "the second secret was tried within the same claim");
        assert_eq!(world.refreshes(), 2);
    }
}
