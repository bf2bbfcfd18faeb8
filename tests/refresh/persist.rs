//! What the platform answered is stored before anything else, and until it is, this instance serves it from memory.

use std::time::Duration;

use vault_engine::domain::connection::{Entry, Renewal};
use vault_engine::domain::error::VaultError;
use vault_engine::domain::id::ConnectionKey;
use vault_engine::domain::ports::{Renewal as _, Version};

use crate::eventually::eventually;
use crate::failing_store::Fault;
use crate::house::{Instance, LIFE, World, connection_of, granted};

/// An expired record whose refresh has been sent, and whose answer comes when `then` is done.
async fn answered_after(world: &World, then: impl AsyncFnOnce(&Instance)) -> (Instance, ConnectionKey, String) {
    let (vault, key) = (world.instance(), connection_of("ada"));
    vault.consent(&key, "access-0", "refresh-0").await;
    world.clock.advance(LIFE);
    let gate = world.hold(granted(1));
    let (answer, ()) = tokio::join!(vault.get(&key), async {
        world.provider.has_seen(1).await;
        then(&vault).await;
        gate.open();
    });
    let access = answer.unwrap().access.expose().to_owned();
    (vault, key, access)
}

async fn is_stored(world: &World, key: &ConnectionKey) {
    eventually("the new token is stored", async || {
        (world.connection(key).await.grant.access.expose() == "access-1").then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_answer_that_cannot_be_stored_is_served_and_stored_when_it_can() {
    let world = World::new().await;
    let (vault, key, access) = answered_after(&world, async |vault| vault.store.refuse_writes()).await;
    assert_eq!(access, "access-1");
    let claimed = world.connection(&key).await;
    assert!(matches!(claimed.renewal, Renewal::Claimed(_)));
    assert_eq!(claimed.grant.access.expose(), "access-0");
    assert_eq!(vault.get(&key).await.unwrap().access.expose(), "access-1", "a caller who comes later");

    eventually("it is tried again", async || (vault.store.failed_writes() > 2).then_some(())).await;
    vault.store.come_back();
    is_stored(&world, &key).await;

    vault.settled().await;
    let stored = world.connection(&key).await;
    assert_eq!((stored.generation.0, stored.renewal), (2, Renewal::Idle));
    assert_eq!(stored.grant.refresh.unwrap().expose(), "refresh-1");
    assert_eq!(world.refreshes(), 1);
}

#[tokio::test]
async fn while_the_store_is_away_the_instance_that_has_the_answer_serves_it() {
    let world = World::new().await;
    let (vault, key, _) = answered_after(&world, async |vault| vault.store.go_away()).await;
    let other = world.instance();

    assert_eq!(vault.get(&key).await.unwrap().access.expose(), "access-1");
    assert!(vault.refresher.in_hand(&key).is_some());
    let elsewhere = other.get_within(Duration::from_millis(100), &key).await;
    assert!(matches!(elsewhere, Err(VaultError::Contended { .. })), "{elsewhere:?}");

    vault.store.come_back();
    assert_eq!(other.get(&key).await.unwrap().access.expose(), "access-1");
    vault.settled().await;
    assert!(vault.refresher.in_hand(&key).is_none(), "what is stored is not kept in memory");
    assert_eq!(world.refreshes(), 1);
}

#[tokio::test]
async fn a_store_that_hangs_is_away_for_whoever_cannot_wait() {
    let world = World::new().await;
    let (vault, key, _) = answered_after(&world, async |vault| vault.store.freeze()).await;
    let other = connection_of("grace");
    let moment = Duration::from_millis(200);

    let unanswered = vault.get_within(moment, &other).await;
    assert!(matches!(unanswered, Err(VaultError::Store(_))), "{unanswered:?}");
    assert_eq!(vault.get_within(moment, &key).await.unwrap().access.expose(), "access-1", "what is in hand");
}

#[tokio::test]
async fn a_store_that_hangs_holds_up_nobody_beyond_its_limit() {
    let world = World::new().await;
    let (_, key, access) = answered_after(&world, async |vault| vault.store.fail_next_write(Fault::Hangs)).await;
    assert_eq!(access, "access-1");
    is_stored(&world, &key).await;
    assert_eq!(world.refreshes(), 1);
}

#[tokio::test]
async fn a_write_nobody_learned_of_is_not_made_twice() {
    let world = World::new().await;
    let (vault, key, access) =
        answered_after(&world, async |vault| vault.store.fail_next_write(Fault::AnswerLost)).await;
    vault.settled().await;

    assert_eq!(access, "access-1");
    let stored = world.connection(&key).await;
    assert_eq!((stored.generation.0, stored.grant.refresh.unwrap().expose()), (2, "refresh-1"));
    assert_eq!(world.entry(&key).await.1, Version(3), "stored, claimed, renewed");
}

#[tokio::test]
async fn a_write_nobody_learned_of_does_not_overwrite_what_came_after_it() {
    let world = World::new().await;
    let (vault, key, _) = answered_after(&world, async |vault| {
        vault.store.fail_next_write(Fault::AnswerLost);
        vault.store.fail_next_write(Fault::Refused);
    })
    .await;
    is_stored(&world, &key).await;
    world.instance().consent(&key, "access-new", "refresh-new").await;
    vault.settled().await;

    assert_eq!(world.connection(&key).await.grant.access.expose(), "access-new");
}

#[tokio::test]
async fn what_was_deleted_while_it_could_not_be_stored_stays_deleted() {
    let world = World::new().await;
    let (vault, key, _) = answered_after(&world, async |vault| vault.store.refuse_writes()).await;
    world.instance().delete(&key).await;
    vault.store.come_back();
    vault.settled().await;

    assert!(matches!(world.entry(&key).await.0, Entry::Deleted(_)));
    assert!(matches!(vault.get(&key).await, Err(VaultError::Missing)));
}

#[tokio::test]
async fn a_claim_nobody_learned_of_is_waited_out_and_costs_no_grant() {
    let world = World::new().await;
    let (vault, key) = (world.instance(), connection_of("ada"));
    vault.consent(&key, "access-0", "refresh-0").await;
    world.clock.advance(LIFE);
    vault.store.fail_next_write(Fault::AnswerLost);

    assert!(matches!(vault.get(&key).await, Err(VaultError::Store(_))));
    assert_eq!(world.refreshes(), 0);
    world.clock.advance(crate::house::LEASE);

    assert_eq!(vault.get(&key).await.unwrap().access.expose(), "access-1");
    assert_eq!(world.presented(), ["refresh-0"]);
}
