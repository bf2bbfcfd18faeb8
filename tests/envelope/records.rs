//! What sealed records cost, and that instances read each other's.

use vault_engine::domain::error::{CorruptRecord, VaultError};
use vault_engine::domain::ports::{Address, Expected, Stored, Version};
use vault_engine::envelope::KeyLimits;

use crate::house::{House, entry, key};

#[tokio::test]
async fn a_record_costs_less_than_160_bytes_beside_its_tokens() {
    let house = House::new(KeyLimits::default());
    let sealed = house.sealer.seal(&key("acme", "u"), Version(u64::from(u32::MAX)), &entry("access")).await.unwrap();
    let tokens = "access".len() + "refresh".len();
    // Every store adds a frame of 9 bytes.
    let overhead = sealed.len() + 9 - tokens;
    assert!(overhead < 160, "{overhead} bytes");
}

#[tokio::test]
async fn what_one_instance_sealed_another_opens() {
    let house = House::new(KeyLimits::default());
    house.put(&key("acme", "u")).await;
    let another = house.another(KeyLimits::default());
    assert_eq!(house.open_with(&another, &key("acme", "u")).await.unwrap(), "u");
}

#[tokio::test]
async fn two_instances_that_begin_together_agree_on_every_key() {
    let house = House::new(KeyLimits::default());
    let another = house.another(KeyLimits::default());
    let ours = key("acme", "u");
    let (one, two) = (entry("one"), entry("two"));
    let made = tokio::join!(house.sealer.seal(&ours, Version::FIRST, &one), another.seal(&ours, Version::FIRST, &two));
    for (sealed, sealer) in [(made.0.unwrap(), &another), (made.1.unwrap(), &house.sealer)] {
        let stored = Stored { version: Version::FIRST, value: sealed };
        assert!(sealer.open(&ours, &stored, None).await.is_ok());
    }
}

#[tokio::test]
async fn a_record_does_not_open_in_another_place_or_version() {
    let house = House::new(KeyLimits::default());
    for user in ["u", "v"] {
        house.put(&key("acme", user)).await;
    }
    house.put(&key("other", "u")).await;
    let stored = house.store.get(&Address::Connection(key("acme", "u"))).await.unwrap().unwrap();
    for elsewhere in [key("acme", "v"), key("other", "u")] {
        let opened = house.sealer.open(&elsewhere, &stored, None).await;
        assert!(matches!(opened, Err(VaultError::Corrupt(CorruptRecord::Commitment))), "{elsewhere}");
    }
    let later = Stored { version: Version(2), ..stored };
    let opened = house.sealer.open(&key("acme", "u"), &later, None).await;
    assert!(matches!(opened, Err(VaultError::Corrupt(CorruptRecord::Commitment))));
}

#[tokio::test]
async fn a_record_whose_user_key_is_not_there_is_corrupt_and_not_missing() {
    let house = House::new(KeyLimits::default());
    let sealed = house.sealer.seal(&key("acme", "u"), Version::FIRST, &entry("a")).await.unwrap();
    let empty = House::new(KeyLimits::default());
    empty.store.put(&Address::Connection(key("acme", "u")), Expected::Absent, sealed.into()).await.unwrap();
    let opened = empty.open(&key("acme", "u")).await;
    assert!(matches!(opened, Err(VaultError::Corrupt(CorruptRecord::KeyMissing))));
}
