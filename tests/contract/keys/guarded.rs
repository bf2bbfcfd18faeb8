//! The limits around any provider, on a paused clock.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{Instant, advance, timeout};
use vault_engine::adapters::keys::guarded::{Guarded, Limits};
use vault_engine::domain::ports::KeyProvider as _;

use super::faulty::{Fault, FaultyKeys};
use super::{Answer, answer, context, local_keys};

/// A guarded provider, and the faults behind it.
struct Bench {
    guarded: Guarded<FaultyKeys>,
    faulty: FaultyKeys,
    _folder: tempfile::TempDir,
}

#[tokio::test(start_paused = true)]
async fn a_call_that_hangs_ends_after_ten_seconds() {
    let bench = Bench::new();
    bench.faulty.set(Fault::Hang);
    let begun = Instant::now();

    assert_eq!(bench.ask().await, Answer::Unavailable("timeout"));

    assert_eq!(begun.elapsed().as_secs(), 10);
}

#[tokio::test(start_paused = true)]
async fn a_slow_call_is_waited_for() {
    let bench = Bench::new();
    bench.faulty.set(Fault::Latency(Duration::from_secs(9)));
    assert_eq!(bench.ask().await, Answer::Ok);
}

#[tokio::test(start_paused = true)]
async fn faults_are_passed_on_as_they_are() {
    let bench = Bench::new();
    let place = context("prod", "acme", 1);
    let (_, wrapped) = bench.guarded.generate_data_key(&place).await.unwrap();

    bench.faulty.set(Fault::Throttled);
    assert_eq!(bench.ask().await, Answer::Unavailable("throttled"));
    bench.faulty.set(Fault::Refused("disabled"));
    assert_eq!(bench.ask().await, Answer::Refused("disabled"));
    bench.faulty.set(Fault::WrongContext);
    assert_eq!(answer(bench.guarded.decrypt(&place, &wrapped).await), Answer::Refused("invalid_ciphertext"));
}

#[tokio::test(start_paused = true)]
async fn five_hundred_calls_a_second_go_through_and_the_others_wait_their_turn() {
    let bench = Bench::new();
    let begun = Instant::now();

    let answers = join_all((0..1_000).map(|_| bench.ask())).await;

    assert!(answers.iter().all(|answer| *answer == Answer::Ok));
    // The first 500 were saved up; the other 500 take a second.
    let took = begun.elapsed();
    assert!((Duration::from_millis(990)..=Duration::from_millis(1_010)).contains(&took), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn what_would_wait_too_long_for_its_turn_is_told_so_at_once() {
    let bench = Bench::new();
    let begun = Instant::now();

    let answers = join_all((0..2_000).map(|_| async { (bench.ask().await, begun.elapsed()) })).await;

    let limited: Vec<_> = answers.iter().filter(|(got, _)| *got == Answer::Unavailable("rate_limited")).collect();
    assert_eq!(limited.len(), 500, "500 saved up, and 1,000 in the two seconds a call is ready to wait");
    assert!(limited.iter().all(|(_, took)| took.is_zero()));
    assert_eq!(bench.faulty.calls(), 1_500);
    assert!(!bench.guarded.is_open(), "our own limit is no failure of the service");
}

#[tokio::test(start_paused = true)]
async fn twenty_failures_in_ten_seconds_open_the_breaker() {
    let bench = Bench::new();
    bench.faulty.set(Fault::Unavailable("internal"));

    for _ in 0..20 {
        assert_eq!(bench.ask().await, Answer::Unavailable("internal"));
    }

    assert!(bench.guarded.is_open());
    assert_eq!(bench.ask().await, Answer::Unavailable("circuit_open"));
    assert_eq!(bench.faulty.calls(), 20, "an open breaker asks nothing");
}

#[tokio::test(start_paused = true)]
async fn twenty_failures_spread_over_more_than_ten_seconds_do_not() {
    let bench = Bench::new();
    bench.faulty.set(Fault::Unavailable("internal"));

    for _ in 0..100 {
        assert_eq!(bench.ask().await, Answer::Unavailable("internal"));
        advance(Duration::from_millis(530)).await;
    }

    assert!(!bench.guarded.is_open());
}

#[tokio::test(start_paused = true)]
async fn a_service_that_fails_every_other_call_opens_the_breaker() {
    let bench = Bench::new();
    for _ in 0..20 {
        bench.faulty.set(Fault::Unavailable("internal"));
        assert_eq!(bench.ask().await, Answer::Unavailable("internal"));
        bench.faulty.set(Fault::None);
        if !bench.guarded.is_open() {
            assert_eq!(bench.ask().await, Answer::Ok);
        }
    }
    assert!(bench.guarded.is_open());
}

#[tokio::test(start_paused = true)]
async fn a_service_that_refuses_is_well() {
    let bench = Bench::new();
    bench.faulty.set(Fault::Refused("access_denied"));
    for _ in 0..100 {
        assert_eq!(bench.ask().await, Answer::Refused("access_denied"));
    }
    assert!(!bench.guarded.is_open());
}

#[tokio::test(start_paused = true)]
async fn an_open_breaker_lets_one_call_through_every_five_seconds() {
    let bench = Bench::opened().await;

    advance(Duration::from_millis(4_999)).await;
    assert_eq!(bench.ask().await, Answer::Unavailable("circuit_open"));
    advance(Duration::from_millis(2)).await;
    let answers = join_all((0..10).map(|_| bench.ask())).await;

    assert_eq!(answers.iter().filter(|answer| **answer == Answer::Unavailable("internal")).count(), 1);
    assert_eq!(answers.iter().filter(|answer| **answer == Answer::Unavailable("circuit_open")).count(), 9);
    assert_eq!(bench.faulty.calls(), 21);
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_is_answered_closes_the_breaker() {
    for mended in [Fault::None, Fault::Refused("disabled")] {
        let bench = Bench::opened().await;
        advance(Duration::from_secs(5)).await;
        bench.faulty.set(mended);

        assert_ne!(bench.ask().await, Answer::Unavailable("circuit_open"));

        assert!(!bench.guarded.is_open());
        bench.faulty.set(Fault::None);
        assert_eq!(bench.ask().await, Answer::Ok);
    }
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_is_dropped_does_not_keep_the_breaker_open() {
    let bench = Bench::opened().await;
    advance(Duration::from_secs(5)).await;
    bench.faulty.set(Fault::Hang);
    assert!(timeout(Duration::from_secs(1), bench.ask()).await.is_err(), "the caller went away");

    bench.faulty.set(Fault::None);
    assert_eq!(bench.ask().await, Answer::Unavailable("circuit_open"));
    advance(Duration::from_secs(5)).await;

    assert_eq!(bench.ask().await, Answer::Ok);
}

// === impl Bench ===

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let faulty = FaultyKeys::around(Arc::new(local_keys(&folder.path().join("keys"))));
        Self { guarded: Guarded::new(faulty.clone(), Limits::default()), faulty, _folder: folder }
    }

    /// One whose breaker has just opened, the service still failing.
    async fn opened() -> Self {
        let bench = Self::new();
        bench.faulty.set(Fault::Unavailable("internal"));
        for _ in 0..20 {
            bench.ask().await;
        }
        assert!(bench.guarded.is_open());
        bench
    }

    async fn ask(&self) -> Answer {
        let place = context("prod", "acme", 1);
        let asked = timeout(Duration::from_mins(1), self.guarded.generate_data_key(&place)).await;
        answer(asked.expect("every call ends"))
    }
}
