//! A user who was erased: nothing of them opens, nowhere, and nothing that is on its way brings it back. Who connects again
//! begins anew.

use std::sync::Arc;
use std::time::Duration;

use vault_engine::domain::connection::Entry;
use vault_engine::domain::error::VaultError;
use vault_engine::domain::id::ConnectionKey;
use vault_engine::domain::ports::{Address, Expected, Outbox as _};

use crate::failing_store::Fault;
use crate::house::{Instance, LIFE, World, connection_of, granted};
use crate::memory_store::MemoryStore;

/// A user who is connected, and two instances that hold their key.
async fn connected(world: &World) -> (Instance, Instance, ConnectionKey) {
    let (vault, other, key) = (world.instance(), world.instance(), connection_of("ada"));
    vault.consent(&key, "access-0", "refresh-0").await;
    assert_eq!(other.get(&key).await.unwrap().access.expose(), "access-0");
    (vault, other, key)
}

fn is_missing<T: std::fmt::Debug>(told: &Result<T, VaultError>) {
    assert!(matches!(told, Err(VaultError::Missing)), "{told:?}");
}

fn key_of(key: &ConnectionKey, generation: u32) -> Address {
    Address::UserKey { tenant: key.tenant.clone(), user: key.user.clone(), generation }
}

#[tokio::test]
async fn nobody_gets_the_tokens_of_a_user_who_was_erased() {
    let world = World::new().await;
    let (vault, other, key) = connected(&world).await;
    assert_eq!(vault.erase(&key).await.unwrap(), 1);

    for instance in [&vault, &other, &world.instance()] {
        is_missing(&instance.get(&key).await);
    }
    let old_key = world.store.get(&key_of(&key, 1)).await.unwrap().unwrap();
    assert_eq!(&*old_key.value, b"erased");
    assert_eq!(world.refreshes(), 0);
}

#[tokio::test]
async fn whoever_was_never_there_is_erased_without_a_trace() {
    let world = World::new().await;
    assert_eq!(world.instance().erase(&connection_of("nobody")).await.unwrap(), 0);
    assert_eq!(world.store.get(&key_of(&connection_of("nobody"), 1)).await.unwrap(), None);
}

#[tokio::test]
async fn a_user_who_connects_again_begins_anew_on_every_instance() {
    let world = World::new().await;
    let (vault, other, key) = connected(&world).await;
    vault.erase(&key).await.unwrap();

    other.consent(&key, "access-new", "refresh-new").await;

    for instance in [&vault, &other, &world.instance()] {
        assert_eq!(instance.get(&key).await.unwrap().access.expose(), "access-new");
    }
    assert_eq!(vault.erase(&key).await.unwrap(), 1, "and can be erased again");
    is_missing(&other.get(&key).await);
}

#[tokio::test]
async fn what_an_instance_stores_that_still_holds_the_old_key_is_kept() {
    let world = World::new().await;
    let (vault, other, key) = connected(&world).await;
    let (live, _) = world.entry(&key).await;
    vault.erase(&key).await.unwrap();

    // The first record of another platform: nothing in its place tells that there is a new key.
    let elsewhere = ConnectionKey { platform: "elsewhere".parse().unwrap(), ..key };
    other.get_token.records.save(&elsewhere, Expected::Absent, &live).await.unwrap();

    let stored = world.instance().get_token.records.load(&elsewhere).await.unwrap().unwrap();
    assert!(matches!(stored.entry, Entry::Live(_)), "{:?}", stored.entry);
}

#[tokio::test]
async fn old_records_and_old_keys_that_are_put_back_do_not_open() {
    let store = Arc::new(MemoryStore::default());
    let world = World::over(Arc::clone(&store), tempfile::tempdir().unwrap(), |_| {}).await;
    let (vault, _, key) = connected(&world).await;
    let addresses = [key_of(&key, 1), Address::Connection(key.clone())];
    let before = addresses.clone().map(|address| store.now_at(&address));
    vault.erase(&key).await.unwrap();

    for (address, was) in addresses.iter().zip(before) {
        store.go_back(address, was);
    }

    let cold = world.instance();
    is_missing(&cold.get(&key).await);
    let told = vault.get(&key).await;
    assert!(matches!(told, Err(VaultError::Corrupt(_))), "{told:?}");
}

#[tokio::test]
async fn an_answer_that_arrives_after_the_erasure_is_dropped() {
    let world = World::new().await;
    let (vault, other, key) = connected(&world).await;
    world.clock.advance(LIFE);
    let gate = world.hold(granted(1));
    let (answer, ()) = tokio::join!(vault.get(&key), async {
        world.provider.has_seen(1).await;
        other.erase(&key).await.unwrap();
        gate.open();
    });
    is_missing(&answer);
    vault.settled().await;
    vault.refresher.tend_outbox().await;
    is_missing(&world.instance().get(&key).await);
    assert!(vault.outbox.waiting().is_empty());
}

#[tokio::test]
async fn an_answer_in_the_outbox_of_a_user_who_was_erased_is_dropped() {
    let world = World::with(|setup| setup.settings.commit = Duration::ZERO).await;
    let (vault, other, key) = connected(&world).await;
    world.clock.advance(LIFE);
    let gate = world.hold(granted(1));
    let (_, ()) = tokio::join!(vault.get(&key), async {
        world.provider.has_seen(1).await;
        vault.store.refuse_writes();
        gate.open();
    });
    vault.settled().await;
    assert_eq!(vault.outbox.waiting().len(), 1);
    other.erase(&key).await.unwrap();
    vault.store.come_back();

    let next = world.instance();
    next.outbox.tend().await;
    vault.refresher.tend_outbox().await;

    assert!(vault.outbox.waiting().is_empty());
    is_missing(&vault.get(&key).await);
    let dropped = vault.audit.entries().into_iter().filter(|entry| entry.reason == "answer_deleted");
    assert_eq!(dropped.count(), 1);
}

#[tokio::test]
async fn an_erasure_that_was_interrupted_has_erased_and_is_completed_by_another() {
    let world = World::new().await;
    let (vault, _, key) = connected(&world).await;
    vault.store.fail_next_write(Fault::Refused);
    assert!(matches!(vault.erase(&key).await, Err(VaultError::Store(_))));
    is_missing(&world.instance().get(&key).await);

    assert_eq!(world.instance().erase(&key).await.unwrap(), 1);
    assert!(matches!(world.entry(&key).await.0, Entry::Deleted(_)));
}
