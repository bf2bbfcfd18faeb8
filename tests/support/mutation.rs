//! Inputs nobody would write, made of inputs somebody did: bits flipped, pieces cut, doubled and swapped, words put in that
//! mean something to whoever reads.
//!
//! `VAULT_TEST_FUZZ_SECONDS` says how long each target gets, `VAULT_TEST_FUZZ_SEED` makes it the same again.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test harness fails by panicking")]

use std::hash::{BuildHasher as _, RandomState};
use std::time::{Duration, Instant};

/// Where inputs come from.
pub(crate) struct Mutation {
    seeds: Vec<Vec<u8>>,
    words: Vec<Vec<u8>>,
    state: u64,
    seed: u64,
    until: Instant,
    made: u64,
}

/// The most an input may grow to.
const LONGEST: usize = 64 * 1_024;

// === impl Mutation ===

impl Mutation {
    /// From these inputs and these words.
    pub(crate) fn of(seeds: Vec<Vec<u8>>, words: &[&str]) -> Self {
        let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
        let seed = number("VAULT_TEST_FUZZ_SEED").unwrap_or_else(|| RandomState::new().hash_one(0) >> 16);
        let until = Instant::now() + Duration::from_secs(number("VAULT_TEST_FUZZ_SECONDS").unwrap_or(2));
        let words = words.iter().map(|word| word.as_bytes().to_vec()).collect();
        Self { seeds, words, state: seed | 1, seed, until, made: 0 }
    }

    /// The next input, until time is up.
    pub(crate) fn next(&mut self) -> Option<Vec<u8>> {
        if Instant::now() >= self.until {
            return None;
        }
        self.made += 1;
        let mut input = self.pick_seed();
        for _ in 0..=self.below(6) {
            self.change(&mut input);
        }
        input.truncate(LONGEST);
        Some(input)
    }

    /// How many there were so far, and how to make them again.
    pub(crate) fn about(&self) -> String {
        format!("{} inputs, VAULT_TEST_FUZZ_SEED={}", self.made, self.seed)
    }

    fn pick_seed(&mut self) -> Vec<u8> {
        let which = self.below(self.seeds.len());
        self.seeds[which].clone()
    }

    fn change(&mut self, input: &mut Vec<u8>) {
        let place = self.below(input.len() + 1);
        let length = self.below(32).min(input.len() - place);
        match self.below(9) {
            0 if place < input.len() => input[place] ^= 1 << self.below(8),
            1 if place < input.len() => input[place] = [0, 1, 0x7f, 0x80, 0xff, b'\n', b'"', b'/'][self.below(8)],
            2 => drop(input.drain(place..place + length)),
            3 => {
                let piece = input[place..place + length].to_vec();
                let times = 1 + self.below(40);
                input.splice(place..place, piece.repeat(times));
            }
            4 => input.truncate(place),
            5 => {
                let bytes: Vec<u8> = (0..self.below(16)).map(|_| u8::try_from(self.below(256)).unwrap()).collect();
                input.splice(place..place, bytes);
            }
            6 => {
                let other = self.pick_seed();
                let from = self.below(other.len() + 1);
                input.truncate(place);
                input.extend_from_slice(&other[from..]);
            }
            7 if !self.words.is_empty() => {
                let which = self.below(self.words.len());
                let word = self.words[which].clone();
                input.splice(place..place + length, word);
            }
            _ => {
                let bytes = [u64::MAX, 1 << 63, 0, 1 << 31, 0xffff][self.below(5)].to_be_bytes();
                let width = [1, 2, 4, 8][self.below(4)];
                let end = (place + width).min(input.len());
                input.splice(place..end, bytes[..width].iter().copied());
            }
        }
    }

    /// A number below this one, which is not 0.
    fn below(&mut self, bound: usize) -> usize {
        // Marsaglia, "Xorshift RNGs".
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        usize::try_from(self.state % u64::try_from(bound).unwrap()).unwrap()
    }
}
