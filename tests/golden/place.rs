//! A record opens at the place it was sealed for and nowhere else, however near the other place is.

use vault_engine::domain::error::CorruptRecord;
use vault_engine::envelope::context::{Context, Kind};
use vault_engine::envelope::seal::{open, seal};

use crate::{Salt, place};

const KEY: [u8; 32] = [0x11; 32];
const KINDS: [Kind; 5] = [Kind::UserKey, Kind::Token, Kind::LocalDataKey, Kind::EngineRegistry, Kind::OutboxEntry];

#[test]
fn no_field_of_the_place_can_differ_alone_or_with_any_others() {
    let sealed = seal(&Salt([0x55; 32]), &KEY, 3, 9, &place(), b"ya29.example-access-token");
    let (mut tried, mut opened) = (0, Vec::new());

    // Every combination of near misses, so that no two differences can cancel each other out.
    for kind in KINDS {
        for environment in ["prod", "dev", "prod-", "pro", "prod2"] {
            for tenant in ["acme", "default", "acm", "acme-", "4cme"] {
                for user in ["u-42", "U-42", "u-4", "u-421", ""] {
                    for platform in ["google", "googl", "google2", "slack", ""] {
                        tried += 1;
                        let there = context(kind, environment, tenant, user, platform);
                        if open(&KEY, 3, &there, &sealed).is_ok() {
                            opened.push((kind, environment, tenant, user, platform));
                        }
                    }
                }
            }
        }
    }

    assert_eq!(tried, 5 * 5 * 5 * 5 * 5);
    assert_eq!(opened, [(Kind::Token, "prod", "acme", "u-42", "google")]);
}

#[test]
fn moving_the_boundary_between_two_fields_makes_another_place() {
    const ALL: &str = "prodacmeu42google";
    let sealed = seal(&Salt([0x55; 32]), &KEY, 3, 9, &context(Kind::Token, "prod", "acme", "u42", "google"), b"x");
    let (mut tried, mut opened) = (0, Vec::new());

    // Every way to cut the same letters into four fields; environment and tenant are never empty.
    for first in 1..ALL.len() {
        for second in first + 1..=ALL.len() {
            for third in second..=ALL.len() {
                tried += 1;
                let (rest, platform) = ALL.split_at(third);
                let (rest, user) = rest.split_at(second);
                let (environment, tenant) = rest.split_at(first);
                let there = context(Kind::Token, environment, tenant, user, platform);
                if open(&KEY, 3, &there, &sealed).is_ok() {
                    opened.push((first, second, third));
                }
            }
        }
    }

    assert_eq!(tried, 816);
    assert_eq!(opened, [(4, 8, 11)]);
}

#[test]
fn a_record_opens_under_its_own_key_and_generation_only() {
    let sealed = seal(&Salt([0x55; 32]), &KEY, 3, 9, &place(), b"x");
    let refusal = |key: &[u8; 32], generation| open(key, generation, &place(), &sealed).err();

    assert_eq!(refusal(&KEY, 3), None);
    for generation in [0, 2, 4, 0x0300_0000, u32::MAX] {
        assert_eq!(refusal(&KEY, generation), Some(CorruptRecord::Commitment), "generation {generation}");
    }
    for bit in 0..256 {
        let mut other = KEY;
        other[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(refusal(&other, 3), Some(CorruptRecord::Commitment), "key with bit {bit} flipped");
    }
}

#[test]
fn a_repeated_salt_gives_another_key_to_another_version_or_place() {
    let salt = Salt([0; 32]);
    let elsewhere = context(Kind::Token, "prod", "acme", "u-43", "google");
    let bodies = [
        seal(&salt, &KEY, 3, 9, &place(), &[0; 64]),
        seal(&salt, &KEY, 3, 10, &place(), &[0; 64]),
        seal(&salt, &KEY, 4, 9, &place(), &[0; 64]),
        seal(&salt, &KEY, 3, 9, &elsewhere, &[0; 64]),
    ];

    for (i, one) in bodies.iter().enumerate() {
        for other in &bodies[i + 1..] {
            assert_ne!(one[48..], other[48..], "two records share a key stream");
        }
    }
}

fn context(kind: Kind, environment: &str, tenant: &str, user: &str, platform: &str) -> Context {
    let (environment, tenant) = (environment.parse().expect("an environment"), tenant.parse().expect("a tenant"));
    Context::new(kind, &environment, &tenant, user, platform)
}
