//! The decorator around a store with one field per failure.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use super::*;
use crate::domain::id::ConnectionKey;
use crate::domain::ports::Version;

/// A store of one value, that fails as told and counts what it is asked.
#[derive(Default)]
struct Faulty {
    value: Mutex<Option<Stored>>,
    /// How many more writes fail without having happened.
    refuses: AtomicU32,
    /// How many more writes happen and fail all the same.
    loses_answers: AtomicU32,
    /// How many more reads fail.
    fails_reads: AtomicU32,
    /// The word of every failure; `timeout` when empty.
    reason: &'static str,
    /// Never answers.
    hangs: bool,
    asked: AtomicU32,
}

/// Always the longest pause.
struct LongestPauses;

impl Random for LongestPauses {
    fn fill(&self, buffer: &mut [u8]) {
        buffer.fill(0xff);
    }
}

impl Faulty {
    fn takes_one(from: &AtomicU32) -> bool {
        from.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok()
    }

    fn failure(&self) -> StoreError {
        StoreError::unavailable(if self.reason.is_empty() { reason::TIMEOUT } else { self.reason })
    }

    async fn count(&self) {
        self.asked.fetch_add(1, Ordering::SeqCst);
        if self.hangs {
            std::future::pending::<()>().await;
        }
    }
}

#[async_trait]
impl Store for Faulty {
    async fn get(&self, _: &Address) -> Result<Option<Stored>, StoreError> {
        self.count().await;
        if Self::takes_one(&self.fails_reads) {
            return Err(self.failure());
        }
        Ok(self.value.lock().unwrap().clone())
    }

    async fn put(&self, _: &Address, expected: Expected, record: Record) -> Result<(), StoreError> {
        self.count().await;
        if Self::takes_one(&self.refuses) {
            return Err(self.failure());
        }
        let mut held = self.value.lock().unwrap();
        let found = held.as_ref().map_or(Expected::Absent, |stored| Expected::Version(stored.version));
        if found != expected {
            return Err(StoreError::Conflict);
        }
        *held = Some(Stored { version: expected.next(), value: record.value });
        if Self::takes_one(&self.loses_answers) { Err(self.failure()) } else { Ok(()) }
    }

    async fn restore(&self, _: &Address, version: Version, record: Record) -> Result<(), StoreError> {
        self.count().await;
        if Self::takes_one(&self.refuses) {
            return Err(self.failure());
        }
        let mut held = self.value.lock().unwrap();
        if held.as_ref().is_some_and(|stored| stored.version >= version) {
            return Err(StoreError::Conflict);
        }
        *held = Some(Stored { version, value: record.value });
        if Self::takes_one(&self.loses_answers) { Err(self.failure()) } else { Ok(()) }
    }

    async fn list_user(&self, _: &TenantId, _: &UserId) -> Result<UserDrawer, StoreError> {
        self.count().await;
        if Self::takes_one(&self.fails_reads) { Err(self.failure()) } else { Ok(UserDrawer::default()) }
    }

    fn kind(&self) -> &'static str {
        "faulty"
    }
}

fn around(faulty: Faulty) -> (Arc<Faulty>, RetryingStore) {
    let inner = Arc::new(faulty);
    let store = RetryingStore::new(inner.clone(), Arc::new(LongestPauses), RetryPolicy::default());
    (inner, store)
}

fn address() -> Address {
    Address::Connection(ConnectionKey {
        tenant: TenantId::default_tenant(),
        user: "u1".parse().unwrap(),
        platform: "gmail".parse().unwrap(),
    })
}

fn value() -> Bytes {
    Bytes::from_static(b"ours")
}

#[tokio::test(start_paused = true)]
async fn a_failure_that_passes_is_not_seen() {
    let (_, store) = around(Faulty { refuses: 2.into(), fails_reads: 2.into(), ..Faulty::default() });
    store.put(&address(), Expected::Absent, value().into()).await.unwrap();
    assert_eq!(store.get(&address()).await.unwrap().unwrap().value, value());
}

#[tokio::test(start_paused = true)]
async fn a_listing_is_tried_again_too() {
    let (inner, store) = around(Faulty { fails_reads: 2.into(), ..Faulty::default() });
    store.list_user(&TenantId::default_tenant(), &"u1".parse().unwrap()).await.unwrap();
    assert_eq!(inner.asked.load(Ordering::SeqCst), 3);
}

#[tokio::test(start_paused = true)]
async fn a_write_whose_answer_was_lost_is_found_to_have_happened() {
    let (_, store) = around(Faulty { loses_answers: 1.into(), ..Faulty::default() });
    store.put(&address(), Expected::Absent, value().into()).await.unwrap();
    assert_eq!(store.get(&address()).await.unwrap().unwrap().version, Version::FIRST);
}

#[tokio::test(start_paused = true)]
async fn a_write_whose_answer_was_lost_is_recognised_also_when_reading_fails_at_first() {
    let (_, store) = around(Faulty { loses_answers: 1.into(), fails_reads: 2.into(), ..Faulty::default() });
    store.put(&address(), Expected::Absent, value().into()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_conflict_with_somebody_else_stays_a_conflict() {
    let theirs = Stored { version: Version::FIRST, value: Bytes::from_static(b"theirs") };
    let (_, store) = around(Faulty { value: Mutex::new(Some(theirs.clone())), refuses: 1.into(), ..Faulty::default() });
    let verdict = store.put(&address(), Expected::Absent, value().into()).await;
    assert!(matches!(verdict, Err(StoreError::Conflict)));
    assert_eq!(store.get(&address()).await.unwrap(), Some(theirs));
}

#[tokio::test(start_paused = true)]
async fn a_conflict_at_the_first_attempt_is_believed_even_if_the_value_is_the_same() {
    let ours_by_another = Stored { version: Version::FIRST, value: value() };
    let (inner, store) = around(Faulty { value: Mutex::new(Some(ours_by_another)), ..Faulty::default() });
    let verdict = store.put(&address(), Expected::Absent, value().into()).await;
    assert!(matches!(verdict, Err(StoreError::Conflict)));
    assert_eq!(inner.asked.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn what_does_not_pass_is_not_tried_again() {
    for reason in [reason::TOO_LARGE, reason::REFUSED, reason::FULL, reason::CLOSED, reason::UNEXPECTED] {
        let (inner, store) = around(Faulty { refuses: 9.into(), reason, ..Faulty::default() });
        let verdict = store.put(&address(), Expected::Absent, value().into()).await;
        assert!(matches!(verdict, Err(StoreError::Unavailable { reason: word, .. }) if word == reason));
        assert_eq!(inner.asked.load(Ordering::SeqCst), 1, "{reason}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_number_of_attempts_is_bounded() {
    let (inner, store) = around(Faulty { refuses: 99.into(), fails_reads: 99.into(), ..Faulty::default() });
    assert!(store.put(&address(), Expected::Absent, value().into()).await.is_err());
    assert_eq!(inner.asked.swap(0, Ordering::SeqCst), RetryPolicy::default().attempts);
    assert!(store.get(&address()).await.is_err());
    assert_eq!(inner.asked.load(Ordering::SeqCst), RetryPolicy::default().attempts);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_hangs_is_waited_for_no_longer_than_the_limit() {
    let (_, store) = around(Faulty { hangs: true, ..Faulty::default() });
    let begun = tokio::time::Instant::now();
    let verdict = store.put(&address(), Expected::Absent, value().into()).await;
    assert!(matches!(verdict, Err(StoreError::Unavailable { reason: reason::TIMEOUT, .. })));
    assert_eq!(begun.elapsed(), RetryPolicy::default().time_limit);
}

#[tokio::test(start_paused = true)]
async fn pauses_double_up_to_their_bound() {
    let (_, store) = around(Faulty::default());
    let mut pauses = Vec::new();
    for attempt in 1..8 {
        let policy = RetryPolicy { attempts: 9, ..RetryPolicy::default() };
        let store = RetryingStore { policy, inner: store.inner.clone(), random: store.random.clone() };
        let begun = tokio::time::Instant::now();
        assert!(store.pause_after(attempt).await);
        pauses.push(begun.elapsed().as_millis());
    }
    assert_eq!(pauses, [50, 100, 200, 400, 500, 500, 500]);
}

#[test]
fn an_operation_may_take_as_long_as_its_store_allows() {
    let limit = |millis| RetryPolicy::for_operations_of(Duration::from_millis(millis)).time_limit;
    let usual = RetryPolicy::default().time_limit;
    assert_eq!([limit(10), limit(3_000)], [usual, usual]);
    assert!(limit(60_000) > Duration::from_secs(60));
}
