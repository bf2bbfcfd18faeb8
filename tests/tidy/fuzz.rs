//! What cargo-fuzz is given is what the tests feed: each target has its binary.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

#[test]
fn every_target_has_its_binary_and_its_test() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |path: &str| fs::read_to_string(root.join(path)).unwrap();
    let targets = read("tests/fuzz/targets.rs");
    let targets: BTreeSet<&str> = targets
        .lines()
        .filter_map(|line| line.strip_prefix("pub(crate) fn ")?.strip_suffix("(bytes: &[u8]) -> bool {"))
        .collect();
    let (manifest, tests) = (read("fuzz/Cargo.toml"), read("tests/fuzz/main.rs"));
    let binaries: BTreeSet<&str> = manifest
        .lines()
        .filter_map(|line| line.strip_prefix("path = \"fuzz_targets/")?.strip_suffix(".rs\""))
        .collect();
    assert!(targets.len() > 5, "{targets:?}");
    assert_eq!(targets, binaries);
    for target in targets {
        assert!(read(&format!("fuzz/fuzz_targets/{target}.rs")).contains(&format!("targets::{target}(bytes)")));
        assert!(tests.contains(&format!("targets::{target})")), "no test feeds `{target}`");
    }
}
