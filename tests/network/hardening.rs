//! What the process forbids itself.

use std::fs;

use vault_engine::hardening::Hardening;

use crate::installation::Installation;
use crate::process::Running;

/// The soft and the hard limit of one kind.
fn limits(vault: &Running, kind: &str) -> (String, String) {
    let text = fs::read_to_string(format!("/proc/{}/limits", vault.id())).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(kind)).unwrap();
    let mut words = line.split_whitespace().map(str::to_owned);
    (words.next().unwrap(), words.next().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_leaves_no_memory_behind() {
    let installation = Installation::over_a_file(None, "").await;
    let (vault, _) = installation.command("a").serving().await;

    assert_eq!(limits(&vault, "Max core file size"), ("0".to_owned(), "0".to_owned()));
    let said = vault.logged("no core dumps, and no other process may look into this one").unwrap();
    assert_eq!(said["level"], "INFO");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_has_to_debug_may_allow_it_and_is_warned() {
    let installation = Installation::over_a_file(None, "allow_core_dumps: true\n").await;
    let (vault, _) = installation.command("a").serving().await;

    let own = rustix::process::getrlimit(rustix::process::Resource::Core);
    let hard = own.maximum.map_or("unlimited".to_owned(), |bytes| bytes.to_string());
    assert_eq!(limits(&vault, "Max core file size").1, hard);
    assert!(vault.stderr().contains("core dumps are allowed"));
}

#[test]
fn what_is_forbidden_is_forbidden_at_once_and_can_be_taken_back() {
    use rustix::process::{DumpableBehavior, Resource, dumpable_behavior, getrlimit};

    let before = (getrlimit(Resource::Core), dumpable_behavior().unwrap());
    let hardening = Hardening::begin().unwrap();
    assert_eq!(getrlimit(Resource::Core).current, Some(0));
    assert_eq!(dumpable_behavior().unwrap(), DumpableBehavior::NotDumpable);

    hardening.undo().unwrap();
    assert_eq!((getrlimit(Resource::Core), dumpable_behavior().unwrap()), before);
}
