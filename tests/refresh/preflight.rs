//! The platform is not asked unless its answer can be kept, and a refresh that was never begun leaves no claim behind.

use vault_engine::domain::connection::Renewal;
use vault_engine::domain::error::VaultError;
use vault_engine::domain::id::ConnectionKey;
use vault_engine::domain::ports::Version;
use vault_engine::domain::profile::{UrlPolicy, UrlTemplate};

use crate::faulty::Fault as KeyFault;
use crate::house::{Instance, LIFE, World, connection_of, refused};

/// An expired record, as somebody stored it.
async fn expired(world: &World) -> (Instance, ConnectionKey) {
    let (vault, key) = (world.instance(), connection_of("ada"));
    vault.consent(&key, "access-0", "refresh-0").await;
    world.clock.advance(LIFE);
    (vault, key)
}

async fn assert_untouched(world: &World, key: &ConnectionKey) {
    assert_eq!(world.refreshes(), 0);
    assert_eq!(world.connection(key).await.renewal, Renewal::Idle);
    assert_eq!(world.entry(key).await.1, Version::FIRST);
}

#[tokio::test]
async fn without_an_audit_trail_nothing_is_begun() {
    let world = World::new().await;
    let (vault, key) = expired(&world).await;
    vault.audit.break_down();

    assert!(matches!(vault.get(&key).await, Err(VaultError::Audit(_))));
    assert_untouched(&world, &key).await;
}

#[tokio::test]
async fn without_keys_nothing_is_begun() {
    let world = World::new().await;
    let (_, key) = expired(&world).await;
    let restarted = world.instance();
    restarted.keys.set(KeyFault::Unavailable("timeout"));

    assert!(matches!(restarted.get(&key).await, Err(VaultError::Keys(_))));
    assert_untouched(&world, &key).await;
}

#[tokio::test]
async fn without_a_store_that_takes_the_claim_nothing_is_begun() {
    let world = World::new().await;
    let (vault, key) = expired(&world).await;
    vault.store.refuse_writes();

    assert!(matches!(vault.get(&key).await, Err(VaultError::Store(_))));
    assert_untouched(&world, &key).await;
}

#[tokio::test]
async fn without_a_client_at_the_platform_nothing_is_begun() {
    let world = World::with(|setup| setup.client_secrets = None).await;
    let (vault, key) = expired(&world).await;

    assert!(matches!(vault.get(&key).await, Err(VaultError::AppMisconfigured)));
    assert_untouched(&world, &key).await;
}

#[tokio::test]
async fn while_the_circuit_of_the_platform_is_open_nothing_is_begun() {
    let world = World::new().await;
    let (vault, key) = expired(&world).await;
    let other = connection_of("grace");
    vault.consent(&other, "access-g", "refresh-g").await;
    world.clock.advance(LIFE);
    world.provider.will(refused(401, "invalid_client"));
    assert!(matches!(vault.get(&other).await, Err(VaultError::AppMisconfigured)));

    assert!(matches!(vault.get(&key).await, Err(VaultError::AppMisconfigured)));

    assert_eq!(world.presented(), ["refresh-g"]);
    assert_eq!(world.entry(&key).await.1, Version::FIRST);
}

#[tokio::test]
async fn a_refresh_token_is_not_sent_to_another_host_than_it_was_stored_for() {
    let world = World::new().await;
    let (_, key) = expired(&world).await;
    let elsewhere = world.provider.url("/token").replace("127.0.0.1", "localhost");
    let mut profile = world.profile().clone();
    profile.token_url = UrlTemplate::parse(&elsewhere, UrlPolicy::AllowLoopback).unwrap();

    let answer = world.instance_of(&profile).get(&key).await;

    assert!(matches!(answer, Err(VaultError::AppMisconfigured)), "{answer:?}");
    assert_untouched(&world, &key).await;
}
