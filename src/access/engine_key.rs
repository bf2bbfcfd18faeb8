//! The keys engines prove themselves with.
//!
//! ```text
//! tvk1_ <key id: 12 Crockford base32> _ <secret: 43 base62> <crc: 6 base62>
//! ```
//!
//! 43 base62 digits hold 256 bits. The checksum, CRC-32 over everything before it, is no security: it lets scanners and
//! clients tell a key from a typo without asking. What is stored is a verifier,
//! `HMAC-SHA-256(pepper, "tv/1 key" || engine id || 0x00 || key id || 0x00 || secret)`: useless without the pepper, which
//! only the key service opens, and useless for another engine. A fast hash is right for a secret nobody can guess
//! (NIST SP 800-63B section 5.1.2.2 asks for no more from 112 bits on).

use std::fmt;
use std::str::FromStr;

use hmac::{Hmac, KeyInit as _, Mac as _};
use secrecy::{ExposeSecret as _, SecretString};
use sha2::Sha256;
use subtle::{Choice, ConstantTimeEq as _};
use zeroize::Zeroize as _;

use crate::domain::id::EngineId;
use crate::domain::ports::{DataKey, Random};

/// A key, whole: shown once when it is made, and presented with every call.
pub struct EngineKey {
    id: String,
    secret: SecretString,
}

/// What is stored in the place of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyVerifier {
    /// The public part of the key.
    pub key_id: String,
    /// The HMAC over the rest.
    pub verifier: [u8; 32],
}

/// What verifiers are made with: a key of the installation, never stored in the clear.
pub struct Pepper(DataKey);

/// The text is not a key. Says nothing about the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an engine key: it must look like `tvk1_<12 characters>_<49 characters>` with a matching checksum")]
pub struct MalformedKey;

const PREFIX: &str = "tvk1_";
const ID_LENGTH: usize = 12;
const SECRET_LENGTH: usize = 43;
const CRC_LENGTH: usize = 6;
const CROCKFORD: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

// === impl EngineKey ===

impl EngineKey {
    /// Bytes every key has.
    pub const LENGTH: usize = PREFIX.len() + ID_LENGTH + 1 + SECRET_LENGTH + CRC_LENGTH;

    /// Makes a key.
    #[must_use]
    pub fn make(random: &dyn Random) -> Self {
        Self { id: draw(random, CROCKFORD, ID_LENGTH), secret: draw(random, BASE62, SECRET_LENGTH).into() }
    }

    /// The public part: may be shown and logged.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Whether a text can be the public part of a key.
    #[must_use]
    pub fn is_id(text: &str) -> bool {
        text.len() == ID_LENGTH && text.bytes().all(is_crockford)
    }

    /// How the key with this public part begins: what people recognise it by.
    #[must_use]
    pub fn display_prefix(id: &str) -> String {
        format!("{PREFIX}{id}")
    }

    /// The whole key, leaving its wrapper.
    #[must_use]
    pub fn expose(&self) -> String {
        let body = format!("{PREFIX}{}_{}", self.id, self.secret.expose_secret());
        let checksum = checksum(&body);
        body + &checksum
    }

    /// What to store in its place, for one engine.
    #[must_use]
    pub fn verifier(&self, pepper: &Pepper, engine: &str) -> KeyVerifier {
        KeyVerifier { key_id: self.id.clone(), verifier: pepper.authenticate(engine, &self.id, &self.secret) }
    }
}

impl FromStr for EngineKey {
    type Err = MalformedKey;

    fn from_str(text: &str) -> Result<Self, MalformedKey> {
        let parse = || {
            let (body, crc) = text.split_at_checked(Self::LENGTH - CRC_LENGTH)?;
            let (id, secret) = body.strip_prefix(PREFIX)?.split_once('_')?;
            let shaped = id.len() == ID_LENGTH
                && id.bytes().all(is_crockford)
                && secret.len() == SECRET_LENGTH
                && secret.bytes().all(|b| b.is_ascii_alphanumeric());
            (shaped && checksum(body) == crc)
                .then(|| Self { id: id.to_owned(), secret: SecretString::from(secret.to_owned()) })
        };
        parse().ok_or(MalformedKey)
    }
}

impl fmt::Debug for EngineKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EngineKey({})", self.id)
    }
}

// === impl Pepper ===

impl Pepper {
    /// Takes the key over.
    #[must_use]
    pub fn new(key: DataKey) -> Self {
        Self(key)
    }

    /// Compares a presented key with a stored verifier, in the same time whatever the outcome.
    pub(super) fn matches(&self, key: &EngineKey, engine: &str, stored: &KeyVerifier) -> Choice {
        self.authenticate(engine, &key.id, &key.secret).ct_eq(&stored.verifier)
            & key.id.as_bytes().ct_eq(stored.key_id.as_bytes())
    }

    #[expect(clippy::expect_used, reason = "HMAC takes keys of any length")]
    fn authenticate(&self, engine: &str, key_id: &str, secret: &SecretString) -> [u8; 32] {
        let mut mac = Hmac::<Sha256>::new_from_slice(&*self.0).expect("HMAC takes keys of any length");
        for part in [b"tv/1 key", engine.as_bytes(), b"\0", key_id.as_bytes(), b"\0"] {
            mac.update(part);
        }
        mac.update(secret.expose_secret().as_bytes());
        mac.finalize().into_bytes().into()
    }
}

// === impl KeyVerifier ===

impl KeyVerifier {
    /// The text a verifier is written as in a configuration: 64 hexadecimal digits.
    #[must_use]
    pub fn to_text(&self) -> String {
        self.verifier
            .iter()
            .flat_map(|byte| [byte >> 4, byte & 15])
            .filter_map(|nibble| char::from_digit(nibble.into(), 16))
            .collect()
    }

    /// Reads a verifier from its text.
    #[must_use]
    pub fn parse(key_id: &str, text: &str) -> Option<Self> {
        let mut verifier = [0; 32];
        let digits = text.as_bytes().chunks_exact(2);
        if text.len() != 64 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return None;
        }
        for (byte, pair) in verifier.iter_mut().zip(digits) {
            *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
        }
        let id = key_id.len() == ID_LENGTH && key_id.bytes().all(is_crockford);
        id.then(|| Self { key_id: key_id.to_owned(), verifier })
    }

    /// A verifier that no key matches: compared with when there is none, so that it takes as long.
    pub(super) fn nobody() -> Self {
        Self { key_id: "0".repeat(ID_LENGTH), verifier: [0; 32] }
    }
}

/// Whether a byte is in [`CROCKFORD`]: without a search, because it is asked for every call.
const fn is_crockford(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'A'..=b'Z') && !matches!(byte, b'I' | b'L' | b'O' | b'U')
}

/// CRC-32 of a text as six base62 digits, most significant first.
fn checksum(text: &str) -> String {
    let mut crc = usize::try_from(crc32fast::hash(text.as_bytes())).unwrap_or(usize::MAX);
    let mut digits = [0; CRC_LENGTH];
    for digit in digits.iter_mut().rev() {
        *digit = BASE62.get(crc % BASE62.len()).copied().unwrap_or(b'0');
        crc /= BASE62.len();
    }
    digits.iter().copied().map(char::from).collect()
}

/// Draws digits of an alphabet, each equally likely: bytes beyond the last whole multiple are drawn again.
fn draw(random: &dyn Random, alphabet: &[u8], length: usize) -> String {
    let fair = 256 / alphabet.len() * alphabet.len();
    let mut text = String::with_capacity(length);
    let mut pool = [0; 64];
    while text.len() < length {
        random.fill(&mut pool);
        let digits = pool.iter().map(|byte| usize::from(*byte)).filter(|byte| *byte < fair);
        let digits = digits.filter_map(|byte| alphabet.get(byte % alphabet.len()).copied());
        text.extend(digits.map(char::from).take(length - text.len()));
    }
    pool.zeroize();
    text
}

/// The engine a key is presented for, if it is well formed; compared as text so that an unknown one costs the same.
pub(super) fn engine_text(id: Option<&EngineId>) -> &str {
    id.map_or("", EngineId::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapters::system::SystemRandom;
    use zeroize::Zeroizing;

    fn pepper() -> Pepper {
        Pepper::new(Zeroizing::new([7; 32]))
    }

    #[test]
    fn a_key_has_the_documented_shape_and_comes_back_from_its_text() {
        let text = EngineKey::make(&SystemRandom).expose();
        assert_eq!(text.len(), EngineKey::LENGTH);
        assert!(text.starts_with("tvk1_"));
        let parsed: EngineKey = text.parse().unwrap();
        assert_eq!(parsed.expose(), text);
    }

    #[test]
    fn an_id_is_of_its_alphabet_and_nothing_else() {
        for byte in 0..=u8::MAX {
            assert_eq!(is_crockford(byte), CROCKFORD.contains(&byte), "{byte}");
            assert_eq!(byte.is_ascii_alphanumeric(), BASE62.contains(&byte), "{byte}");
        }
    }

    #[test]
    fn every_typo_is_noticed() {
        let text = EngineKey::make(&SystemRandom).expose();
        for at in 0..text.len() {
            let mut typo = text.clone().into_bytes();
            typo[at] = if typo[at] == b'x' { b'y' } else { b'x' };
            assert!(String::from_utf8(typo).unwrap().parse::<EngineKey>().is_err(), "at {at}");
        }
        for odd in ["", "tvk1_", "tvk1__", text.trim_start_matches('t'), &format!("{text}x"), &"é".repeat(40)] {
            assert!(odd.parse::<EngineKey>().is_err());
        }
    }

    #[test]
    fn a_verifier_fits_one_key_of_one_engine_under_one_pepper() {
        let (ours, other) = (EngineKey::make(&SystemRandom), EngineKey::make(&SystemRandom));
        let stored = ours.verifier(&pepper(), "action");
        let fits = |pepper: &Pepper, key: &EngineKey, engine| bool::from(pepper.matches(key, engine, &stored));
        assert!(fits(&pepper(), &ours, "action"));
        assert!(!fits(&pepper(), &ours, "sync"));
        assert!(!fits(&pepper(), &other, "action"));
        assert!(!fits(&Pepper::new(Zeroizing::new([8; 32])), &ours, "action"));
        assert!(!bool::from(pepper().matches(&ours, "action", &KeyVerifier::nobody())));
    }

    #[test]
    fn a_verifier_comes_back_from_its_text() {
        let made = EngineKey::make(&SystemRandom).verifier(&pepper(), "action");
        assert_eq!(KeyVerifier::parse(&made.key_id, &made.to_text()), Some(made.clone()));
        for odd in ["", "00", &"g".repeat(64), &"é".repeat(32), &"0".repeat(65)] {
            assert_eq!(KeyVerifier::parse(&made.key_id, odd), None);
        }
        assert_eq!(KeyVerifier::parse("short", &made.to_text()), None);
    }

    #[test]
    fn the_checksum_is_the_published_crc32() {
        // CRC-32 of "123456789" is 0xCBF43926 = 3,421,780,262, which is 3jZWlQ in base62 of 0-9 A-Z a-z.
        let digits = checksum("123456789");
        let value = digits.bytes().fold(0_u64, |n, b| n * 62 + BASE62.iter().position(|c| *c == b).unwrap() as u64);
        assert_eq!(value, 0xCBF4_3926);
    }
}
