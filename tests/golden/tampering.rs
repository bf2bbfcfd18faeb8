//! No changed record opens: every bit, every length, every other format.

use vault_engine::envelope::context::{Context, Kind};
use vault_engine::envelope::seal::{open, seal};

use crate::{Salt, place};

const KEY: [u8; 32] = [0x11; 32];
const GENERATION: u32 = 3;

/// A record and the place it was sealed for.
struct Sealed {
    place: Context,
    bytes: Vec<u8>,
}

#[test]
fn no_flipped_bit_of_a_small_token_is_accepted() {
    assert_eq!(flipped(&token(64)), Outcome { tried: 160 * 8, accepted: 0 });
}

#[test]
fn no_flipped_bit_of_a_large_token_is_accepted() {
    assert_eq!(flipped(&token(2_048)), Outcome { tried: (2_048 + 96) * 8, accepted: 0 });
}

#[test]
fn no_flipped_bit_of_a_user_key_is_accepted() {
    assert_eq!(flipped(&user_key()), Outcome { tried: 128 * 8, accepted: 0 });
}

#[test]
fn no_other_length_is_accepted() {
    for sealed in [token(0), token(64), token(2_048), user_key()] {
        let right = sealed.bytes.len();
        let accepted: Vec<usize> =
            (0..=right + 32).filter(|length| opens(&sealed.place, &resized(&sealed, *length))).collect();
        assert_eq!(accepted, [right]);
    }
}

#[test]
fn no_other_format_or_suite_is_accepted() {
    let sealed = token(64);
    let mut changed = sealed.bytes.clone();
    let mut accepted = Vec::new();

    for pair in 0..=u16::MAX {
        changed[2..4].copy_from_slice(&pair.to_be_bytes());
        if opens(&sealed.place, &changed) {
            accepted.push(pair);
        }
    }

    assert_eq!(accepted, [0x0101], "only format 1 with suite 1 is known");
}

#[test]
fn two_records_cannot_lend_each_other_their_parts() {
    let (ours, theirs) = (token(64), Sealed { bytes: sealed_with([0x77; 32], &[0xbb; 64]), ..token(64) });
    assert!(opens(&theirs.place, &theirs.bytes), "both open before");
    for (from, to) in [(0, 80), (16, 48), (16, 80), (48, 80), (80, 144), (144, 160), (80, 160)] {
        let mut mixed = ours.bytes.clone();
        mixed[from..to].copy_from_slice(&theirs.bytes[from..to]);
        assert!(!opens(&ours.place, &mixed), "bytes {from}..{to} of another record were accepted");
    }
}

/// What came of trying every change.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    tried: usize,
    accepted: usize,
}

fn flipped(sealed: &Sealed) -> Outcome {
    assert!(opens(&sealed.place, &sealed.bytes), "the untouched record opens");
    let mut changed = sealed.bytes.clone();
    let mut outcome = Outcome { tried: 0, accepted: 0 };
    for bit in 0..changed.len() * 8 {
        changed[bit / 8] ^= 1 << (bit % 8);
        outcome.tried += 1;
        outcome.accepted += usize::from(opens(&sealed.place, &changed));
        changed[bit / 8] ^= 1 << (bit % 8);
    }
    outcome
}

/// Asks with the generation the record claims, so that it is the seal that refuses and not the question.
fn opens(place: &Context, bytes: &[u8]) -> bool {
    let claimed = bytes.get(4..8).map_or(GENERATION, |g| u32::from_be_bytes(g.try_into().expect("four bytes")));
    open(&KEY, GENERATION, place, bytes).is_ok() || open(&KEY, claimed, place, bytes).is_ok()
}

fn resized(sealed: &Sealed, length: usize) -> Vec<u8> {
    let mut bytes = sealed.bytes.clone();
    bytes.resize(length, 0);
    bytes
}

fn token(length: usize) -> Sealed {
    Sealed { place: place(), bytes: sealed_with([0x55; 32], &vec![0xaa; length]) }
}

fn sealed_with(salt: [u8; 32], plaintext: &[u8]) -> Vec<u8> {
    seal(&Salt(salt), &KEY, GENERATION, 9, &place(), plaintext)
}

fn user_key() -> Sealed {
    let (environment, tenant) = ("prod".parse().expect("an environment"), "acme".parse().expect("a tenant"));
    let place = Context::new(Kind::UserKey, &environment, &tenant, "u-42", "");
    let bytes = seal(&Salt([0x66; 32]), &KEY, GENERATION, 1, &place, &[0x22; 32]);
    Sealed { place, bytes }
}
