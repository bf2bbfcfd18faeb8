//! Signed notes: what a trail was at some point, so that somebody else can keep it. The text form of C2SP `signed-note`,
//! over a line of hashes and not a tree, so these are no tree heads:
//!
//! ```text
//! vault-engine/audit/<environment>/<instance>
//! <number of the last line it covers>
//! <base64 of the digest of that line and of all before it>
//! <when it was made> boot <n>
//!
//! — <key name> <base64(u32 key id || Ed25519 signature over everything above the empty line)>
//! ```
//!
//! A public key reads `<key name>+<key id in hex>+<base64(0x01 || key)>`, the key id being the first four bytes of
//! `SHA-256(key name || 0x0A || 0x01 || key)`.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};

use super::chain::Head;
use crate::domain::audit::Fingerprint;
use crate::domain::id::Environment;
use crate::domain::ports::DataKey;
use crate::domain::secret::AccessToken;

/// What the installation signs its trails with, and what it recognises tokens by.
pub struct TrailKeys {
    signer: Ed25519KeyPair,
    public: PublicKey,
    fingerprints: Hmac<Sha256>,
}

/// Whose signature makes a note one of an installation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey {
    name: String,
    key: [u8; 32],
}

/// The text is no public key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not the public key of an audit trail: it reads `vault-engine/audit/<environment>+<8 hex digits>+<base64>`")]
pub struct NotAPublicKey;

/// A note, signed by somebody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    pub(super) origin: String,
    /// The number of the last line it covers.
    pub(super) size: u64,
    pub(super) head: Head,
    /// When it was made.
    pub(super) timestamp: String,
    boot: u64,
    /// Key ids and signatures.
    signatures: Vec<(String, [u8; 4], Vec<u8>)>,
}

/// What a note begins with, and the name of a key.
const ORIGIN: &str = "vault-engine/audit/";
/// The type of an Ed25519 key in C2SP notes.
const ED25519_TYPE: u8 = 1;
/// No note is longer.
const MAX_BYTES: usize = 4_096;

// === impl TrailKeys ===

impl TrailKeys {
    /// Takes two keys over that are derived for nothing else.
    ///
    /// # Panics
    ///
    /// Never: every 32 bytes are a seed.
    #[must_use]
    #[expect(clippy::expect_used, reason = "every 32 bytes are a seed, and HMAC takes keys of any length")]
    pub fn new(environment: &Environment, signing: &DataKey, fingerprints: &DataKey) -> Self {
        let signer = Ed25519KeyPair::from_seed_unchecked(&**signing).expect("32 bytes are a seed");
        let mut key = [0; 32];
        key.copy_from_slice(signer.public_key().as_ref());
        let fingerprints = Hmac::<Sha256>::new_from_slice(&**fingerprints).expect("HMAC takes keys of any length");
        Self { signer, public: PublicKey { name: format!("{ORIGIN}{environment}"), key }, fingerprints }
    }

    /// What others recognise its signatures by.
    #[must_use]
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// What a token is recognised by.
    #[must_use]
    pub fn fingerprint(&self, token: &AccessToken) -> Fingerprint {
        let digest = self.fingerprints.clone().chain_update(token.expose()).finalize().into_bytes();
        let mut first = [0; 16];
        first.iter_mut().zip(digest).for_each(|(byte, digit)| *byte = digit);
        Fingerprint(first)
    }

    /// Signs that a trail was like this.
    pub(super) fn sign(&self, env: &str, instance: &str, (size, head): (u64, Head), made: &str, boot: u64) -> Note {
        let mut note = Note {
            origin: origin(env, instance),
            size,
            head,
            timestamp: made.to_owned(),
            boot,
            signatures: Vec::new(),
        };
        let signature = self.signer.sign(note.text().as_bytes()).as_ref().to_vec();
        note.signatures.push((self.public.name.clone(), self.public.id(), signature));
        note
    }
}

/// Whose trail it is.
pub(super) fn origin(env: &str, instance: &str) -> String {
    format!("{ORIGIN}{env}/{instance}")
}

// === impl PublicKey ===

impl PublicKey {
    fn id(&self) -> [u8; 4] {
        let hash = Sha256::new().chain_update(&self.name).chain_update([b'\n', ED25519_TYPE]).chain_update(self.key);
        let mut id = [0; 4];
        id.iter_mut().zip(hash.finalize()).for_each(|(byte, digit)| *byte = digit);
        id
    }

    /// Its id, in hex: what lines name it by.
    #[must_use]
    pub fn short(&self) -> String {
        format!("{:08x}", u32::from_be_bytes(self.id()))
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes: Vec<u8> = std::iter::once(ED25519_TYPE).chain(self.key).collect();
        write!(f, "{}+{}+{}", self.name, self.short(), STANDARD.encode(bytes))
    }
}

impl FromStr for PublicKey {
    type Err = NotAPublicKey;

    fn from_str(text: &str) -> Result<Self, NotAPublicKey> {
        let parse = || {
            let (name, rest) = text.trim().split_once('+')?;
            let (id, key) = rest.split_once('+')?;
            let bytes = STANDARD.decode(key).ok()?;
            let (kind, key) = bytes.split_first()?;
            let key = PublicKey { name: name.to_owned(), key: key.try_into().ok()? };
            let named = name.starts_with(ORIGIN) && !name.contains(char::is_whitespace);
            (named && *kind == ED25519_TYPE && key.short() == id).then_some(key)
        };
        parse().ok_or(NotAPublicKey)
    }
}

// === impl Note ===

impl Note {
    /// Whether one of these keys signed it.
    #[must_use]
    pub fn is_signed_by(&self, keys: &[PublicKey]) -> bool {
        let text = self.text();
        let verifies = |key: &PublicKey| {
            let signed = self.signatures.iter().filter(|(name, id, _)| *name == key.name && *id == key.id());
            let public = UnparsedPublicKey::new(&ED25519, key.key);
            signed.into_iter().any(|(_, _, signature)| public.verify(text.as_bytes(), signature).is_ok())
        };
        keys.iter().any(verifies)
    }

    /// The notes in a text, one after the other, with empty lines or none between them.
    ///
    /// # Errors
    ///
    /// When something in it is no note.
    pub fn parse_all(text: &str) -> Result<Vec<Self>, NotANote> {
        let (mut notes, mut rest) = (Vec::new(), text.trim_start_matches('\n'));
        while !rest.is_empty() {
            let (body, more) = rest.split_once("\n\n").ok_or(NotANote)?;
            let signatures = more.split_inclusive('\n').take_while(|line| line.starts_with('—'));
            let length = signatures.map(str::len).sum();
            let (signatures, more) = more.split_at_checked(length).ok_or(NotANote)?;
            notes.push(Self::of(body, signatures).ok_or(NotANote)?);
            rest = more.trim_start_matches('\n');
        }
        Ok(notes)
    }

    /// One note.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut notes = Self::parse_all(text).ok()?;
        let note = notes.pop()?;
        // One note has one spelling.
        (notes.is_empty() && note.to_string() == text).then_some(note)
    }

    fn of(body: &str, signatures: &str) -> Option<Self> {
        if body.len() + signatures.len() > MAX_BYTES {
            return None;
        }
        let mut lines = body.split('\n');
        let (origin, size, head, made) = (lines.next()?, lines.next()?, lines.next()?, lines.next()?);
        let (timestamp, boot) = made.split_once(" boot ")?;
        let signatures = signatures.lines().map(|line| {
            let (name, signature) = line.strip_prefix("— ")?.split_once(' ')?;
            let bytes = STANDARD.decode(signature).ok()?;
            let (id, signature) = bytes.split_first_chunk::<4>()?;
            Some((name.to_owned(), *id, signature.to_vec()))
        });
        let note = Self {
            origin: origin.to_owned(),
            size: size.parse().ok()?,
            head: Head(STANDARD.decode(head).ok()?.try_into().ok()?),
            timestamp: timestamp.to_owned(),
            boot: boot.parse().ok()?,
            signatures: signatures.collect::<Option<Vec<_>>>()?,
        };
        (lines.next().is_none() && origin.starts_with(ORIGIN) && !note.signatures.is_empty()).then_some(note)
    }

    /// What is signed.
    fn text(&self) -> String {
        let Self { origin, size, head, timestamp, boot, .. } = self;
        format!("{origin}\n{size}\n{}\n{timestamp} boot {boot}\n", STANDARD.encode(head.0))
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.text())?;
        for (name, id, signature) in &self.signatures {
            let bytes: Vec<u8> = id.iter().chain(signature).copied().collect();
            writeln!(f, "— {name} {}", STANDARD.encode(bytes))?;
        }
        Ok(())
    }
}

/// The text is no signed note.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a signed note of an audit trail")]
pub struct NotANote;

#[cfg(test)]
mod tests {
    use super::*;
    use zeroize::Zeroizing;

    fn keys(seed: u8) -> TrailKeys {
        let key = |byte| Zeroizing::new([byte; 32]);
        TrailKeys::new(&"prod".parse().unwrap(), &key(seed), &key(seed))
    }

    fn note(seed: u8) -> Note {
        keys(seed).sign("prod", "0a0b", (17, Head([3; 32])), "2026-11-21T00:00:00.000Z", 2)
    }

    #[test]
    fn a_note_is_read_as_it_was_written_and_believed_of_its_key_only() {
        let (text, public) = (note(1).to_string(), keys(1).public().to_string().parse::<PublicKey>().unwrap());
        let read = Note::parse(&text).unwrap();
        assert_eq!(read, note(1));
        assert!(read.is_signed_by(&[keys(2).public().clone(), public.clone()]));
        assert!(!read.is_signed_by(&[keys(2).public().clone()]));
        assert!(!Note { size: 18, ..read }.is_signed_by(&[public]));
    }

    #[test]
    fn notes_stand_one_after_the_other() {
        let text = format!("{}\n{}{}", note(1), note(2), note(3));
        assert_eq!(Note::parse_all(&text).unwrap(), [note(1), note(2), note(3)]);
        assert_eq!(Note::parse(&text), None);
        for text in ["x", "a\n\nb", &note(1).to_string().replace("17", "x"), &note(1).to_string().replace('—', "-")] {
            assert!(Note::parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn a_public_key_with_a_typo_is_none() {
        let text = keys(1).public().to_string();
        for wrong in ["", "a+b+c", &text.replace("prod", "dev"), &text.replace('+', " ")] {
            assert_eq!(wrong.parse::<PublicKey>(), Err(NotAPublicKey), "{wrong}");
        }
    }

    #[test]
    fn the_same_token_has_the_same_fingerprint_under_the_same_key_only() {
        let token = |text: &str| AccessToken::new(text.to_owned()).unwrap();
        assert_eq!(keys(1).fingerprint(&token("a")), keys(1).fingerprint(&token("a")));
        assert_ne!(keys(1).fingerprint(&token("a")), keys(2).fingerprint(&token("a")));
        assert_ne!(keys(1).fingerprint(&token("a")), keys(1).fingerprint(&token("b")));
    }
}
