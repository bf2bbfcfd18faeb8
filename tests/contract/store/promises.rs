//! The promises, one function each. They name no store.

#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "an assertion fails by panicking")]
#![expect(clippy::disallowed_methods, reason = "tests have no task tracker")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures_util::future::join_all;
use vault_engine::domain::id::{ConnectionKey, TenantId};
use vault_engine::domain::ports::{
    Address, DocumentName, Expected, MAX_VALUE_BYTES, Store, StoreError, Stored, UserDrawer, Version,
};

use super::backends::Backend;

pub(crate) fn connection(tenant: &str, user: &str, platform: &str) -> Address {
    Address::Connection(ConnectionKey {
        tenant: tenant.parse().unwrap(),
        user: user.parse().unwrap(),
        platform: platform.parse().unwrap(),
    })
}

pub(crate) fn user_key(tenant: &str, user: &str, generation: u32) -> Address {
    Address::UserKey { tenant: tenant.parse().unwrap(), user: user.parse().unwrap(), generation }
}

pub(crate) fn keyring(tenant: &str) -> Address {
    Address::TenantKeyring { tenant: tenant.parse().unwrap() }
}

pub(crate) fn document(tenant: &str, name: DocumentName) -> Address {
    Address::Document { tenant: tenant.parse().unwrap(), name }
}

fn gmail() -> Address {
    connection("default", "u1", "gmail")
}

fn value(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

/// What `get` should answer.
#[expect(clippy::unnecessary_wraps, reason = "compared with what `get` answers")]
fn stored(version: u64, text: &str) -> Option<Stored> {
    Some(Stored { version: Version(version), value: value(text) })
}

fn is_conflict(verdict: &Result<(), StoreError>) -> bool {
    matches!(verdict, Err(StoreError::Conflict))
}

async fn list(store: &dyn Store, tenant: &str, user: &str) -> UserDrawer {
    store.list_user(&tenant.parse().unwrap(), &user.parse().unwrap()).await.unwrap()
}

/// Writes versions 1 to `version`.
async fn write_up_to(store: &dyn Store, address: &Address, version: u64) {
    let mut expected = Expected::Absent;
    for number in 1..=version {
        store.put(address, expected, value(&format!("v{number}")).into()).await.unwrap();
        expected = Expected::Version(Version(number));
    }
}

pub(crate) async fn what_was_never_put_is_not_there(backend: impl Backend) {
    let store = backend.store();
    for address in [gmail(), user_key("default", "u1", 0), keyring("default")] {
        assert_eq!(store.get(&address).await.unwrap(), None);
    }
}

pub(crate) async fn get_returns_what_the_last_put_wrote(backend: impl Backend) {
    let store = backend.store();
    for address in [gmail(), user_key("default", "u1", 0), keyring("default")] {
        store.put(&address, Expected::Absent, value("first").into()).await.unwrap();
        assert_eq!(store.get(&address).await.unwrap(), stored(1, "first"));
        store.put(&address, Expected::Version(Version(1)), value("second").into()).await.unwrap();
        assert_eq!(store.get(&address).await.unwrap(), stored(2, "second"));
    }
}

pub(crate) async fn get_is_never_older_than_what_any_instance_has_seen(backend: impl Backend) {
    let (one, other) = (backend.store(), backend.another_instance().await);
    let seen = Arc::new(AtomicU64::new(0));
    let readers: Vec<_> = (0..6)
        .map(|number| {
            let (store, seen) = (Arc::clone(if number % 2 == 0 { &one } else { &other }), Arc::clone(&seen));
            tokio::spawn(async move {
                loop {
                    let before = seen.load(Ordering::SeqCst);
                    let version = store.get(&gmail()).await.unwrap().map_or(0, |found| found.version.0);
                    assert!(version >= before, "version {version} after {before}");
                    seen.fetch_max(version, Ordering::SeqCst);
                    if version == 100 {
                        return;
                    }
                }
            })
        })
        .collect();
    let mut expected = Expected::Absent;
    for number in 1..=100 {
        let store = if number % 2 == 0 { &one } else { &other };
        store.put(&gmail(), expected, value("v").into()).await.unwrap();
        seen.fetch_max(number, Ordering::SeqCst);
        expected = Expected::Version(Version(number));
    }
    for reader in readers {
        reader.await.unwrap();
    }
}

pub(crate) async fn absent_succeeds_only_where_nothing_is(backend: impl Backend) {
    let store = backend.store();
    store.put(&gmail(), Expected::Absent, value("first").into()).await.unwrap();
    assert!(is_conflict(&store.put(&gmail(), Expected::Absent, value("second").into()).await));
}

pub(crate) async fn a_version_succeeds_only_where_exactly_it_is(backend: impl Backend) {
    let store = backend.store();
    assert!(is_conflict(&store.put(&gmail(), Expected::Version(Version(1)), value("v").into()).await));
    write_up_to(&*store, &gmail(), 3).await;
    for version in [0, 1, 2, 4, 3 << 8, u64::MAX] {
        let verdict = store.put(&gmail(), Expected::Version(Version(version)), value("v").into()).await;
        assert!(is_conflict(&verdict), "version {version} was taken for version 3: {verdict:?}");
    }
    store.put(&gmail(), Expected::Version(Version(3)), value("v4").into()).await.unwrap();
}

pub(crate) async fn each_write_adds_exactly_one_to_the_version(backend: impl Backend) {
    let store = backend.store();
    let mut expected = Expected::Absent;
    for number in 1..=300 {
        store.put(&gmail(), expected, value("v").into()).await.unwrap();
        assert_eq!(expected.next(), Version(number));
        assert_eq!(store.get(&gmail()).await.unwrap().unwrap().version, Version(number));
        expected = Expected::Version(Version(number));
    }
}

pub(crate) async fn a_conflict_changes_nothing(backend: impl Backend) {
    let store = backend.store();
    assert!(is_conflict(&store.put(&gmail(), Expected::Version(Version(7)), value("x").into()).await));
    assert_eq!(store.get(&gmail()).await.unwrap(), None);
    write_up_to(&*store, &gmail(), 2).await;
    for expected in [Expected::Absent, Expected::Version(Version(1)), Expected::Version(Version(3))] {
        assert!(is_conflict(&store.put(&gmail(), expected, value("x").into()).await));
        assert_eq!(store.get(&gmail()).await.unwrap(), stored(2, "v2"));
    }
    assert_eq!(list(&*store, "default", "u1").await.connections.len(), 1);
}

pub(crate) async fn of_many_concurrent_creations_exactly_one_succeeds(backend: impl Backend) {
    exactly_one_of_32_succeeds(&backend, Expected::Absent).await;
}

pub(crate) async fn of_many_concurrent_replacements_exactly_one_succeeds(backend: impl Backend) {
    write_up_to(&*backend.store(), &gmail(), 5).await;
    exactly_one_of_32_succeeds(&backend, Expected::Version(Version(5))).await;
}

async fn exactly_one_of_32_succeeds(backend: &impl Backend, expected: Expected) {
    let (one, other) = (backend.store(), backend.another_instance().await);
    let puts = (0..32).map(|number| {
        let store = Arc::clone(if number % 2 == 0 { &one } else { &other });
        tokio::spawn(async move { store.put(&gmail(), expected, value(&format!("writer {number}")).into()).await })
    });
    let verdicts: Vec<_> = join_all(puts).await.into_iter().map(Result::unwrap).collect();
    let winners: Vec<usize> = (0..32).filter(|&number| verdicts[number].is_ok()).collect();
    assert_eq!(winners.len(), 1, "{verdicts:?}");
    assert_eq!(verdicts.iter().filter(|verdict| is_conflict(verdict)).count(), 31, "{verdicts:?}");
    let expected = stored(expected.next().0, &format!("writer {}", winners[0]));
    assert_eq!(other.get(&gmail()).await.unwrap(), expected);
}

pub(crate) async fn putting_the_same_again_tells_that_it_happened(backend: impl Backend) {
    let store = backend.store();
    store.put(&gmail(), Expected::Absent, value("v1").into()).await.unwrap();
    assert!(is_conflict(&store.put(&gmail(), Expected::Absent, value("v1").into()).await));
    assert_eq!(store.get(&gmail()).await.unwrap(), stored(1, "v1"));
}

pub(crate) async fn a_dropped_put_affects_no_other_answer(backend: impl Backend) {
    let store = backend.store();
    for round in 0..50 {
        let (dropped, kept) = (format!("dropped{round}"), format!("kept{round}"));
        let address = connection("default", &dropped, "gmail");
        {
            let mut put = Box::pin(store.put(&address, Expected::Absent, value("maybe").into()));
            let _polled_once = futures_util::poll!(put.as_mut());
        }
        let address = connection("default", &kept, "gmail");
        store.put(&address, Expected::Absent, value(&kept).into()).await.unwrap();
        assert_eq!(store.get(&address).await.unwrap(), stored(1, &kept));
        // Whether it happened or not, it happened whole, and the next writer sees which.
        let address = connection("default", &dropped, "gmail");
        match store.put(&address, Expected::Absent, value("surely").into()).await {
            Ok(()) => assert_eq!(store.get(&address).await.unwrap(), stored(1, "surely")),
            Err(StoreError::Conflict) => assert_eq!(store.get(&address).await.unwrap(), stored(1, "maybe")),
            Err(other) => panic!("{other}"),
        }
    }
}

pub(crate) async fn values_come_back_byte_for_byte(backend: impl Backend) {
    let store = backend.store();
    let every_byte: Vec<u8> = (0..=255).collect();
    let longest: Vec<u8> = every_byte.iter().copied().cycle().take(MAX_VALUE_BYTES).collect();
    let values =
        [Vec::new(), vec![0], b"\r\n$-1\r\n*0\r\n".to_vec(), vec![1, 0, 0, 0, 0, 0, 0, 0, 9], every_byte, longest];
    for (number, bytes) in values.into_iter().enumerate() {
        let address = connection("default", "u1", &format!("platform{number}"));
        store.put(&address, Expected::Absent, Bytes::from(bytes.clone()).into()).await.unwrap();
        assert!(store.get(&address).await.unwrap().unwrap().value == bytes, "value {number} changed");
        let drawer = list(&*store, "default", "u1").await;
        assert!(drawer.connections.iter().any(|(_, found)| found.value == bytes), "value {number} changed in a list");
    }
}

pub(crate) async fn a_value_beyond_the_bound_is_refused_and_nothing_is_written(backend: impl Backend) {
    let store = backend.store();
    let verdict = store.put(&gmail(), Expected::Absent, Bytes::from(vec![0; MAX_VALUE_BYTES + 1]).into()).await;
    assert!(matches!(verdict, Err(StoreError::Unavailable { reason: "too_large", .. })), "{verdict:?}");
    assert_eq!(store.get(&gmail()).await.unwrap(), None);
}

pub(crate) async fn a_list_is_everything_of_one_user(backend: impl Backend) {
    let store = backend.store();
    write_up_to(&*store, &connection("default", "u1", "gmail"), 3).await;
    write_up_to(&*store, &connection("default", "u1", "slack"), 1).await;
    for generation in [0, 7, u32::MAX] {
        write_up_to(&*store, &user_key("default", "u1", generation), 2).await;
    }
    let mut drawer = list(&*store, "default", "u1").await;
    drawer.connections.sort_by(|one, other| one.0.cmp(&other.0));
    drawer.keys.sort_by_key(|(generation, _)| *generation);
    let connections: Vec<_> = drawer.connections.into_iter().map(|(id, found)| (id.to_string(), Some(found))).collect();
    assert_eq!(connections, [("gmail".to_owned(), stored(3, "v3")), ("slack".to_owned(), stored(1, "v1"))]);
    let keys: Vec<_> = drawer.keys.into_iter().map(|(generation, found)| (generation, Some(found))).collect();
    assert_eq!(keys, [(0, stored(2, "v2")), (7, stored(2, "v2")), (u32::MAX, stored(2, "v2"))]);
}

/// Users whose names begin, end or sort like one another, in tenants that do too.
const LOOK_ALIKES: [(&str, &str); 16] = [
    ("acme", "a"),
    ("acme", "a.b"),
    ("acme", "a-"),
    ("acme", "a="),
    ("acme", "a|b"),
    ("acme", "a~"),
    ("acme", "a@"),
    ("acme", "aa"),
    ("acme", "A"),
    ("acme", ".a"),
    ("acme", "a.."),
    ("acme", "acme"),
    ("acme-a", "a"),
    ("acm", "a"),
    ("a", "a"),
    ("default", "a"),
];

pub(crate) async fn a_list_has_nothing_of_anybody_else(backend: impl Backend) {
    let store = backend.store();
    for (tenant, user) in LOOK_ALIKES {
        let text = value(&format!("{tenant} {user}"));
        store.put(&connection(tenant, user, "gmail"), Expected::Absent, text.clone().into()).await.unwrap();
        store.put(&user_key(tenant, user, 1), Expected::Absent, text.into()).await.unwrap();
    }
    for tenant in ["acme", "acme-a", "acm", "a", "default"] {
        store.put(&keyring(tenant), Expected::Absent, value("keyring").into()).await.unwrap();
    }
    for (tenant, user) in LOOK_ALIKES {
        let drawer = list(&*store, tenant, user).await;
        let text = format!("{tenant} {user}");
        let connections: Vec<_> =
            drawer.connections.into_iter().map(|(id, found)| (id.to_string(), Some(found))).collect();
        assert_eq!(connections, [("gmail".to_owned(), stored(1, &text))]);
        let keys: Vec<_> = drawer.keys.into_iter().map(|(generation, found)| (generation, Some(found))).collect();
        assert_eq!(keys, [(1, stored(1, &text))]);
    }
}

pub(crate) async fn a_list_of_nobody_is_empty(backend: impl Backend) {
    let store = backend.store();
    write_up_to(&*store, &gmail(), 1).await;
    let drawer = list(&*store, "default", "u").await;
    assert!(drawer.connections.is_empty() && drawer.keys.is_empty());
}

pub(crate) async fn no_two_addresses_share_a_place(backend: impl Backend) {
    let store = backend.store();
    let longest_user = "~".repeat(128);
    let longest_platform = format!("a{}", "_".repeat(62));
    let longest_tenant = format!("a{}", "-".repeat(62));
    let mut addresses = vec![
        connection(&longest_tenant, &longest_user, &longest_platform),
        connection("default", "key", "key"),
        connection("default", "u1", "0"),
        connection("default", "u1", "key"),
        connection("default", "u1", "keyring"),
        user_key("default", "u1", 0),
        user_key("default", "key", 0),
        keyring("default"),
        keyring("key"),
        Address::TenantKeyring { tenant: TenantId::system() },
        document("default", DocumentName::Registry),
        document("default", DocumentName::KeyUsage),
        document("key-usage", DocumentName::Registry),
        Address::Document { tenant: TenantId::system(), name: DocumentName::Registry },
    ];
    addresses.extend(LOOK_ALIKES.map(|(tenant, user)| connection(tenant, user, "gmail")));
    addresses.extend(LOOK_ALIKES.map(|(tenant, user)| user_key(tenant, user, 0)));
    for (number, address) in addresses.iter().enumerate() {
        store.put(address, Expected::Absent, value(&number.to_string()).into()).await.unwrap();
    }
    for (number, address) in addresses.iter().enumerate() {
        assert_eq!(store.get(address).await.unwrap(), stored(1, &number.to_string()), "{address:?}");
    }
}

/// Too short, of another format, of no version.
/// Nothing; too short for a version, and for hints; of another format, without a version, in no known state.
const NO_FRAMES: [&[u8]; 6] = [
    b"",
    b"\x02\0\0\0\0\0\0\0",
    b"\x02\0\0\0\0\0\0\0\x01\x01\0\0\0\0\0\0\0\0\0",
    b"\x01\0\0\0\0\0\0\0\x01\x01\0\0\0\0\0\0\0\0\0\0v",
    b"\x02\0\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\0\0\0v",
    b"\x02\0\0\0\0\0\0\0\x01\x04\0\0\0\0\0\0\0\0\0\0v",
];

pub(crate) async fn what_no_vault_wrote_is_corrupt(mut backend: impl Backend) {
    for frame in NO_FRAMES {
        backend.plant("default/u1", "gmail", frame).await;
        let store = backend.store();
        assert!(matches!(store.get(&gmail()).await, Err(StoreError::Corrupt)), "{frame:?}");
        let listed = store.list_user(&TenantId::default_tenant(), &"u1".parse().unwrap()).await;
        assert!(matches!(listed, Err(StoreError::Corrupt)), "{frame:?}");
    }
    backend.plant("default/u2", "No Platform", b"\x02\0\0\0\0\0\0\0\x01\x01\0\0\0\0\0\0\0\0\0\0v").await;
    let listed = backend.store().list_user(&TenantId::default_tenant(), &"u2".parse().unwrap()).await;
    assert!(matches!(listed, Err(StoreError::Corrupt)));
}

pub(crate) async fn what_no_vault_wrote_is_never_overwritten(mut backend: impl Backend) {
    for frame in NO_FRAMES {
        backend.plant("default/u1", "gmail", frame).await;
        let store = backend.store();
        for expected in [Expected::Absent, Expected::Version(Version(1))] {
            let verdict = store.put(&gmail(), expected, value("v").into()).await;
            assert!(is_conflict(&verdict), "{frame:?} {expected:?} {verdict:?}");
        }
    }
}

pub(crate) async fn a_restored_value_has_the_version_it_had(backend: impl Backend) {
    let store = backend.store();
    for (address, version) in [(gmail(), 7), (user_key("default", "u1", 0), 1), (keyring("default"), 300)] {
        store.restore(&address, Version(version), value("restored").into()).await.unwrap();
        assert_eq!(store.get(&address).await.unwrap(), stored(version, "restored"));
        store.put(&address, Expected::Version(Version(version)), value("next").into()).await.unwrap();
        assert_eq!(store.get(&address).await.unwrap(), stored(version + 1, "next"));
    }
}

pub(crate) async fn a_restore_never_goes_over_the_same_or_a_later_version(backend: impl Backend) {
    let store = backend.store();
    write_up_to(&*store, &gmail(), 3).await;
    for version in [1, 2, 3] {
        assert!(is_conflict(&store.restore(&gmail(), Version(version), value("old").into()).await));
    }
    assert_eq!(store.get(&gmail()).await.unwrap(), stored(3, "v3"));
    store.restore(&gmail(), Version(256), value("newer").into()).await.unwrap();
    assert!(is_conflict(&store.restore(&gmail(), Version(255), value("old").into()).await));
    assert_eq!(store.get(&gmail()).await.unwrap(), stored(256, "newer"));
}
