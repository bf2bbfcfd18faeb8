//! Everything that reads what somebody else wrote, fed with what nobody would write, for as long as
//! `VAULT_TEST_FUZZ_SECONDS` says. The same targets run under cargo-fuzz, see `fuzz/`.

#![expect(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]
#![expect(clippy::print_stdout, reason = "how many inputs it were is worth knowing")]

mod targets;

#[path = "../support/certificates.rs"]
#[expect(dead_code, reason = "shared with suites that need more of it")]
mod certificates;
#[path = "../support/mutation.rs"]
mod mutation;

use std::collections::BTreeSet;
use std::panic::catch_unwind;
use std::path::Path;
use std::{fs, process};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use vault_engine::access::EngineKey;
use vault_engine::adapters::store::export::{ExportHead, ExportWriter};
use vault_engine::adapters::system::SystemRandom;
use vault_engine::domain::time::Timestamp;
use vault_engine::envelope::seal::seal;

use certificates::{Authority, Wish};
use mutation::Mutation;

/// Feeds a target. How many inputs it understood.
fn feed(mut mutation: Mutation, target: fn(&[u8]) -> bool) -> BTreeSet<Vec<u8>> {
    let mut understood = BTreeSet::new();
    while let Some(input) = mutation.next() {
        let outcome = catch_unwind(|| target(&input));
        let Ok(good) = outcome else {
            panic!("it panicked at input {} of {}", STANDARD.encode(&input), mutation.about());
        };
        if good {
            understood.insert(input);
        }
    }
    println!("{}: {} of them understood", mutation.about(), understood.len());
    understood
}

fn texts(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

#[test]
fn no_record_opens_but_as_it_was_sealed() {
    let sealed = |plain: &[u8]| {
        seal(&SystemRandom, &targets::KEY, targets::GENERATION, targets::VERSION, &targets::place(), plain)
    };
    let seeds: Vec<Vec<u8>> = [&b""[..], b"ya29.token", &[0xaa; 2_048]].map(sealed).into();
    let opened = feed(Mutation::of(seeds.clone(), &["TV\u{1}\u{1}"]), targets::sealed);
    assert!(opened.iter().all(|input| seeds.contains(input)), "what was not sealed opens");
}

#[test]
fn what_is_inside_a_record_is_read_or_refused() {
    // Protobuf: a live connection, a deleted one, and fields of every kind.
    let seeds = vec![
        vec![0x0a, 4, b'a', b'b', b'c', b'd', 0x12, 2, b'r', b'1', 0x18, 0x80, 0xe2, 0xcf, 0xaa, 6],
        vec![0x08, 1, 0x10, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1],
        vec![0x1a, 3, 0x08, 1, 0x10, 0x22, 2, 0x08, 7, 0x2d, 0, 0, 0, 0, 0x31, 0, 0, 0, 0, 0, 0, 0, 0],
    ];
    feed(Mutation::of(seeds, &[]), targets::record);
}

#[test]
fn no_export_is_read_to_its_end_but_as_it_was_made() {
    let head = ExportHead {
        environment: "prod".parse().unwrap(),
        created: Timestamp::from_unix_seconds(1_700_000_000),
        epoch: None,
    };
    let made = ExportWriter::begin(Vec::new(), &head).unwrap().finish().unwrap();
    let read = feed(Mutation::of(vec![made.clone()], &[]), targets::export);
    assert!(read.iter().all(|input| *input == made), "what was not exported is read");
}

#[test]
fn keys_of_engines_are_what_they_are() {
    let key = EngineKey::make(&SystemRandom).expose();
    let verifier = "6d1f0a3c5e7b9d8f2a4c6e8b0d1f3a5c7e9b2d4f6a8c0e1b3d5f7a9c2e4b6d80";
    let parsed = feed(Mutation::of(texts(&[&key, verifier]), &["tvk1_", "_", "ä"]), targets::engine_key);
    assert!(parsed.iter().all(|input| *input == key.as_bytes()), "another key has the right checksum");
}

#[test]
fn names_of_workloads_are_read_in_one_way() {
    let seeds = texts(&["spiffe://prod.example/ns/sync/sa/engine", "spiffe://a/b"]);
    feed(Mutation::of(seeds, &["spiffe://", "..", "%2f", "//", "?", "#", "@", ":443"]), targets::spiffe_id);
}

#[test]
fn certificates_are_read_or_refused() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new(folder.path(), "fuzz");
    let der = |name: &str, names: &str| {
        let pem = authority.sign(name, &Wish::client(names)).certificate;
        let der = folder.path().join(format!("{name}.der"));
        let converted = process::Command::new("openssl")
            .args(["x509", "-outform", "der", "-in"])
            .arg(pem)
            .arg("-out")
            .arg(&der)
            .status();
        assert!(converted.unwrap().success());
        fs::read(der).unwrap()
    };
    let seeds = vec![
        der("one", "URI:spiffe://prod.example/ns/a"),
        der("two", "URI:spiffe://prod.example/ns/a,URI:spiffe://prod.example/ns/b,DNS:a.example"),
    ];
    assert!(targets::certificate(&seeds[0]) && !targets::certificate(&seeds[1]));
    feed(Mutation::of(seeds, &["spiffe://", "\u{6}\u{3}U\u{1d}\u{11}"]), targets::certificate);
}

#[test]
fn lines_of_an_import_are_read_or_refused() {
    let line = r#"{"user_id":"u1","platform":"gmail","access_token":"a","refresh_token":"r","expires_at":1900000000,"scopes":["s"]}"#;
    let words = ["\"tenant\":", "null", "-1", "1e999", "[[[[", "\\u0000", "9223372036854775808"];
    feed(Mutation::of(texts(&[line]), &words), targets::import_line);
}

#[test]
fn profiles_are_read_or_refused() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("platform_profiles");
    let shipped = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let shipped = shipped.filter(|path| path.extension().is_some_and(|ending| ending == "yaml"));
    let seeds: Vec<Vec<u8>> = shipped.map(|path| fs::read(path).unwrap()).collect();
    let words =
        ["&a", "*a", "!!str", "<<:", "---", "\t", "{", "[", "- ", ": ", "{tenant}", "http://", "\u{feff}", "|\n"];
    feed(Mutation::of(seeds, &words), targets::profile);
}

#[test]
fn configurations_are_read_or_refused() {
    let sample = fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/config.sample.yaml")).unwrap();
    let engine = "environment: dev\nengines:\n  - id: a\n    actions: [get]\n    keys: [{ id: k, verifier: 0123456789abcdef }]\n";
    let words =
        ["&a", "*a", "!!binary", "<<:", "---", "\t", "{ env: HOME }", "{ file: /dev/zero }", "99999999999", "~"];
    feed(Mutation::of(vec![sample, engine.into()], &words), targets::configuration);
}
