//! The vectors of `sealed_v1.json`, made by `make_sealed_v1.py`, which shares no code with the vault.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use vault_engine::envelope::context::{Context, Kind};
use vault_engine::envelope::format::Header;
use vault_engine::envelope::seal::{open, seal};

use crate::Salt;

#[derive(Deserialize)]
struct Vector {
    name: String,
    parent: String,
    parent_generation: u32,
    version: String,
    salt: String,
    kind: u8,
    environment: String,
    tenant: String,
    user: String,
    platform: String,
    #[serde(flatten)]
    content: Content,
}

/// A short record stands as it is; a long one is the pattern `byte[i] = (31 * i + 7) mod 256`, given by its digest.
#[derive(Deserialize)]
#[serde(untagged)]
enum Content {
    Written { plaintext: String, sealed: String },
    Pattern { pattern_length: usize, sealed_sha256: String },
}

#[test]
fn every_vector_is_sealed_to_the_same_bytes() {
    for vector in vectors() {
        let sealed = vector.sealed_here();
        match &vector.content {
            Content::Written { sealed: written, .. } => assert_eq!(to_hex(&sealed), *written, "`{}`", vector.name),
            Content::Pattern { sealed_sha256, .. } => {
                assert_eq!(to_hex(&Sha256::digest(&sealed)), *sealed_sha256, "`{}`", vector.name);
            }
        }
    }
}

#[test]
fn every_vector_opens() {
    for vector in vectors() {
        let sealed = match &vector.content {
            Content::Written { sealed, .. } => from_hex(sealed),
            Content::Pattern { .. } => vector.sealed_here(),
        };

        let opened = open(&vector.parent(), vector.parent_generation, &vector.context(), &sealed)
            .unwrap_or_else(|error| panic!("`{}` no longer opens: {error}", vector.name));

        assert_eq!(*opened.plaintext, vector.plaintext(), "`{}`", vector.name);
        assert_eq!(opened.version, vector.version(), "`{}`", vector.name);
    }
}

#[test]
fn the_head_of_every_vector_tells_its_generation_and_version() {
    for vector in vectors() {
        let head = Header::parse(&vector.sealed_here()).unwrap();
        let expected = Header { parent_generation: vector.parent_generation, version: vector.version() };
        assert_eq!(head, expected, "`{}`", vector.name);
    }
}

#[test]
fn the_vectors_cover_every_kind_and_both_ends_of_every_length() {
    let vectors = vectors();
    let names: BTreeSet<&str> = vectors.iter().map(|vector| vector.name.as_str()).collect();
    let kinds: BTreeSet<u8> = vectors.iter().map(|vector| vector.kind).collect();
    let lengths: BTreeSet<usize> = vectors.iter().map(|vector| vector.plaintext().len()).collect();

    assert_eq!((vectors.len(), names.len()), (22, 22), "a vector may be added, and none may go");
    assert_eq!(kinds, BTreeSet::from([1, 2, 3, 4, 5]));
    assert!(lengths.contains(&0) && lengths.contains(&65_536));
    assert!(vectors.iter().any(|vector| vector.version() == u64::MAX && vector.parent_generation == u32::MAX));
}

fn vectors() -> Vec<Vector> {
    serde_json::from_str(include_str!("sealed_v1.json")).expect("the vectors can be read")
}

// === impl Vector ===

impl Vector {
    fn sealed_here(&self) -> Vec<u8> {
        let salt = Salt(from_hex(&self.salt).try_into().expect("a salt has 32 bytes"));
        let (parent, context) = (self.parent(), self.context());
        seal(&salt, &parent, self.parent_generation, self.version(), &context, &self.plaintext())
    }

    fn context(&self) -> Context {
        let kind = match self.kind {
            1 => Kind::UserKey,
            2 => Kind::Token,
            3 => Kind::LocalDataKey,
            4 => Kind::EngineRegistry,
            5 => Kind::OutboxEntry,
            other => panic!("kind {other} is not one of the format"),
        };
        let environment = self.environment.parse().expect("an environment");
        Context::new(kind, &environment, &self.tenant.parse().expect("a tenant"), &self.user, &self.platform)
    }

    fn parent(&self) -> [u8; 32] {
        from_hex(&self.parent).try_into().expect("a key has 32 bytes")
    }

    fn version(&self) -> u64 {
        self.version.parse().expect("a version is a number")
    }

    fn plaintext(&self) -> Vec<u8> {
        match &self.content {
            Content::Written { plaintext, .. } => from_hex(plaintext),
            Content::Pattern { pattern_length, .. } => {
                (0..*pattern_length).map(|i| u8::try_from((31 * i + 7) % 256).expect("below 256")).collect()
            }
        }
    }
}

fn from_hex(text: &str) -> Vec<u8> {
    assert!(text.len().is_multiple_of(2), "hex comes in pairs");
    let digit = |c: u8| char::from(c).to_digit(16).expect("a hex digit");
    let byte = |pair: &[u8]| u8::try_from(digit(pair[0]) * 16 + digit(pair[1])).expect("two hex digits make a byte");
    text.as_bytes().chunks_exact(2).map(byte).collect()
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string can be written to");
        text
    })
}
