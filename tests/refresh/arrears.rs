//! What a store did not take of the end of a claim is written down when it is back: nobody waits for a refresh that nobody
//! is at.

use std::time::Duration;

use vault_engine::domain::connection::{Connection, Renewal};
use vault_engine::domain::error::VaultError;
use vault_engine::domain::id::ConnectionKey;

use crate::eventually::eventually;
use crate::failing_store::Fault;
use crate::house::{Instance, LIFE, World, connection_of};
use crate::provider::Answer;

async fn expired(world: &World, vault: &Instance) -> ConnectionKey {
    let key = connection_of("ada");
    vault.consent(&key, "access-0", "refresh-0").await;
    world.clock.advance(LIFE);
    key
}

/// A claim was tried to be written, with this fault.
async fn claimed_in_vain(world: &World, fault: Fault) -> (Instance, ConnectionKey) {
    let vault = world.instance();
    let key = expired(world, &vault).await;
    vault.store.fail_next_write(fault);
    let told = vault.get(&key).await;
    assert!(matches!(told, Err(VaultError::Store(_))), "{told:?}");
    (vault, key)
}

/// The platform was busy, and that could not be written down: the store takes no writes any more.
async fn failed_unwritten(world: &World) -> (Instance, ConnectionKey) {
    let vault = world.instance();
    let key = expired(world, &vault).await;
    let gate = world.hold(Answer::text(503, "busy"));
    let (told, ()) = tokio::join!(vault.get(&key), async {
        world.provider.has_seen(1).await;
        vault.store.refuse_writes();
        gate.open();
    });
    assert!(matches!(told, Err(VaultError::ProviderUnavailable { .. })), "{told:?}");
    (vault, key)
}

fn is_untouched(connection: &Connection) {
    assert_eq!((connection.renewal, connection.doubt), (Renewal::Idle, None));
    assert_eq!(connection.grant.refresh.as_ref().unwrap().expose(), "refresh-0");
}

#[tokio::test]
async fn a_claim_of_which_nobody_knew_whether_it_was_written_is_taken_back() {
    let world = World::new().await;
    let (vault, key) = claimed_in_vain(&world, Fault::AnswerLost).await;
    vault.settled().await;

    is_untouched(&world.connection(&key).await);
    // Nobody watches a claim first.
    assert_eq!(world.instance().get(&key).await.unwrap().access.expose(), "access-1");
    assert_eq!(world.presented(), ["refresh-0"]);
}

#[tokio::test]
async fn a_claim_that_may_still_be_on_its_way_finds_its_place_taken() {
    let world = World::new().await;
    let (vault, key) = claimed_in_vain(&world, Fault::Refused).await;
    let (_, before) = world.entry(&key).await;
    vault.settled().await;

    let (_, version) = world.entry(&key).await;
    assert_eq!(version.0, before.0 + 1, "the version the claim was to have");
    is_untouched(&world.connection(&key).await);
}

#[tokio::test]
async fn its_owner_goes_on_at_once() {
    let world = World::new().await;
    let (vault, key) = claimed_in_vain(&world, Fault::AnswerLost).await;
    assert!(matches!(world.connection(&key).await.renewal, Renewal::Claimed(_)));

    assert_eq!(vault.get(&key).await.unwrap().access.expose(), "access-1");

    vault.settled().await;
    assert_eq!(world.connection(&key).await.generation.0, 2);
    assert_eq!(world.presented(), ["refresh-0"]);
}

#[tokio::test]
async fn a_failure_that_could_not_be_written_down_is_when_the_store_is_back() {
    let world = World::new().await;
    let (vault, key) = failed_unwritten(&world).await;
    assert!(matches!(world.connection(&key).await.renewal, Renewal::Claimed(_)));
    let again = vault.get(&key).await;
    assert!(matches!(again, Err(VaultError::ProviderUnavailable { .. })), "it remembers: {again:?}");

    vault.store.come_back();

    eventually("the claim is given back", async || {
        let connection = world.connection(&key).await;
        (connection.renewal == Renewal::Idle && connection.backoff.is_some()).then_some(())
    })
    .await;
    vault.settled().await;
    assert_eq!(world.refreshes(), 1);
}

#[tokio::test]
async fn a_claim_tried_in_vain_forgets_no_failure_that_is_owed_already() {
    let world = World::with(|setup| setup.settings.backoff_base = Duration::from_secs(1)).await;
    let (vault, key) = failed_unwritten(&world).await;
    world.clock.advance(Duration::from_secs(2));
    let again = vault.get(&key).await;
    assert!(matches!(again, Err(VaultError::Store(_))), "it tried to claim: {again:?}");

    vault.store.come_back();
    vault.settled().await;

    let connection = world.connection(&key).await;
    assert_eq!((connection.renewal, connection.doubt), (Renewal::Idle, None));
    assert_eq!(connection.backoff.unwrap().failures, 1);
    assert_eq!(world.refreshes(), 1);
}
