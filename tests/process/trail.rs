//! The audit trail of a process that is killed at any moment, and what its own commands say of it.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use vault_engine::adapters::system::SystemRandom;
use vault_engine::domain::ports::Random as _;

use crate::caller::Caller;
use crate::eventually::eventually;
use crate::installation::{ENGINE, Installation};
use crate::oidc::Oidc;
use crate::process::{CommandLine, Ended, vault_engine};

/// Calls on their way at once.
const AT_ONCE: usize = 8;
/// The most answers before a kill.
const MOST: u64 = 150;
/// Long after this test.
const LATER: i64 = 4_000_000_000;

fn audit<'a>(trail: &'a Path, command: &'a str, more: &[&'a str]) -> CommandLine {
    let file = trail.to_str().unwrap();
    vault_engine(["audit", command, "--trail", file].into_iter().chain(more.iter().copied()))
}

async fn verify(trail: &Path) -> Ended {
    audit(trail, "verify", &[]).run().await
}

fn below(bound: u64) -> u64 {
    let mut bytes = [0; 8];
    SystemRandom.fill(&mut bytes);
    u64::from_be_bytes(bytes) % bound
}

/// Stores and asks for tokens until the vault is gone. The users whose token it handed out.
fn load(caller: &Caller, round: u64, answers: &Arc<AtomicUsize>) -> Arc<Mutex<Vec<String>>> {
    let released = Arc::new(Mutex::new(Vec::new()));
    for worker in 0..AT_ONCE {
        let (caller, answers, released) = (caller.clone(), Arc::clone(answers), Arc::clone(&released));
        tokio::spawn(async move {
            for number in 0.. {
                let user = format!("user-{round}-{worker}-{number}");
                if caller.try_store(&user, "canary-access", "canary-refresh", LATER).await.is_err() {
                    return;
                }
                if caller.get(&user).await.is_err() {
                    return;
                }
                released.lock().unwrap().push(user);
                answers.fetch_add(1, Ordering::SeqCst);
            }
        });
    }
    released
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wherever_it_is_killed_its_trail_holds_together_and_tells_of_every_token_it_handed_out() {
    let kills: u64 = std::env::var("VAULT_TEST_KILLS").map_or(4, |kills| kills.parse().unwrap());
    let provider = Oidc::start().await;
    let installation = Installation::over_a_file(Some(&provider), "audit: { segment_mebibytes: 1 }\n").await;
    let trail = installation.data_dir("a").join("audit.jsonl");
    let mut released = BTreeSet::new();
    for round in 0..kills {
        let (mut vault, caller) = installation.serve("a").await;
        let (answers, wanted) = (Arc::new(AtomicUsize::new(0)), usize::try_from(1 + below(MOST)).unwrap());
        let users = load(&caller, round, &answers);
        eventually("so many answers", async || (answers.load(Ordering::SeqCst) >= wanted).then_some(())).await;
        vault.kill().await;
        released.extend(users.lock().unwrap().iter().cloned());
        let ended = verify(&trail).await;
        assert_eq!(ended.code, Some(2), "killed, not tampered with: {}{}", ended.stdout, ended.stderr);
    }
    let (mut vault, _) = installation.serve("a").await;
    let running = verify(&trail).await.succeeded();
    assert!(running.contains("ok the trail is what was written"), "{running}");
    vault.terminate().await;
    vault.ended().await;
    let told = verify(&trail).await.succeeded();
    assert!(told.contains(&format!("{} starts", kills + 1)), "{told}");

    let of = ["--action", "get", "--result", "ok", "--limit", "100000000", "--lines", "--engine", ENGINE];
    let lines = audit(&trail, "query", &of).run().await.succeeded();
    let told: BTreeSet<String> = lines.lines().map(user_of).collect();
    let missing: Vec<_> = released.difference(&told).collect();
    let unknown = audit(&trail, "query", &["--result", "unknown", "--lines"]).run().await.succeeded();
    println!(
        "{kills} kills, {} tokens handed out, {} of them in the trail, {} ends unknown",
        released.len(),
        told.len(),
        unknown.lines().count()
    );
    assert!(!released.is_empty() && missing.is_empty(), "handed out without a line: {missing:?}");
    assert!(!lines.contains("canary"), "a token is in the trail");
}

fn user_of(line: &str) -> String {
    let line: serde_json::Value = serde_json::from_str(line).unwrap();
    line["user"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_leaked_token_is_traced_and_never_taken_from_the_command_line() {
    let provider = Oidc::start().await;
    let installation = Installation::over_a_file(Some(&provider), "").await;
    let (mut vault, caller) = installation.serve("a").await;
    caller.store("ada", "canary-access-of-ada", "canary-refresh", LATER).await;
    caller.get("ada").await.unwrap();
    vault.terminate().await;
    vault.ended().await;

    let config = installation.write_config("a");
    let trace = || vault_engine(["audit", "fingerprint", "--config", &config]);
    let told = trace().input("canary-access-of-ada\n").run().await.succeeded();
    let found: Vec<&str> = told.lines().skip(1).collect();
    assert_eq!(found.len(), 3, "{told}");
    assert!(found[0].contains("begun") && found[1].contains("store") && found[2].contains("get"), "{told}");
    assert!(!told.contains("canary"), "{told}");
    let ended = trace().input("canary-access-of-eve").run().await;
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(3), "it did not pass here, as far as this trail goes back"));
    let ended = vault_engine(["audit", "fingerprint", "--config", &config, "canary-access-of-ada"]).run().await;
    assert!(ended.failed().contains("a token does not belong on the command line"));
}

#[tokio::test]
async fn a_verifier_needs_the_public_key_and_nothing_of_the_vault() {
    let provider = Oidc::start().await;
    let installation = Installation::over_a_file(Some(&provider), "").await;
    let (mut vault, caller) = installation.serve("a").await;
    for user in ["ada", "eve"] {
        caller.store(user, "canary-access", "canary-refresh", LATER).await;
        caller.get(user).await.unwrap();
    }
    vault.terminate().await;
    vault.ended().await;
    let (config, elsewhere) = (installation.write_config("a"), tempfile::tempdir().unwrap());
    let key = vault_engine(["audit", "key", "--config", &config]).run().await.succeeded();
    let (trail, copy) = (installation.data_dir("a").join("audit.jsonl"), elsewhere.path().join("copy.jsonl"));
    let anchor = elsewhere.path().join("anchor");
    fs::write(elsewhere.path().join("key"), key).unwrap();
    fs::copy(trail.with_file_name("audit.jsonl.d").join("latest"), &anchor).unwrap();
    let text = fs::read_to_string(&trail).unwrap();
    let check = |text: String| {
        fs::write(&copy, text).unwrap();
        let command = ["audit", "verify", "--key", "key", "--anchor", "anchor", "copy.jsonl"];
        vault_engine(command).current_dir(elsewhere.path()).run()
    };

    assert_eq!(check(text.clone()).await.code, Some(0));
    let ended = check(text.replace("\"user\":\"eve\",\"platform\"", "\"user\":\"ada\",\"platform\"")).await;
    assert_eq!(ended.code, Some(1));
    let first = text.lines().position(|line| line.contains("\"eve\"")).unwrap() + 1;
    assert!(ended.stdout.contains(&format!("TAMPERED line {first} is not what was written")), "{}", ended.stdout);
    let cut = text.split_inclusive('\n').take(first).collect::<String>();
    let ended = check(cut).await;
    assert_eq!(ended.code, Some(1));
    assert!(
        ended.stdout.contains(&format!("line {} and all that followed is taken away", first + 1)),
        "{}",
        ended.stdout
    );
}
