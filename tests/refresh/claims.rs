//! A claim whose owner died: respected while it runs, taken over after it, and what that means for the refresh token.

use std::time::Duration;

use vault_engine::domain::cause::Cause;
use vault_engine::domain::connection::{Doubt, Health, Renewal};
use vault_engine::domain::error::VaultError;
use vault_engine::domain::id::ConnectionKey;
use vault_engine::domain::ports::Clock as _;
use vault_engine::domain::profile::{RefreshRule, Rotates};

use crate::house::{Instance, LEASE, LIFE, World, connection_of, refused};

/// More than any token here still has, so that whoever wishes for it wants a refresh.
const LONG: Duration = Duration::from_secs(3_000);
const MOMENT: Duration = Duration::from_millis(100);

/// A record whose refresh was sent by an instance that died before the answer came, `age` after the consent. What is
/// left is another instance.
async fn abandoned_at(age: Duration, rule: impl FnOnce(&mut RefreshRule)) -> (World, Instance, ConnectionKey) {
    let world = World::with(|setup| rule(&mut setup.profile.refresh)).await;
    let (dying, survivor, key) = (world.instance(), world.instance(), connection_of("ada"));
    dying.consent(&key, "access-0", "refresh-0").await;
    world.clock.advance(age);
    world.dies_waiting(&dying, dying.get_lasting(LONG, &key)).await;
    survivor.sees(&key).await;
    (world, survivor, key)
}

#[tokio::test]
async fn an_unexpired_claim_is_respected_even_if_its_owner_is_dead() {
    let (world, survivor, key) = abandoned_at(LIFE, |_| {}).await;
    world.clock.advance(LEASE - Duration::from_secs(1));

    let hurried = survivor.get_within(MOMENT, &key).await;

    assert!(matches!(hurried, Err(VaultError::Contended { .. })), "{hurried:?}");
    assert_eq!(world.refreshes(), 1);
}

#[tokio::test]
async fn an_expired_claim_on_an_expired_token_is_taken_over() {
    let (world, survivor, key) = abandoned_at(LIFE, |_| {}).await;
    world.clock.advance(LEASE);

    assert_eq!(survivor.get(&key).await.unwrap().access.expose(), "access-1");

    assert_eq!(world.presented(), ["refresh-0", "refresh-0"]);
    let connection = world.connection(&key).await;
    assert_eq!((connection.doubt, connection.renewal), (None, Renewal::Idle));
}

#[tokio::test]
async fn whoever_waits_for_a_dead_owner_takes_over_when_the_claim_ends() {
    let (world, survivor, key) = abandoned_at(LIFE, |_| {}).await;

    let (answer, ()) = tokio::join!(survivor.get(&key), async {
        let reads = survivor.store.reads();
        let looked = async || (survivor.store.reads() > reads + 2).then_some(());
        crate::eventually::eventually("it has looked at the claim", looked).await;
        world.clock.advance(LEASE);
    });

    assert_eq!(answer.unwrap().access.expose(), "access-1");
}

#[tokio::test]
async fn while_the_old_token_is_valid_a_refresh_token_that_may_be_consumed_is_not_used() {
    let (world, survivor, key) = abandoned_at(LIFE / 2, |_| {}).await;
    world.clock.advance(LEASE);

    let wishing = survivor.get_lasting(LONG, &key).await.unwrap();
    let plain = survivor.get(&key).await.unwrap();

    assert_eq!((wishing.access.expose(), wishing.warning), ("access-0", Some("lost_answer")));
    assert_eq!((plain.access.expose(), plain.warning), ("access-0", None));
    world.clock.advance(LIFE / 2 - LEASE - Duration::from_secs(60));
    assert_eq!(survivor.get(&key).await.unwrap().access.expose(), "access-0", "to its end");
    survivor.settled().await;
    assert_eq!(world.refreshes(), 1);
}

#[tokio::test]
async fn when_the_old_token_has_expired_the_refresh_token_is_tried_once_more() {
    let (world, survivor, key) = abandoned_at(LIFE / 2, |_| {}).await;
    world.clock.advance(LIFE / 2);

    assert_eq!(survivor.get(&key).await.unwrap().access.expose(), "access-1");
    assert_eq!(world.presented(), ["refresh-0", "refresh-0"]);
}

#[tokio::test]
async fn there_is_no_time_in_which_the_token_is_neither_served_nor_renewed() {
    // Within the tolerance for clocks that differ, a token is not handed out any more although it has not expired.
    let (world, survivor, key) = abandoned_at(LIFE / 2, |_| {}).await;
    world.clock.advance(LIFE / 2 - Duration::from_secs(20));

    assert_eq!(survivor.get(&key).await.unwrap().access.expose(), "access-1");
}

#[tokio::test]
async fn a_refusal_of_the_last_attempt_is_a_lost_answer() {
    let (world, survivor, key) = abandoned_at(LIFE / 2, |_| {}).await;
    world.clock.advance(LIFE / 2);
    world.provider.will(refused(400, "invalid_grant"));

    for _ in 0..3 {
        let dead = survivor.get(&key).await;
        assert!(matches!(dead, Err(VaultError::ReauthRequired { cause: Cause::LostAnswer })), "{dead:?}");
    }

    assert_eq!(world.refreshes(), 2, "a dead grant is left alone");
    let at = world.clock.now();
    assert_eq!(world.connection(&key).await.health, Health::Dead { at, cause: Cause::LostAnswer });
}

#[tokio::test]
async fn where_the_platform_does_not_rotate_the_refresh_token_is_used_again_at_once() {
    let (world, survivor, key) = abandoned_at(LIFE / 2, |rule| rule.rotates = Rotates::No).await;
    world.clock.advance(LEASE);

    assert_eq!(survivor.get_lasting(LONG, &key).await.unwrap().access.expose(), "access-1");
    assert_eq!(world.presented(), ["refresh-0", "refresh-0"]);
}

#[tokio::test]
async fn a_refusal_where_nothing_rotates_is_no_lost_answer() {
    let (world, survivor, key) = abandoned_at(LIFE, |rule| rule.rotates = Rotates::No).await;
    world.clock.advance(LEASE);
    world.provider.will(refused(400, "invalid_grant"));

    let dead = survivor.get(&key).await;

    assert!(matches!(dead, Err(VaultError::ReauthRequired { cause: Cause::GrantRefused })), "{dead:?}");
}

#[tokio::test]
async fn where_the_platform_honours_a_used_token_for_a_while_it_is_tried_within_that_while() {
    let window = |rule: &mut RefreshRule| rule.reuse_window = Duration::from_secs(60);
    let (world, survivor, key) = abandoned_at(LIFE / 2, window).await;
    world.clock.advance(Duration::from_secs(59));

    assert_eq!(survivor.get_lasting(LONG, &key).await.unwrap().access.expose(), "access-1");
    assert_eq!(world.presented(), ["refresh-0", "refresh-0"]);
}

#[tokio::test]
async fn where_the_platform_honours_a_used_token_for_a_while_it_is_not_tried_after_that_while() {
    let window = |rule: &mut RefreshRule| rule.reuse_window = Duration::from_secs(60);
    let (world, survivor, key) = abandoned_at(LIFE / 2, window).await;
    world.clock.advance(Duration::from_secs(60));

    let wishing = survivor.get_lasting(LONG, &key).await.unwrap();

    assert_eq!((wishing.access.expose(), wishing.warning), ("access-0", Some("lost_answer")));
    assert_eq!(world.refreshes(), 1);
}

#[tokio::test]
async fn a_claim_that_was_taken_over_leaves_a_doubt_as_old_as_the_claim() {
    let (world, survivor, key) = abandoned_at(LIFE, |_| {}).await;
    let claimed_at = world.clock.now();
    world.clock.advance(LEASE * 2);
    world.provider.will(refused(503, "busy"));

    assert!(survivor.get(&key).await.is_err());

    assert_eq!(world.connection(&key).await.doubt, Some(Doubt { since: claimed_at, attempted: true }));
}
