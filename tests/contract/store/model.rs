//! Any sequence of calls has the same answers as a map would give.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "an assertion fails by panicking")]

use std::collections::HashMap;

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use tokio::runtime::Builder;
use vault_engine::domain::ports::{Address, Expected, Store, StoreError, Stored, Version};

use super::backends::Backend;
use super::promises::{connection, keyring, user_key};

const USERS: [&str; 3] = ["a", "a.b", "A"];
const PLACES: usize = USERS.len() * 4 + 1;

/// What a caller may do.
#[derive(Debug, Clone)]
enum Call {
    Get(usize),
    Put { place: usize, expected: Guess, value: Vec<u8> },
    List(usize),
}

/// What a caller may expect, told by what is there.
#[derive(Debug, Clone, Copy)]
enum Guess {
    Absent,
    Current,
    Previous,
    Next,
}

type Model = HashMap<usize, Stored>;

/// The store and a map agree, on the same sequences for every store.
pub(crate) fn agrees<B: Backend>() {
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let backend = runtime.block_on(B::start());
    let store = runtime.block_on(async { backend.store() });
    let config = Config { cases: 32, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]));
    let round = std::cell::Cell::new(0);
    runner
        .run(&vec(calls(), 1..60), |calls| {
            round.set(round.get() + 1);
            // A tenant of its own, so that every sequence begins with nothing.
            let tenant = format!("t{}", round.get());
            runtime.block_on(check(&*store, &tenant, calls));
            Ok(())
        })
        .unwrap();
}

fn calls() -> impl Strategy<Value = Call> {
    let guess = prop_oneof![
        2 => Just(Guess::Absent),
        4 => Just(Guess::Current),
        1 => Just(Guess::Previous),
        1 => Just(Guess::Next),
    ];
    prop_oneof![
        2 => (0..PLACES).prop_map(Call::Get),
        4 => (0..PLACES, guess, vec(any::<u8>(), 0..40))
            .prop_map(|(place, expected, value)| Call::Put { place, expected, value }),
        1 => (0..USERS.len()).prop_map(Call::List),
    ]
}

async fn check(store: &dyn Store, tenant: &str, calls: Vec<Call>) {
    let mut model = Model::new();
    for call in calls {
        match call {
            Call::Get(place) => {
                assert_eq!(store.get(&address(tenant, place)).await.unwrap().as_ref(), model.get(&place));
            }
            Call::Put { place, expected, value } => {
                let expected = expectation(expected, model.get(&place));
                let value = Bytes::from(value);
                let verdict = store.put(&address(tenant, place), expected, value.clone().into()).await;
                let there = model.get(&place).map_or(Expected::Absent, |found| Expected::Version(found.version));
                if there == expected {
                    verdict.unwrap();
                    model.insert(place, Stored { version: expected.next(), value });
                } else {
                    assert!(matches!(verdict, Err(StoreError::Conflict)), "{verdict:?}");
                }
            }
            Call::List(user) => compare_list(store, tenant, user, &model).await,
        }
    }
}

async fn compare_list(store: &dyn Store, tenant: &str, user: usize, model: &Model) {
    let drawer = store.list_user(&tenant.parse().unwrap(), &USERS[user].parse().unwrap()).await.unwrap();
    let mut listed = Model::new();
    for (platform, found) in drawer.connections {
        let place = user * 4 + usize::from(platform.as_str() == "slack");
        assert!(listed.insert(place, found).is_none());
    }
    for (generation, found) in drawer.keys {
        assert!(listed.insert(user * 4 + 2 + generation as usize, found).is_none());
    }
    let expected: Model =
        model.iter().filter(|(place, _)| **place / 4 == user).map(|(place, found)| (*place, found.clone())).collect();
    assert_eq!(listed, expected);
}

/// Four places per user, and one of the tenant.
fn address(tenant: &str, place: usize) -> Address {
    let Some(user) = USERS.get(place / 4) else { return keyring(tenant) };
    match place % 4 {
        0 => connection(tenant, user, "gmail"),
        1 => connection(tenant, user, "slack"),
        2 => user_key(tenant, user, 0),
        _ => user_key(tenant, user, 1),
    }
}

fn expectation(guess: Guess, there: Option<&Stored>) -> Expected {
    let version = there.map_or(0, |found| found.version.0);
    match guess {
        Guess::Absent => Expected::Absent,
        Guess::Current if version == 0 => Expected::Absent,
        Guess::Current => Expected::Version(Version(version)),
        Guess::Previous => Expected::Version(Version(version.saturating_sub(1))),
        Guess::Next => Expected::Version(Version(version + 1)),
    }
}
