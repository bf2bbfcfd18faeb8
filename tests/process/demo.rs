//! `vault-engine demo`, as a newcomer runs it: anywhere, whatever the environment says.

use std::fs;

use crate::process::{Ended, vault_engine};

/// Runs the demo with a temporary folder of its own; what it left there is the second part.
async fn demo(environment: &[(&str, &str)]) -> (Ended, usize) {
    let folder = tempfile::tempdir().unwrap();
    let (temporary, here) = (folder.path().join("tmp"), folder.path().join("here"));
    fs::create_dir(&temporary).unwrap();
    fs::create_dir(&here).unwrap();
    let mut command = vault_engine(["demo"]).env("TMPDIR", temporary.display().to_string()).current_dir(&here);
    for (name, value) in environment {
        command = command.env(name, value);
    }
    let ended = command.run().await;
    let left = fs::read_dir(&temporary).unwrap().count() + fs::read_dir(&here).unwrap().count();
    (ended, left)
}

/// What the demo told, in headings.
fn headings(transcript: &str) -> Vec<&str> {
    transcript.lines().filter(|line| line.starts_with(|c: char| c.is_ascii_digit())).collect()
}

#[tokio::test]
async fn the_demo_tells_its_whole_story_and_leaves_nothing_behind() {
    let (ended, left) = demo(&[]).await;
    let transcript = ended.succeeded();

    assert_eq!(left, 0);
    let told = headings(&transcript);
    assert_eq!(told.len(), 8, "{transcript}");
    assert!(told.iter().zip(1..).all(|(heading, n)| heading.starts_with(&format!("{n}. "))), "{told:?}");
    for step in [
        "StoreToken",
        "GetToken",
        "a forged key            ->  Unauthenticated",
        "`action` asks a status  ->  PermissionDenied",
        "20 x GetToken  ->  demo-access-2  for every one of them: true",
        "the platform saw 1 refresh, and the grant is alive",
        "\"action\":\"refresh\",\"result\":\"ok\"",
        "tokens found in",
        "Done in",
    ] {
        assert!(transcript.contains(step), "`{step}` is missing in\n{transcript}");
    }
    assert!(!transcript.contains("demo-refresh"), "no refresh token is shown");
}

#[tokio::test]
async fn the_demo_is_the_same_in_a_hostile_environment() {
    let hostile = [
        ("VAULT_ENGINE_STORE__KIND", "redis"),
        ("VAULT_ENGINE_STORE__REDIS__URL", "redis://127.0.0.1:1"),
        ("VAULT_ENGINE_CONFIG", "/nowhere/config.yaml"),
        ("VAULT_ENGINE_NONSENSE", "1"),
        ("VAULT_ENGINE_SERVER", "http://127.0.0.1:1"),
        ("VAULT_ENGINE_ENVIRONMENT", "prod"),
        ("HTTP_PROXY", "http://127.0.0.1:1"),
        ("http_proxy", "http://127.0.0.1:1"),
    ];
    let (plain, _) = demo(&[]).await;
    let (ended, left) = demo(&hostile).await;

    assert_eq!(left, 0);
    assert_eq!(headings(&ended.succeeded()), headings(&plain.succeeded()));
}
