//! How long keys are held, and what the key service's answers do to them.

use std::time::Duration;

use futures_util::future::join_all;
use vault_engine::domain::error::VaultError;
use vault_engine::domain::ports::KeyError;
use vault_engine::envelope::KeyLimits;

use crate::faulty::Fault;
use crate::house::{House, key};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);

fn is_refused(outcome: &Result<String, VaultError>) -> bool {
    matches!(outcome, Err(VaultError::Keys(KeyError::Refused(_))))
}

fn is_unavailable(outcome: &Result<String, VaultError>) -> bool {
    matches!(outcome, Err(VaultError::Keys(KeyError::Unavailable(_))))
}

#[tokio::test]
async fn a_hundred_thousand_reads_over_a_hundred_tenants_ask_the_key_service_a_hundred_times() {
    let house = House::new(KeyLimits::default());
    let keys: Vec<_> = (0..100).map(|n| key(&format!("tenant-{n}"), "u")).collect();
    for key in &keys {
        house.put(key).await;
    }
    let cold = house.another(KeyLimits::default());
    let before = house.keys.calls();
    for _ in 0..1_000 {
        for key in &keys {
            assert_eq!(house.open_with(&cold, key).await.unwrap(), "u");
        }
    }
    assert_eq!(house.keys.calls() - before, 100);
}

#[tokio::test]
async fn a_thousand_cold_readers_of_one_tenant_ask_the_key_service_once() {
    let house = House::new(KeyLimits::default());
    let keys: Vec<_> = (0..50).map(|n| key("acme", &format!("u{n}"))).collect();
    for key in &keys {
        house.put(key).await;
    }
    let cold = house.another(KeyLimits::default());
    let before = house.keys.calls();
    house.keys.set(Fault::Latency(Duration::from_millis(20)));
    let opened = join_all((0..1_000).map(|n| house.open_with(&cold, &keys[n % keys.len()]))).await;
    assert!(opened.iter().all(Result::is_ok));
    assert_eq!(house.keys.calls() - before, 1);
}

#[tokio::test]
async fn while_the_key_service_is_away_held_keys_work_up_to_the_hard_limit_and_not_beyond() {
    let house = House::new(KeyLimits::default());
    house.put(&key("acme", "u")).await;
    tokio::time::pause();
    house.keys.set(Fault::Unavailable("timeout"));
    for _ in 0..7 {
        tokio::time::advance(30 * MINUTE).await;
        assert_eq!(house.open(&key("acme", "u")).await.unwrap(), "u");
    }
    tokio::time::advance(31 * MINUTE).await;
    assert!(is_unavailable(&house.open(&key("acme", "u")).await));
    house.keys.set(Fault::None);
    tokio::time::advance(Duration::from_secs(2)).await;
    assert_eq!(house.open(&key("acme", "u")).await.unwrap(), "u", "and it heals");
}

#[tokio::test]
async fn a_key_service_that_hangs_does_not_hold_up_whoever_has_a_key() {
    let house = House::new(KeyLimits::default());
    house.put(&key("acme", "u")).await;
    tokio::time::pause();
    house.keys.set(Fault::Hang);
    tokio::time::advance(20 * MINUTE).await;
    let read = tokio::time::timeout(Duration::from_secs(2), house.open(&key("acme", "u"))).await;
    assert_eq!(read.expect("within two seconds").unwrap(), "u");
}

#[tokio::test]
async fn a_definitive_no_closes_the_tenant_at_once_and_nobody_else() {
    let house = House::new(KeyLimits::default());
    house.put(&key("acme", "u")).await;
    house.put(&key("acme", "v")).await;
    house.put(&key("other", "u")).await;
    tokio::time::pause();
    tokio::time::advance(16 * MINUTE).await;
    assert!(house.open(&key("other", "u")).await.is_ok(), "renewed before the service turned");
    house.keys.set(Fault::Refused("disabled"));
    assert!(is_refused(&house.open(&key("acme", "u")).await));
    assert!(is_refused(&house.open(&key("acme", "v")).await), "user keys under it are gone as well");
    assert!(house.open(&key("other", "u")).await.is_ok());
    house.keys.set(Fault::None);
    tokio::time::advance(Duration::from_secs(2)).await;
    assert_eq!(house.open(&key("acme", "u")).await.unwrap(), "u");
}

#[tokio::test]
async fn a_refusal_learned_in_the_background_counts_for_the_next_call() {
    let house = House::new(KeyLimits::default());
    house.put(&key("acme", "u")).await;
    house.put_elsewhere(&key("acme", "w")).await;
    tokio::time::pause();
    house.keys.set(Fault::Refused("access_denied"));
    // Past 90 % of the soft limit. The key of `w` is not at hand here, so reading it asks for the tenant's.
    tokio::time::advance(14 * MINUTE).await;
    assert!(house.open(&key("acme", "w")).await.is_ok(), "the key at hand still serves this one");
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert!(is_refused(&house.open(&key("acme", "u")).await));
}

#[tokio::test]
async fn a_failure_is_remembered_for_a_second_so_that_a_dead_service_is_not_hammered() {
    let house = House::new(KeyLimits::default());
    house.put(&key("acme", "u")).await;
    tokio::time::pause();
    let cold = house.another(KeyLimits::default());
    house.keys.set(Fault::Unavailable("timeout"));
    let before = house.keys.calls();
    for _ in 0..100 {
        assert!(is_unavailable(&house.open_with(&cold, &key("acme", "u")).await));
    }
    assert_eq!(house.keys.calls() - before, 1);
    tokio::time::advance(Duration::from_secs(2)).await;
    assert!(is_unavailable(&house.open_with(&cold, &key("acme", "u")).await));
    assert_eq!(house.keys.calls() - before, 2);
}

#[tokio::test]
async fn keys_in_use_are_renewed_before_anybody_has_to_wait() {
    let house = House::new(KeyLimits::default());
    house.put(&key("acme", "u")).await;
    house.put_elsewhere(&key("acme", "w")).await;
    tokio::time::pause();
    let before = house.keys.calls();
    // Past 90 % of the soft limit. The key of `w` is not at hand here, so reading it asks for the tenant's.
    tokio::time::advance(14 * MINUTE).await;
    assert_eq!(house.open(&key("acme", "w")).await.unwrap(), "w");
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert_eq!(house.keys.calls() - before, 1, "renewed behind the call");
    tokio::time::advance(10 * MINUTE).await;
    assert_eq!(house.open(&key("acme", "u")).await.unwrap(), "u");
    assert_eq!(house.keys.calls() - before, 1, "and good for another quarter of an hour");
}

#[tokio::test]
async fn no_key_outlives_its_hard_limit_however_often_it_is_used() {
    let house = House::new(KeyLimits { user: 10 * HOUR, ..KeyLimits::default() });
    house.put(&key("acme", "u")).await;
    tokio::time::pause();
    house.keys.set(Fault::Unavailable("timeout"));
    tokio::time::advance(4 * HOUR + Duration::from_secs(1)).await;
    assert!(is_unavailable(&house.open(&key("acme", "u")).await));
}
