//! A connection that is deleted or connected again while its refresh is under way: somebody's will beats an answer.

use vault_engine::domain::connection::{Entry, Health};
use vault_engine::domain::error::VaultError;
use vault_engine::domain::id::ConnectionKey;
use vault_engine::service::GetTokenAnswer;

use crate::house::{Instance, LIFE, World, connection_of, granted, refused};
use crate::provider::Answer;

/// What a caller gets whose refresh is answered so, after `meanwhile` has happened on another instance.
async fn meanwhile(
    world: &World,
    answer: Answer,
    meanwhile: impl AsyncFnOnce(&Instance, &ConnectionKey),
) -> (ConnectionKey, Result<GetTokenAnswer, VaultError>) {
    let (vault, other, key) = (world.instance(), world.instance(), connection_of("ada"));
    vault.consent(&key, "access-0", "refresh-0").await;
    world.clock.advance(LIFE);
    let gate = world.hold(answer);
    let (answer, ()) = tokio::join!(vault.get(&key), async {
        world.provider.has_seen(1).await;
        meanwhile(&other, &key).await;
        gate.open();
    });
    vault.settled().await;
    (key, answer)
}

#[tokio::test]
async fn a_token_that_was_deleted_during_its_refresh_does_not_come_back() {
    let world = World::new().await;
    let (key, answer) = meanwhile(&world, granted(1), async |other, key| other.delete(key).await).await;

    assert!(matches!(answer, Err(VaultError::Missing)), "{answer:?}");
    assert!(matches!(world.entry(&key).await.0, Entry::Deleted(_)));
    assert!(matches!(world.instance().get(&key).await, Err(VaultError::Missing)));
}

#[tokio::test]
async fn a_new_consent_during_a_refresh_wins() {
    let world = World::new().await;
    let consent = async |other: &Instance, key: &ConnectionKey| other.consent(key, "access-new", "refresh-new").await;
    let (key, answer) = meanwhile(&world, granted(1), consent).await;

    assert_eq!(answer.unwrap().access.expose(), "access-new");
    let stored = world.connection(&key).await;
    assert_eq!((stored.generation.0, stored.grant.refresh.unwrap().expose()), (2, "refresh-new"));
}

#[tokio::test]
async fn a_refusal_of_the_old_token_says_nothing_about_a_new_consent() {
    let world = World::new().await;
    let consent = async |other: &Instance, key: &ConnectionKey| other.consent(key, "access-new", "refresh-new").await;
    let (key, answer) = meanwhile(&world, refused(400, "invalid_grant"), consent).await;

    assert_eq!(answer.unwrap().access.expose(), "access-new");
    assert_eq!(world.connection(&key).await.health, Health::Alive);
}

#[tokio::test]
async fn a_consent_after_a_deletion_during_a_refresh_wins() {
    let world = World::new().await;
    let (key, answer) = meanwhile(&world, granted(1), async |other, key| {
        other.delete(key).await;
        other.consent(key, "access-new", "refresh-new").await;
    })
    .await;

    assert_eq!(answer.unwrap().access.expose(), "access-new");
    assert_eq!(world.connection(&key).await.grant.refresh.unwrap().expose(), "refresh-new");
}

#[tokio::test]
async fn a_refresh_token_that_is_kept_during_its_refresh_is_replaced_by_the_answer() {
    let world = World::new().await;
    let consent = async |other: &Instance, key: &ConnectionKey| {
        other.consent_keeping_the_refresh_token(key, "access-new").await;
    };
    let (key, answer) = meanwhile(&world, granted(1), consent).await;

    // The platform has consumed the kept token for this answer: dropping it would lose the grant.
    assert_eq!(world.connection(&key).await.grant.refresh.unwrap().expose(), "refresh-1");
    assert_eq!(answer.unwrap().access.expose(), "access-1");
}

#[tokio::test]
async fn a_kept_refresh_token_is_as_doubtful_as_before() {
    let world = World::new().await;
    let (vault, key) = (world.instance(), connection_of("ada"));
    vault.consent(&key, "access-0", "refresh-0").await;
    world.clock.advance(LIFE);
    world.provider.will(Answer::raw(""));
    assert!(vault.get(&key).await.is_err());

    vault.consent_keeping_the_refresh_token(&key, "access-new").await;

    assert!(world.connection(&key).await.doubt.is_some());
}
