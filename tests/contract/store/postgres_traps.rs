//! What makes clients of PostgreSQL hang, lose or mix up answers, each with a real server that does it.

#![expect(clippy::unwrap_used, clippy::panic, reason = "an assertion fails by panicking")]
#![expect(clippy::disallowed_methods, reason = "tests have no task tracker")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use tokio::time::{Instant, timeout};
use vault_engine::adapters::store::postgres::{PostgresSettings, PostgresStore};
use vault_engine::adapters::store::retry::{RetryPolicy, RetryingStore};
use vault_engine::adapters::system::SystemRandom;
use vault_engine::domain::ports::{
    Address, Changes, Expected, Hints, Index as _, MAX_VALUE_BYTES, Record, StateHint, Store, StoreError, Version,
};

use super::backends::in_database;
use super::eventually::eventually;
use super::postgres_server::PostgresServer;
use super::promises::{connection, keyring};
use super::relay::Relay;

/// What a loaded machine may add to any time limit.
const SLACK: Duration = Duration::from_millis(1_500);

/// How soon everything has to work again.
const RECOVERY: Duration = Duration::from_secs(5);

fn gmail() -> Address {
    connection("default", "u1", "gmail")
}

fn value() -> Bytes {
    Bytes::from_static(b"sealed")
}

fn alive() -> Record {
    Record { value: value(), hints: Hints { state: StateHint::Alive, ..Hints::default() } }
}

/// A database of this server, with the time limits that are used by default.
async fn settings(server: &PostgresServer) -> PostgresSettings {
    let patient = in_database(server, &server.make_database());
    PostgresStore::migrate(&patient).await.unwrap();
    let PostgresSettings { connect_timeout, command_timeout, .. } = PostgresSettings::default();
    PostgresSettings { connect_timeout, command_timeout, ..patient }
}

async fn connect(settings: &PostgresSettings) -> Arc<PostgresStore> {
    Arc::new(PostgresStore::connect(settings).await.unwrap())
}

fn limit(settings: &PostgresSettings) -> Duration {
    settings.connect_timeout + settings.command_timeout + SLACK
}

fn reason_of<T: std::fmt::Debug>(answer: Result<T, StoreError>) -> &'static str {
    match answer {
        Err(StoreError::Unavailable { reason, .. }) => reason,
        other => panic!("not unavailable: {other:?}"),
    }
}

async fn answers_again(store: &PostgresStore) {
    let begun = Instant::now();
    while let Err(error) = store.get(&gmail()).await {
        assert!(begun.elapsed() < RECOVERY, "still {error:?} after {RECOVERY:?}");
        tokio::task::yield_now().await;
    }
}

/// Many calls at once, more than there are connections: all end in time, without an answer.
async fn a_crowd_ends_in_time(store: &Arc<PostgresStore>, limit: Duration) {
    let crowd = (0..200).map(|number| {
        let store = Arc::clone(store);
        tokio::spawn(async move {
            let begun = Instant::now();
            let version = Expected::Version(Version(7));
            let reason = if number % 2 == 0 {
                reason_of(store.get(&gmail()).await)
            } else {
                reason_of(store.put(&gmail(), version, value().into()).await)
            };
            (reason, begun.elapsed())
        })
    });
    for ended in join_all(crowd).await {
        let (reason, took) = ended.unwrap();
        assert!(matches!(reason, "timeout" | "connection" | "busy"), "{reason}");
        assert!(took < limit, "{took:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_server_is_down_calls_end_in_time_and_after_its_restart_they_succeed() {
    let mut server = PostgresServer::start(&[]);
    let settings = settings(&server).await;
    let store = connect(&settings).await;
    store.put(&gmail(), Expected::Absent, value().into()).await.unwrap();
    server.kill();
    for _ in 0..10 {
        assert_eq!(reason_of(store.get(&gmail()).await), "connection");
    }
    a_crowd_ends_in_time(&store, limit(&settings)).await;
    server.restart();
    answers_again(&store).await;
    assert_eq!(store.get(&gmail()).await.unwrap().unwrap().value, value());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_server_is_frozen_calls_end_in_time_and_when_it_goes_on_they_succeed() {
    let server = PostgresServer::start(&[]);
    let settings = settings(&server).await;
    let store = connect(&settings).await;
    store.get(&gmail()).await.unwrap();
    let ear = Arc::new(Ear::default());
    store.listen(Arc::clone(&ear) as _);
    eventually("it has caught up", async || ear.is_caught_up().then_some(())).await;
    server.pause();
    a_crowd_ends_in_time(&store, limit(&settings)).await;
    eventually("the listener is told", async || (!ear.is_caught_up()).then_some(())).await;
    server.resume();
    answers_again(&store).await;
    eventually("it has caught up", async || ear.is_caught_up().then_some(())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_carries_nothing_any_more_is_replaced() {
    let server = PostgresServer::shared();
    let settings = settings(server).await;
    let relay = Relay::to(server.port()).await;
    let store = connect(&PostgresSettings { port: relay.port(), ..settings.clone() }).await;
    let ear = Arc::new(Ear::default());
    store.listen(Arc::clone(&ear) as _);
    eventually("it has caught up", async || ear.is_caught_up().then_some(())).await;
    let before = relay.accepted();
    relay.freeze();
    assert_eq!(reason_of(store.get(&gmail()).await), "timeout");
    store.get(&gmail()).await.unwrap();
    assert!(relay.accepted() > before);
    eventually("the listener is told", async || ear.was_lost_since(2).then_some(())).await;
    eventually("it has caught up", async || ear.is_caught_up().then_some(())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_restarts_under_load_loses_nothing_that_was_acknowledged() {
    let mut server = PostgresServer::start(&[]);
    let store = connect(&settings(&server).await).await;
    let retrying: Arc<dyn Store> =
        Arc::new(RetryingStore::new(Arc::clone(&store) as _, Arc::new(SystemRandom), RetryPolicy::default()));
    let (enough, acknowledged) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let writers: Vec<_> = (0..8)
        .map(|number| {
            let (store, enough, all) = (Arc::clone(&retrying), Arc::clone(&enough), Arc::clone(&acknowledged));
            tokio::spawn(async move {
                let address = connection("default", &format!("u{number}"), "gmail");
                let mut mine = 0;
                while !enough.load(Ordering::SeqCst) {
                    let expected = if mine == 0 { Expected::Absent } else { Expected::Version(Version(mine)) };
                    match store.put(&address, expected, Bytes::from(format!("{number}: {mine}")).into()).await {
                        Ok(()) => {
                            mine += 1;
                            all.fetch_add(1, Ordering::SeqCst);
                        }
                        // It may have happened after all, and nobody else writes here.
                        Err(_) => {
                            if let Ok(Some(found)) = store.get(&address).await {
                                mine = found.version.0;
                            }
                        }
                    }
                }
                (address, mine)
            })
        })
        .collect();
    let count = || acknowledged.load(Ordering::SeqCst);
    eventually("there is load", async || (count() > 100).then_some(())).await;
    server.kill();
    server.restart();
    let (restarted, before) = (Instant::now(), count());
    eventually("every writer goes on", async || (count() > before + 100).then_some(())).await;
    assert!(restarted.elapsed() < RECOVERY, "{:?}", restarted.elapsed());
    enough.store(true, Ordering::SeqCst);
    for writer in writers {
        let (address, mine) = writer.await.unwrap();
        assert_eq!(retrying.get(&address).await.unwrap().unwrap().version, Version(mine));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_answer_reaches_anybody_but_who_asked() {
    let server = PostgresServer::shared();
    let mine = in_database(server, &server.make_database());
    PostgresStore::migrate(&mine).await.unwrap();
    let relay = Relay::to(server.port()).await;
    let store = connect(&PostgresSettings { max_connections: 4, port: relay.port(), ..mine }).await;
    for number in 0..100 {
        let user = format!("u{number}");
        let address = connection("default", &user, "gmail");
        store.put(&address, Expected::Absent, Bytes::from(user).into()).await.unwrap();
    }
    let asked = (0..4_000_u64).map(|number| {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            let user = format!("u{}", number % 150);
            let expected = (number % 150 < 100).then(|| Bytes::from(user.clone()));
            let address = connection("default", &user, "gmail");
            let mut question = Box::pin(store.get(&address));
            if number % 5 == 0 {
                // Given up in the middle: once it is being worked on, after a few turns of everybody.
                for _ in 0..=(number / 5 % 40) {
                    if let std::task::Poll::Ready(answer) = futures_util::poll!(question.as_mut()) {
                        assert_eq!(answer.unwrap().map(|found| found.value), expected);
                        return Some(());
                    }
                    tokio::task::yield_now().await;
                }
                return None;
            }
            assert_eq!(question.await.unwrap().map(|found| found.value), expected, "the answer to another question");
            Some(())
        })
    });
    let answers = join_all(asked).await;
    let given_up = answers.iter().filter(|answer| answer.as_ref().unwrap().is_none()).count();
    assert!(given_up > 100, "only {given_up} gave up: this proves nothing");
    // No connection was lost over it.
    assert!(relay.accepted() <= 4, "{}", relay.accepted());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_put_that_was_given_up_happens_whole_or_not_at_all() {
    let server = PostgresServer::start(&[]);
    let store = connect(&settings(&server).await).await;
    server.pause();
    assert!(timeout(Duration::from_millis(400), store.put(&gmail(), Expected::Absent, alive())).await.is_err());
    server.resume();
    answers_again(&store).await;
    // The server has it and works it off, whoever has gone; or somebody else comes first.
    let verdict = store.put(&gmail(), Expected::Absent, alive()).await;
    assert!(matches!(verdict, Ok(()) | Err(StoreError::Conflict)), "{verdict:?}");
    let found = eventually("there is one", async || store.get(&gmail()).await.unwrap()).await;
    assert_eq!((found.version, found.value), (Version::FIRST, value()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_an_operator_ends_are_replaced_and_the_listener_is_told() {
    let server = PostgresServer::shared();
    let settings = settings(server).await;
    let store = connect(&settings).await;
    let ear = Arc::new(Ear::default());
    store.listen(Arc::clone(&ear) as _);
    eventually("it has caught up", async || ear.is_caught_up().then_some(())).await;
    let end = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
               WHERE datname = current_database() AND pid <> pg_backend_pid()";
    assert!(server.ask(&settings.database, end).parse::<u32>().unwrap() >= 2);
    answers_again(&store).await;
    eventually("the listener is told", async || ear.was_lost_since(2).then_some(())).await;
    eventually("it has caught up", async || ear.is_caught_up().then_some(())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_failover_writes_go_on_and_places_in_the_changes_are_forgotten() {
    let mut server = PostgresServer::start(&[]);
    let store = connect(&settings(&server).await).await;
    store.put(&gmail(), Expected::Absent, alive()).await.unwrap();
    let partition = gmail().partition();
    let Changes::Next { cursor, .. } = store.changes(partition, None, 10).await.unwrap() else { panic!("no end") };
    server.kill();
    server.restart_as_standby();
    // It answers reads, which may be old by now, and takes no writes.
    let read_only = async || {
        let reason = reason_of(store.put(&gmail(), Expected::Version(Version(1)), alive()).await);
        (reason == "read_only").then_some(())
    };
    eventually("it says that it is a standby", read_only).await;
    assert!(store.get(&gmail()).await.is_err());
    assert_eq!(server.ask("postgres", "SELECT pg_promote()"), "t");
    answers_again(&store).await;
    store.put(&gmail(), Expected::Version(Version(1)), alive()).await.unwrap();
    assert_eq!(store.changes(partition, Some(&cursor), 10).await.unwrap(), Changes::Forgotten);
}

#[tokio::test]
async fn changes_are_forgotten_after_a_day_and_whoever_missed_them_is_told() {
    let server = PostgresServer::shared();
    let settings = settings(server).await;
    let store = connect(&settings).await;
    let partition = gmail().partition();
    let place = async || match store.changes(partition, None, 10).await.unwrap() {
        Changes::Next { cursor, .. } => cursor,
        Changes::Forgotten => panic!("there is always an end"),
    };
    let before = place().await;
    store.put(&gmail(), Expected::Absent, alive()).await.unwrap();
    let old = place().await;
    server.ask(&settings.database, "UPDATE vault_change SET written_at = now() - interval '26 hours'");
    store.put(&gmail(), Expected::Version(Version(1)), alive()).await.unwrap();
    // Whoever starts looks first for what is old.
    let another = connect(&settings).await;
    let forgotten =
        async || (another.changes(partition, Some(&before), 10).await.unwrap() == Changes::Forgotten).then_some(());
    eventually("it is forgotten", forgotten).await;
    let Changes::Next { changes, .. } = another.changes(partition, Some(&old), 10).await.unwrap() else {
        panic!("what is not a day old is forgotten");
    };
    assert_eq!(changes.iter().map(|(change, _)| change.version.0).collect::<Vec<_>>(), [2]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nobody_rang_for_is_heard_all_the_same() {
    let server = PostgresServer::shared();
    let settings = settings(server).await;
    let store = connect(&settings).await;
    let ear = Arc::new(Ear::default());
    store.listen(Arc::clone(&ear) as _);
    eventually("it has caught up", async || ear.is_caught_up().then_some(())).await;
    let silently = "WITH numbered AS (UPDATE vault_partition SET last = last + 1 WHERE partition = 3 RETURNING last)
                    INSERT INTO vault_change SELECT 3, last, 'default/u9', 'gmail', 1, 1 FROM numbered";
    server.ask(&settings.database, silently);
    eventually("it is heard", async || ear.heard.lock().unwrap().contains("default/u9").then_some(())).await;
}

#[tokio::test]
async fn the_server_ends_what_nobody_waits_for_any_more() {
    let server = PostgresServer::shared();
    let settings = settings(server).await;
    let store = connect(&settings).await;
    let lock = server.lock(&settings.database, "vault_record");
    let of_ours = "FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE datname = current_database()
                   AND relation = 'vault_record'::regclass";
    let count = |which: &str| server.ask(&settings.database, &format!("SELECT count(*) {of_ours} AND {which}"));
    eventually("it is locked", async || (count("granted AND mode = 'AccessExclusiveLock'") == "1").then_some(())).await;
    assert_eq!(reason_of(store.get(&gmail()).await), "timeout");
    eventually("nobody waits for the lock", async || (count("NOT granted") == "0").then_some(())).await;
    assert_eq!(count("granted AND mode = 'AccessExclusiveLock'"), "1", "it is held still");
    drop(lock);
    answers_again(&store).await;
}

#[tokio::test]
async fn leases_and_keyrings_are_nobodys_news() {
    let server = PostgresServer::shared();
    let settings = settings(server).await;
    let store = connect(&settings).await;
    store.put(&Address::Lease { partition: gmail().partition() }, Expected::Absent, value().into()).await.unwrap();
    store.put(&keyring("default"), Expected::Absent, value().into()).await.unwrap();
    assert_eq!(server.ask(&settings.database, "SELECT count(*) FROM vault_change"), "0");
}

#[tokio::test]
async fn a_value_beyond_the_bound_is_refused_before_anything_is_sent() {
    let server = PostgresServer::start(&[]);
    let store = connect(&settings(&server).await).await;
    server.pause();
    let verdict = store.put(&gmail(), Expected::Absent, Bytes::from(vec![0; MAX_VALUE_BYTES + 1]).into()).await;
    assert_eq!(reason_of(verdict), "too_large");
}

#[tokio::test]
async fn no_more_connections_are_open_than_allowed() {
    let server = PostgresServer::shared();
    let mine = in_database(server, &server.make_database());
    PostgresStore::migrate(&mine).await.unwrap();
    let store = connect(&PostgresSettings { max_connections: 3, ..mine.clone() }).await;
    join_all((0..200).map(|_| async { store.get(&gmail()).await.unwrap() })).await;
    let open = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()";
    assert_eq!(server.ask(&mine.database, open), "3");
}

/// Who was heard of, and whether all of it.
#[derive(Default)]
struct Ear {
    heard: std::sync::Mutex<std::collections::BTreeSet<String>>,
    caught_up: AtomicBool,
    lost: AtomicU64,
}

impl Ear {
    fn is_caught_up(&self) -> bool {
        self.caught_up.load(Ordering::SeqCst)
    }

    /// Whether it was told more often than this.
    fn was_lost_since(&self, times: u64) -> bool {
        self.lost.load(Ordering::SeqCst) >= times
    }
}

impl vault_engine::domain::ports::Listener for Ear {
    fn changed(&self, tenant: &vault_engine::domain::id::TenantId, user: &vault_engine::domain::id::UserId) {
        self.heard.lock().unwrap().insert(format!("{tenant}/{user}"));
    }

    fn caught_up(&self, _as_of: std::time::Instant) {
        self.caught_up.store(true, Ordering::SeqCst);
    }

    fn lost(&self) {
        self.lost.fetch_add(1, Ordering::SeqCst);
        self.caught_up.store(false, Ordering::SeqCst);
    }
}
