//! What every key provider promises.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "these are the bodies of tests")]

use std::collections::HashSet;
use std::error::Error;
use std::fmt::Write as _;

use vault_engine::domain::ports::WrappedDataKey;

use super::{Answer, Subject, answer, context};

pub(super) async fn what_was_generated_decrypts_to_the_same_key(subject: &Subject) {
    for place in [context("prod", "acme", 1), context("dev", "default", u32::MAX)] {
        let (key, wrapped) = subject.keys.generate_data_key(&place).await.unwrap();
        assert_eq!(*subject.keys.decrypt(&place, &wrapped).await.unwrap(), *key);
    }
}

pub(super) async fn what_is_wrapped_anew_is_the_same_key_in_the_same_place(subject: &Subject) {
    let place = context("prod", "acme", 1);
    let (key, wrapped) = subject.keys.generate_data_key(&place).await.unwrap();

    let anew = subject.keys.reencrypt(&place, &wrapped).await.unwrap();

    assert_ne!(anew, wrapped);
    assert_eq!(*subject.keys.decrypt(&place, &anew).await.unwrap(), *key);
    for there in [context("prod", "acme", 2), context("prod", "other", 1)] {
        let got = answer(subject.keys.decrypt(&there, &anew).await);
        assert_eq!(got, Answer::Refused("invalid_ciphertext"), "{there:?}");
        let got = answer(subject.keys.reencrypt(&there, &wrapped).await);
        assert_eq!(got, Answer::Refused("invalid_ciphertext"), "{there:?}");
    }
}

pub(super) async fn another_context_is_refused(subject: &Subject) {
    let place = context("prod", "acme", 1);
    let (_, wrapped) = subject.keys.generate_data_key(&place).await.unwrap();

    // Alone, in pairs, all of it, and near misses.
    for (environment, tenant, generation) in [
        ("dev", "acme", 1),
        ("prod", "other", 1),
        ("prod", "acme", 2),
        ("dev", "other", 1),
        ("dev", "acme", 2),
        ("prod", "other", 2),
        ("dev", "other", 2),
        ("acme", "prod", 1),
        ("proda", "cme", 1),
        ("prod", "acme1", 0),
        ("prod", "acme", 0x0100_0000),
    ] {
        let there = context(environment, tenant, generation);
        let got = answer(subject.keys.decrypt(&there, &wrapped).await);
        assert_eq!(got, Answer::Refused("invalid_ciphertext"), "{there:?}");
    }
    assert_eq!(answer(subject.keys.decrypt(&place, &wrapped).await), Answer::Ok, "it opens where it belongs");
}

pub(super) async fn a_changed_bit_is_refused(subject: &Subject) {
    let place = context("prod", "acme", 1);
    let (_, WrappedDataKey(wrapped)) = subject.keys.generate_data_key(&place).await.unwrap();

    for bit in (0..wrapped.len() * 8).step_by(subject.bit_step) {
        let mut changed = wrapped.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        let got = answer(subject.keys.decrypt(&place, &WrappedDataKey(changed)).await);
        assert!(matches!(got, Answer::Refused(_)), "bit {bit} of {}: {got:?}", wrapped.len() * 8);
    }
}

pub(super) async fn another_length_is_refused(subject: &Subject) {
    let place = context("prod", "acme", 1);
    let (_, WrappedDataKey(wrapped)) = subject.keys.generate_data_key(&place).await.unwrap();
    let right = wrapped.len();

    for length in [0, 1, 4, 16, 47, 80, 95, right - 16, right - 1, right + 1, right + 16, 1_024, 1_025, 6_145] {
        let mut changed = wrapped.clone();
        changed.resize(length, 0);
        let got = answer(subject.keys.decrypt(&place, &WrappedDataKey(changed)).await);
        assert!(matches!(got, Answer::Refused(_)), "{length} bytes instead of {right}: {got:?}");
    }
}

pub(super) async fn a_blob_of_another_key_is_refused(subject: &Subject) {
    let place = context("prod", "acme", 1);
    let (_, theirs) = subject.stranger.generate_data_key(&place).await.unwrap();

    let got = answer(subject.keys.decrypt(&place, &theirs).await);

    assert!(matches!(got, Answer::Refused(_)), "{got:?}");
    assert_eq!(answer(subject.stranger.decrypt(&place, &theirs).await), Answer::Ok, "its own key opens it");
}

pub(super) async fn no_two_keys_are_equal(subject: &Subject) {
    let place = context("prod", "acme", 1);
    let (mut keys, mut blobs) = (HashSet::new(), HashSet::new());
    for _ in 0..16 {
        let (key, wrapped) = subject.keys.generate_data_key(&place).await.unwrap();
        keys.insert(*key);
        blobs.insert(wrapped.0);
    }
    assert_eq!((keys.len(), blobs.len()), (16, 16));
    assert!(!keys.contains(&[0; 32]));
}

pub(super) async fn a_wrapped_key_is_small_enough_to_store(subject: &Subject) {
    let place = context(&"e".repeat(31), &"t".repeat(63), u32::MAX);
    let (key, wrapped) = subject.keys.generate_data_key(&place).await.unwrap();
    assert!(wrapped.0.len() <= WrappedDataKey::MAX_BYTES, "{} bytes", wrapped.0.len());
    assert!(!wrapped.0.windows(8).any(|part| key.windows(8).any(|secret| secret == part)), "it is wrapped");
}

pub(super) async fn nothing_in_an_error_is_a_key(subject: &Subject) {
    let place = context("prod", "acme", 1);
    let (key, wrapped) = subject.keys.generate_data_key(&place).await.unwrap();

    let refused = subject.keys.decrypt(&context("prod", "acme", 2), &wrapped).await.unwrap_err();

    let mut said = format!("{refused} {refused:?} {wrapped:?}");
    let mut cause: Option<&dyn Error> = refused.source();
    while let Some(error) = cause {
        write!(said, " {error} {error:?}").unwrap();
        cause = error.source();
    }
    for secret in [&key[..], &wrapped.0] {
        let bytes = format!("{secret:?}");
        assert!(!said.contains(bytes.trim_matches(['[', ']'])), "{said}");
    }
}
