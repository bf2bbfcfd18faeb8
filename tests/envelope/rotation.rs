//! A tenant's key is replaced: instances read each other's records meanwhile, nothing is lost, and in the end the old key
//! opens nothing.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use vault_engine::domain::error::{CorruptRecord, VaultError};
use vault_engine::domain::id::TenantId;
use vault_engine::domain::ports::{Address, Clock as _, Expected, Stored};
use vault_engine::envelope::{KeyLifeError, KeyLimits, KeyState, Sealer, UserKeys};
use vault_engine::service::bulk::{Rewrap, RewrapEnd};

use crate::eventually::eventually;
use crate::house::{House, Memory, key};

const SOON: i64 = 20 * 60;
/// How long keys may be held, and as much as clocks may differ.
const HELD: i64 = 4 * 3_600 + 5 * 60;

fn tenant() -> TenantId {
    "acme".parse().unwrap()
}

fn walk(house: &House, memory: &Memory, worker: u64) -> Rewrap {
    Rewrap {
        index: Arc::clone(&house.index),
        tenant_keys: Arc::clone(&memory.tenants),
        user_keys: Arc::clone(&memory.users),
        worker,
        per_second: 100_000,
    }
}

async fn rewrap(house: &House) -> Result<RewrapEnd, KeyLifeError> {
    let memory = house.instance(KeyLimits::default());
    walk(house, &memory, 1).run(&tenant(), |_| (), |address, error| panic!("{address:?}: {error}")).await
}

/// With so many users, and a new generation that seals by now.
async fn rotated(users: usize) -> House {
    let house = House::new(KeyLimits::default());
    for n in 0..users {
        house.put(&key("acme", &format!("u{n}"))).await;
    }
    let keys = house.instance(KeyLimits::default()).tenants;
    let from = house.clock.now() + Duration::from_secs(SOON.unsigned_abs());
    assert_eq!(keys.rotate(&tenant(), from).await.unwrap(), 2);
    house.clock.advance(SOON);
    house
}

async fn user_key(house: &House, user: &str) -> Stored {
    let address = Address::UserKey { tenant: tenant(), user: user.parse().unwrap(), generation: 1 };
    house.store.get(&address).await.unwrap().unwrap()
}

async fn parent(house: &House, user: &str) -> Option<u32> {
    UserKeys::parent_generation(&user_key(house, user).await)
}

async fn opens(house: &House, sealer: &Sealer, user: &str) -> bool {
    house.open_with(sealer, &key("acme", user)).await.unwrap() == user
}

#[tokio::test]
async fn a_new_generation_opens_at_once_and_seals_when_every_instance_has_it() {
    let house = House::new(KeyLimits::default());
    house.put(&key("acme", "before")).await;
    let keys = house.instance(KeyLimits::default()).tenants;
    keys.rotate(&tenant(), house.clock.now() + Duration::from_secs(SOON.unsigned_abs())).await.unwrap();

    house.put_elsewhere(&key("acme", "meanwhile")).await;
    assert_eq!(parent(&house, "meanwhile").await, Some(1));
    house.clock.advance(SOON);
    house.put_elsewhere(&key("acme", "after")).await;
    assert_eq!(parent(&house, "after").await, Some(2));

    let cold = house.another(KeyLimits::default());
    for user in ["before", "meanwhile", "after"] {
        assert!(opens(&house, &cold, user).await, "{user}");
    }
}

#[tokio::test]
async fn an_instance_that_has_not_heard_of_a_generation_looks_again() {
    let house = House::new(KeyLimits::default());
    house.put(&key("acme", "before")).await;
    let keys = house.instance(KeyLimits::default()).tenants;
    keys.rotate(&tenant(), house.clock.now()).await.unwrap();
    house.put_elsewhere(&key("acme", "after")).await;
    assert_eq!(parent(&house, "after").await, Some(2));

    // Keys that were read this very moment are not read again.
    eventually("it looks again", async || {
        house.open(&key("acme", "after")).await.ok().filter(|opened| opened == "after").map(drop)
    })
    .await;
}

#[tokio::test]
async fn every_user_key_moves_and_the_old_generation_is_retired_when_nobody_can_hold_it() {
    let house = rotated(300).await;

    let settles = rewrap(&house).await.unwrap();

    assert!(matches!(settles, RewrapEnd::Settles(_)), "{settles:?}");
    for n in 0..300 {
        assert_eq!(parent(&house, &format!("u{n}")).await, Some(2));
    }
    let view = house.instance(KeyLimits::default()).tenants.keyring(&tenant()).await.unwrap().unwrap();
    let states: Vec<_> = view.keys.iter().map(|key| key.state).collect();
    assert_eq!((states, view.min_generation), (vec![KeyState::DecryptOnly, KeyState::Active], 0));
    assert_eq!(view.rewrap.unwrap().rewrapped_in_all, 300);

    house.clock.advance(HELD);
    assert_eq!(rewrap(&house).await.unwrap(), RewrapEnd::Done);
    let view = house.instance(KeyLimits::default()).tenants.keyring(&tenant()).await.unwrap().unwrap();
    let states: Vec<_> = view.keys.iter().map(|key| key.state).collect();
    assert_eq!((states, view.min_generation, view.rewrap), (vec![KeyState::Retired, KeyState::Active], 2, None));
    let cold = house.another(KeyLimits::default());
    for n in 0..300 {
        assert!(opens(&house, &cold, &format!("u{n}")).await);
    }
    assert!(matches!(rewrap(&house).await, Err(KeyLifeError::NothingToDo(2))));
}

#[tokio::test]
async fn a_key_from_before_the_rotation_that_is_put_back_does_not_open() {
    let house = House::new(KeyLimits::default());
    house.put(&key("acme", "u")).await;
    let old = user_key(&house, "u").await;
    let keys = house.instance(KeyLimits::default()).tenants;
    keys.rotate(&tenant(), house.clock.now()).await.unwrap();
    rewrap(&house).await.unwrap();
    house.clock.advance(HELD);
    assert_eq!(rewrap(&house).await.unwrap(), RewrapEnd::Done);

    let address = Address::UserKey { tenant: tenant(), user: "u".parse().unwrap(), generation: 1 };
    let now = house.store.get(&address).await.unwrap().unwrap();
    house.store.put(&address, Expected::Version(now.version), old.value.into()).await.unwrap();

    let opened = house.open_with(&house.another(KeyLimits::default()), &key("acme", "u")).await;
    assert!(matches!(opened, Err(VaultError::Corrupt(CorruptRecord::KeyRetired))), "{opened:?}");
}

#[tokio::test]
async fn a_keyring_that_somebody_else_has_written_is_refused() {
    let house = rotated(1).await;
    let address = Address::TenantKeyring { tenant: tenant() };
    let stored = house.store.get(&address).await.unwrap().unwrap();
    let mut version = stored.version;
    let mut refused = 0;
    for at in 0..stored.value.len() {
        let mut bytes = stored.value.to_vec();
        bytes[at] ^= 1;
        house.store.put(&address, Expected::Version(version), Bytes::from(bytes).into()).await.unwrap();
        version = version.next();
        let opened = house.open_with(&house.another(KeyLimits::default()), &key("acme", "u0")).await;
        assert!(opened.is_err(), "byte {at}");
        refused += 1;
    }
    // The same bytes as another version are those of another time.
    house.store.put(&address, Expected::Version(version), stored.value.clone().into()).await.unwrap();
    assert!(house.open_with(&house.another(KeyLimits::default()), &key("acme", "u0")).await.is_err());
    assert_eq!(refused, stored.value.len());
}

#[tokio::test]
async fn a_walk_is_paused_gone_on_with_by_somebody_else_and_never_walked_twice_at_once() {
    let house = rotated(50).await;
    let (one, other) = (house.instance(KeyLimits::default()), house.instance(KeyLimits::default()));
    one.tenants.take_on(&tenant(), 1).await.unwrap();
    assert!(matches!(other.tenants.take_on(&tenant(), 2).await, Err(KeyLifeError::Busy(1..=20))));
    assert!(other.tenants.pause(&tenant(), true).await.unwrap().paused);
    let paused = walk(&house, &one, 1).run(&tenant(), |_| (), |_, _| ()).await;
    assert!(matches!(paused, Err(KeyLifeError::Paused)), "{paused:?}");

    other.tenants.pause(&tenant(), false).await.unwrap();
    house.clock.advance(21);
    let gone_on = walk(&house, &other, 2).run(&tenant(), |_| (), |_, _| ()).await;
    assert!(matches!(gone_on, Ok(RewrapEnd::Settles(_))), "{gone_on:?}");
}

#[tokio::test]
async fn a_key_that_does_not_open_keeps_the_old_generation_and_is_named() {
    let house = rotated(3).await;
    let address = Address::UserKey { tenant: tenant(), user: "u1".parse().unwrap(), generation: 1 };
    let stored = house.store.get(&address).await.unwrap().unwrap();
    let mut bytes = stored.value.to_vec();
    *bytes.last_mut().unwrap() ^= 1;
    house.store.put(&address, Expected::Version(stored.version), Bytes::from(bytes).into()).await.unwrap();
    house.clock.advance(HELD);
    let (memory, mut named) = (house.instance(KeyLimits::default()), Vec::new());

    let ended = walk(&house, &memory, 1).run(&tenant(), |_| (), |address, _| named.push(address.clone())).await;

    assert!(matches!(ended, Ok(RewrapEnd::Failed(1))), "{ended:?}");
    assert!(named.iter().all(|named| *named == address) && !named.is_empty());
    assert_eq!(memory.tenants.keyring(&tenant()).await.unwrap().unwrap().min_generation, 0);
}

#[tokio::test]
async fn a_retired_generation_is_destroyed_in_two_steps_and_one_in_use_never() {
    let house = rotated(2).await;
    let keys = house.instance(KeyLimits::default()).tenants;
    let week = house.clock.now() + Duration::from_secs(7 * 86_400);
    for generation in [1, 2] {
        let told = keys.condemn(&tenant(), generation, week).await;
        assert!(matches!(told, Err(KeyLifeError::NotRetired(_, _))), "{told:?}");
    }
    house.clock.advance(HELD);
    assert_eq!(rewrap(&house).await.unwrap(), RewrapEnd::Done);
    assert!(matches!(keys.destroy(&tenant(), 1).await, Err(KeyLifeError::NotRetired(1, _))));
    let week = house.clock.now() + Duration::from_secs(7 * 86_400);
    keys.condemn(&tenant(), 1, week).await.unwrap();
    assert!(matches!(keys.destroy(&tenant(), 1).await, Err(KeyLifeError::TooEarly(1, _))));
    house.clock.advance(7 * 86_400);
    keys.destroy(&tenant(), 1).await.unwrap();

    let view = keys.keyring(&tenant()).await.unwrap().unwrap();
    assert_eq!(view.keys.iter().map(|key| key.generation).collect::<Vec<_>>(), [2]);
    let cold = house.another(KeyLimits::default());
    assert!(opens(&house, &cold, "u0").await && opens(&house, &cold, "u1").await);
    assert_eq!(keys.rotate(&tenant(), house.clock.now()).await.unwrap(), 3, "a number is never used again");
}

#[tokio::test]
async fn a_key_service_s_key_is_replaced_without_touching_what_is_sealed() {
    let house = House::new(KeyLimits::default());
    house.put(&key("acme", "u")).await;
    let before = user_key(&house, "u").await;
    let text = std::fs::read_to_string(house.key_file()).unwrap().replace("current_key", "previous_key");
    let both = format!("{text}current_key_id = 2\ncurrent_key = {}\n", "5a".repeat(32));
    std::fs::write(house.key_file(), &both).unwrap();
    let instance = house.instance_with_the_keys_of_now();
    assert_eq!(instance.tenants.reencrypt(&tenant()).await.unwrap(), 1);

    let alone: Vec<&str> = both.lines().filter(|line| !line.contains("previous")).collect();
    std::fs::write(house.key_file(), alone.join("\n")).unwrap();

    let instance = house.instance_with_the_keys_of_now();
    assert!(opens(&house, &instance.sealer, "u").await);
    assert_eq!(user_key(&house, "u").await, before);
}

#[tokio::test]
async fn the_keys_of_the_installation_itself_are_not_rotated() {
    let house = House::new(KeyLimits::default());
    let rotated = house.instance(KeyLimits::default()).tenants.rotate(&TenantId::system(), house.clock.now()).await;
    assert!(matches!(rotated, Err(KeyLifeError::System)), "{rotated:?}");
}
