//! What `domain::ports::Index` promises, one function each. They name no store.

#![expect(clippy::unwrap_used, clippy::panic, reason = "an assertion fails by panicking")]
#![expect(clippy::disallowed_methods, reason = "tests have no task tracker")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::join_all;
use vault_engine::domain::id::{TenantId, UserId};
use vault_engine::domain::ports::{
    Address, ChangeCursor, Changes, DocumentName, Expected, Hints, Index, Item, Listener, Partition, Pushes, Record,
    ScanCursor, Scope, StateHint, Store, Version,
};
use vault_engine::domain::time::Timestamp;

use super::backends::Backend;
use super::eventually::eventually;
use super::promises::{connection, document, keyring, user_key};

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_unix_seconds(seconds)
}

fn record(due_at: Option<i64>) -> Record {
    let hints = Hints { state: StateHint::Alive, expires_at: Some(at(4_102_444_800)), due_at: due_at.map(at) };
    Record { value: Bytes::from_static(b"sealed"), hints }
}

fn gmail_of(user: &str) -> Address {
    connection("default", user, "gmail")
}

async fn create(store: &dyn Store, address: &Address, due_at: Option<i64>) {
    store.put(address, Expected::Absent, record(due_at)).await.unwrap();
}

/// The users that are due anywhere, partition by partition.
async fn due_users(index: &dyn Index, by: i64) -> Vec<String> {
    let mut users = Vec::new();
    for partition in Partition::all() {
        let due = index.due(partition, at(by), 1_000).await.unwrap();
        users.extend(due.into_iter().map(|due| due.key.user.as_str().to_owned()));
    }
    users.sort();
    users
}

/// Everything from this place on, in pieces of a few, and where it ends.
async fn changes_after(
    index: &dyn Index,
    partition: Partition,
    mut place: ChangeCursor,
) -> (Vec<(String, u64)>, ChangeCursor) {
    let mut all = Vec::new();
    loop {
        let Changes::Next { changes, cursor } = index.changes(partition, Some(&place), 3).await.unwrap() else {
            panic!("the place was forgotten");
        };
        assert!(changes.len() <= 3);
        assert!(cursor.0.len() <= 32);
        if changes.is_empty() {
            return (all, cursor);
        }
        assert_eq!(changes.last().unwrap().1, cursor);
        all.extend(changes.into_iter().map(|(change, _)| (change.key.user.as_str().to_owned(), change.version.0)));
        place = cursor;
    }
}

async fn end_of(index: &dyn Index, partition: Partition) -> ChangeCursor {
    match index.changes(partition, None, 10).await.unwrap() {
        Changes::Next { changes, cursor } => {
            assert!(changes.is_empty());
            cursor
        }
        Changes::Forgotten => panic!("there is always an end"),
    }
}

async fn scan_all(index: &dyn Index, scope: &Scope, limit: usize) -> Vec<Vec<Item>> {
    let mut pages = Vec::new();
    let mut place: Option<ScanCursor> = None;
    loop {
        let page = index.scan(scope, place.as_ref(), limit).await.unwrap();
        pages.push(page.items);
        assert!(pages.len() < 1_000, "a scan that does not end");
        match page.next {
            None => return pages,
            Some(next) => {
                assert!(next.0.len() <= 1_024);
                place = Some(next);
            }
        }
    }
}

pub(crate) async fn what_is_due_is_found_the_earliest_first(backend: impl Backend) {
    let (store, index) = (backend.store(), backend.index());
    let address = |platform: &str| connection("default", "u1", platform);
    for (platform, due_at) in [("c", Some(300)), ("a", Some(100)), ("d", Some(400)), ("b", Some(200)), ("e", None)] {
        create(&*store, &address(platform), due_at).await;
    }
    let partition = address("a").partition();
    let due = async |by, limit| {
        let due = index.due(partition, at(by), limit).await.unwrap();
        due.into_iter().map(|due| (due.key.platform.as_str().to_owned(), due.at.unix_seconds())).collect::<Vec<_>>()
    };
    let named = |all: &[(&str, i64)]| all.iter().map(|(name, at)| ((*name).to_owned(), *at)).collect::<Vec<_>>();
    assert_eq!(due(99, 10).await, []);
    assert_eq!(due(300, 10).await, named(&[("a", 100), ("b", 200), ("c", 300)]));
    assert_eq!(due(1_000, 2).await, named(&[("a", 100), ("b", 200)]));
    assert_eq!(due(1_000, 10).await.len(), 4);
}

pub(crate) async fn a_record_is_due_once_and_when_it_was_last_said(backend: impl Backend) {
    let (store, index) = (backend.store(), backend.index());
    create(&*store, &gmail_of("u1"), Some(100)).await;
    store.put(&gmail_of("u1"), Expected::Version(Version(1)), record(Some(500))).await.unwrap();
    assert_eq!(due_users(&*index, 400).await, Vec::<String>::new());
    assert_eq!(due_users(&*index, 500).await, ["u1"]);
    store.put(&gmail_of("u1"), Expected::Version(Version(2)), record(None)).await.unwrap();
    assert_eq!(due_users(&*index, 1_000).await, Vec::<String>::new());
    store.restore(&gmail_of("u1"), Version(9), record(Some(50))).await.unwrap();
    assert_eq!(due_users(&*index, 50).await, ["u1"]);
}

pub(crate) async fn what_is_due_is_found_in_its_own_partition_only(backend: impl Backend) {
    let (store, index) = (backend.store(), backend.index());
    let users: Vec<_> = (0..40).map(|number| format!("u{number}")).collect();
    join_all(users.iter().map(|user| {
        let store = Arc::clone(&store);
        async move { create(&*store, &gmail_of(user), Some(100)).await }
    }))
    .await;
    let mut found = BTreeSet::new();
    for partition in Partition::all() {
        for due in index.due(partition, at(100), 1_000).await.unwrap() {
            assert_eq!(Partition::of(&due.key.tenant, &due.key.user), partition);
            assert!(found.insert(due.key.user.as_str().to_owned()), "found twice");
        }
    }
    assert_eq!(found.len(), users.len());
}

pub(crate) async fn changes_come_in_order_and_none_is_left_out(backend: impl Backend) {
    let (store, index) = (backend.store(), backend.index());
    let partition = gmail_of("u1").partition();
    let begin = end_of(&*index, partition).await;
    let mut expected = Expected::Absent;
    for _ in 0..10 {
        store.put(&gmail_of("u1"), expected, record(None)).await.unwrap();
        expected = Expected::Version(expected.next());
    }
    // Keys and leases are nobody's news.
    store.put(&user_key("default", "u1", 0), Expected::Absent, Bytes::from_static(b"key").into()).await.unwrap();
    let lease = Address::Lease { partition };
    store.put(&lease, Expected::Absent, Bytes::from_static(b"mine").into()).await.unwrap();
    let (all, end) = changes_after(&*index, partition, begin).await;
    let mut seen: Vec<_> = all.into_iter().map(|(_, version)| version).collect();
    // A change may be told again, but in its place.
    seen.dedup();
    assert_eq!(seen, (1..=10).collect::<Vec<_>>());
    assert_eq!(changes_after(&*index, partition, end).await.0, []);
}

pub(crate) async fn changes_of_concurrent_writers_are_all_there(backend: impl Backend) {
    let (one, other, index) = (backend.store(), backend.another_instance().await, backend.index());
    let mut begins = BTreeMap::new();
    for partition in Partition::all() {
        begins.insert(partition, end_of(&*index, partition).await);
    }
    let writers = (0..12).map(|number| {
        let store = Arc::clone(if number % 2 == 0 { &one } else { &other });
        tokio::spawn(async move {
            let address = gmail_of(&format!("u{number}"));
            let mut expected = Expected::Absent;
            for _ in 0..10 {
                store.put(&address, expected, record(None)).await.unwrap();
                expected = Expected::Version(expected.next());
            }
        })
    });
    // Somebody reads along, and must not step over a change that becomes visible late.
    let reading = {
        let (index, mut places) = (Arc::clone(&index), begins);
        tokio::spawn(async move {
            let mut seen: BTreeMap<String, Vec<u64>> = BTreeMap::new();
            while seen.values().map(Vec::len).sum::<usize>() < 120 {
                for (partition, place) in &mut places {
                    let (changes, end) = changes_after(&*index, *partition, place.clone()).await;
                    *place = end;
                    for (user, version) in changes {
                        let versions = seen.entry(user).or_default();
                        if !versions.contains(&version) {
                            versions.push(version);
                        }
                    }
                }
            }
            seen
        })
    };
    for writer in join_all(writers).await {
        writer.unwrap();
    }
    let seen = tokio::time::timeout(Duration::from_secs(20), reading).await.expect("a change was left out").unwrap();
    assert_eq!(seen.len(), 12);
    for versions in seen.values() {
        assert_eq!(*versions, (1..=10).collect::<Vec<_>>());
    }
}

pub(crate) async fn no_place_means_the_end(backend: impl Backend) {
    let (store, index) = (backend.store(), backend.index());
    create(&*store, &gmail_of("u1"), None).await;
    let partition = gmail_of("u1").partition();
    let end = end_of(&*index, partition).await;
    assert_eq!(
        changes_after(&*index, partition, end.clone()).await.0.iter().filter(|(_, version)| *version > 1).count(),
        0
    );
    store.put(&gmail_of("u1"), Expected::Version(Version(1)), record(None)).await.unwrap();
    let after = changes_after(&*index, partition, end).await.0;
    assert_eq!(after.last(), Some(&("u1".to_owned(), 2)));
}

pub(crate) async fn a_place_in_another_store_means_nothing<B: Backend>(backend: B) {
    let (store, index, partition) = (backend.store(), backend.index(), gmail_of("u1").partition());
    create(&*store, &gmail_of("u1"), None).await;
    let place = end_of(&*index, partition).await;
    // Some stores tell places apart by the time.
    let placed = Instant::now();
    eventually("time passes", async || (placed.elapsed() > Duration::from_millis(5)).then_some(())).await;
    // The other holds the same, and has gone on.
    let other = B::start().await;
    create(&*other.store(), &gmail_of("u1"), None).await;
    let _ = end_of(&*other.index(), partition).await;
    for version in 1..=3 {
        other.store().put(&gmail_of("u1"), Expected::Version(Version(version)), record(None)).await.unwrap();
    }
    assert_eq!(other.index().changes(partition, Some(&place), 10).await.unwrap(), Changes::Forgotten);
    let own = index.changes(partition, Some(&place), 10).await.unwrap();
    assert!(matches!(own, Changes::Next { .. }), "{own:?}");
}

pub(crate) async fn a_refused_write_changes_no_index(backend: impl Backend) {
    let (store, index) = (backend.store(), backend.index());
    create(&*store, &gmail_of("u1"), Some(100)).await;
    let partition = gmail_of("u1").partition();
    let end = end_of(&*index, partition).await;
    assert!(store.put(&gmail_of("u1"), Expected::Absent, record(Some(1))).await.is_err());
    assert!(store.put(&gmail_of("u1"), Expected::Version(Version(2)), record(Some(1))).await.is_err());
    assert!(store.restore(&gmail_of("u1"), Version(1), record(Some(1))).await.is_err());
    assert_eq!(due_users(&*index, 99).await, Vec::<String>::new());
    assert_eq!(due_users(&*index, 100).await, ["u1"]);
    assert!(changes_after(&*index, partition, end).await.0.iter().all(|change| *change == ("u1".to_owned(), 1)));
}

pub(crate) async fn a_scan_finds_everything_once_and_no_lease(backend: impl Backend) {
    let (store, index) = (backend.store(), backend.index());
    let mut there = BTreeSet::new();
    for tenant in ["a", "a-b", "a1", "zz"] {
        for number in 0..6 {
            let user = format!("u{number}");
            let addresses =
                [connection(tenant, &user, "gmail"), connection(tenant, &user, "slack"), user_key(tenant, &user, 1)];
            for address in addresses {
                create(&*store, &address, None).await;
                there.insert(format!("{address:?}"));
            }
        }
        create(&*store, &keyring(tenant), None).await;
        there.insert(format!("{:?}", keyring(tenant)));
        let registry = document(tenant, DocumentName::Registry);
        create(&*store, &registry, None).await;
        there.insert(format!("{registry:?}"));
    }
    for partition in Partition::all() {
        create(&*store, &Address::Lease { partition }, None).await;
    }
    create(&*store, &Address::Epoch, None).await;
    for limit in [1, 7, 1_000] {
        let found: Vec<_> = scan_all(&*index, &Scope::All, limit).await.into_iter().flatten().collect();
        let addresses: BTreeSet<_> = found.iter().map(|item| format!("{:?}", item.address)).collect();
        assert_eq!(found.len(), there.len(), "pages of {limit}");
        assert_eq!(addresses, there, "pages of {limit}");
        assert!(found.iter().all(|item| item.stored.version == Version(1) && item.stored.value.as_ref() == b"sealed"));
    }
}

pub(crate) async fn a_scan_of_a_tenant_finds_nothing_of_anybody_else(backend: impl Backend) {
    let (store, index) = (backend.store(), backend.index());
    for tenant in ["a", "a-b", "a0", "a1", "aa"] {
        create(&*store, &connection(tenant, "u1", "gmail"), None).await;
        create(&*store, &keyring(tenant), None).await;
        create(&*store, &document(tenant, DocumentName::KeyUsage), None).await;
    }
    let scope = Scope::Tenant("a".parse().unwrap());
    let found: Vec<_> = scan_all(&*index, &scope, 10).await.into_iter().flatten().collect();
    assert_eq!(found.into_iter().map(|item| item.address).collect::<Vec<_>>(), [connection("a", "u1", "gmail")]);
    let nobody = scan_all(&*index, &Scope::Tenant("b".parse().unwrap()), 10).await;
    assert!(nobody.into_iter().flatten().next().is_none());
}

pub(crate) async fn a_user_is_never_on_two_pages(backend: impl Backend) {
    let (store, index) = (backend.store(), backend.index());
    for number in 0..5 {
        for platform in ["a", "b", "c", "d"] {
            create(&*store, &connection("default", &format!("u{number}"), platform), None).await;
        }
    }
    let mut seen = BTreeSet::new();
    for page in scan_all(&*index, &Scope::Tenant(TenantId::default_tenant()), 2).await {
        let users: BTreeSet<_> = page
            .iter()
            .map(|item| match &item.address {
                Address::Connection(key) => key.user.as_str().to_owned(),
                other => panic!("nobody put {other:?}"),
            })
            .collect();
        assert_eq!(page.len(), users.len() * 4);
        assert!(users.into_iter().all(|user| seen.insert(user)));
    }
    assert_eq!(seen.len(), 5);
}

pub(crate) async fn hints_come_back_as_they_were_put(backend: impl Backend) {
    let (store, index) = (backend.store(), backend.index());
    let all = [
        Hints { state: StateHint::Alive, expires_at: Some(at(1)), due_at: Some(at(253_402_300_799)) },
        Hints { state: StateHint::Dead, expires_at: None, due_at: Some(at(1)) },
        Hints { state: StateHint::Deleted, expires_at: Some(at(4_294_967_296)), due_at: None },
    ];
    for (number, hints) in all.into_iter().enumerate() {
        let record = Record { hints, value: Bytes::from_static(b"v") };
        store.put(&gmail_of(&format!("u{number}")), Expected::Absent, record).await.unwrap();
    }
    let found = scan_all(&*index, &Scope::Tenant(TenantId::default_tenant()), 100).await;
    let found: BTreeMap<_, _> =
        found.into_iter().flatten().map(|item| (format!("{:?}", item.address), item.hints)).collect();
    for (number, hints) in all.into_iter().enumerate() {
        assert_eq!(found.get(&format!("{:?}", gmail_of(&format!("u{number}")))), Some(&hints));
    }
}

/// Who was heard of, and how far.
#[derive(Default)]
struct Ear {
    heard: Mutex<BTreeSet<String>>,
    caught_up: Mutex<Option<Instant>>,
}

impl Listener for Ear {
    fn changed(&self, tenant: &TenantId, user: &UserId) {
        self.heard.lock().unwrap().insert(format!("{tenant}/{user}"));
    }

    fn caught_up(&self, as_of: Instant) {
        *self.caught_up.lock().unwrap() = Some(as_of);
    }

    fn lost(&self) {
        *self.caught_up.lock().unwrap() = None;
    }
}

pub(crate) async fn a_listener_hears_of_every_write(backend: impl Backend) {
    let (store, other, index) = (backend.store(), backend.another_instance().await, backend.index());
    let ear = Arc::new(Ear::default());
    let pushes = index.listen(Arc::clone(&ear) as Arc<dyn Listener>);
    if pushes == Pushes::Never {
        return;
    }
    if pushes == Pushes::WhileConnected {
        eventually("it is connected", async || *ear.caught_up.lock().unwrap()).await;
    }
    for number in 0..20 {
        let store = if number % 2 == 0 { &store } else { &other };
        create(&**store, &gmail_of(&format!("u{number}")), None).await;
        let written = Instant::now();
        let name = format!("default/u{number}");
        let heard = || ear.heard.lock().unwrap().contains(&name);
        match pushes {
            Pushes::AtOnce => assert!(heard(), "{name}"),
            // Whatever is told of before it says it has caught up counts as told in time.
            Pushes::WhileConnected => {
                let caught_up = async || ear.caught_up.lock().unwrap().filter(|as_of| *as_of >= written);
                eventually("it has caught up", caught_up).await;
                assert!(heard(), "{name}");
            }
            Pushes::Never => {}
        }
    }
}
