//! However many lines there are, memory does not grow with them.

use std::fs;
use std::process::Stdio;

use tokio::io::AsyncWriteExt as _;

use crate::eventually::eventually;
use crate::site::{Site, line, versions};

/// How many lines; a million in the long form.
fn lines() -> usize {
    std::env::var("VAULT_TEST_LINES").ok().and_then(|lines| lines.parse().ok()).unwrap_or(20_000)
}

/// The most memory a process had at any time, in KiB.
fn high_water(process: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.parse().ok()
}

/// Imports so many lines, and returns the most memory it took.
async fn import(site: &Site, vault: &str, count: usize) -> u64 {
    let padding = if count > 100_000 { String::new() } else { "x".repeat(1_024) };
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_vault-engine"));
    command.args(["import", "--config"]).arg(site.config(vault)).env_clear().kill_on_drop(true);
    // Its lines are counted in one file.
    command.env("VAULT_ENGINE_AUDIT__SEGMENT_MEBIBYTES", "65536").env("VAULT_ENGINE_AUDIT__SEGMENT_MINUTES", "44640");
    let mut child = command.stdin(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    for number in 0..count {
        let mut line = line(number);
        line["access_token"] = format!("canary-{padding}{number}").into();
        input.write_all(format!("{line}\n").as_bytes()).await.unwrap();
    }
    // It goes on waiting for lines while somebody looks how large it is.
    let trail = site.path(vault).join("audit.jsonl");
    let audited = || fs::read_to_string(&trail).map_or(0, |trail| trail.lines().count());
    eventually("every line is imported", async || (audited() > count).then_some(())).await;
    let high_water = high_water(child.id().unwrap()).unwrap();
    drop(input);
    assert_eq!(child.wait().await.unwrap().code(), Some(0));
    high_water
}

#[tokio::test]
async fn ten_times_as_many_lines_take_no_more_memory() {
    let site = Site::new();
    site.add("b", "dev");
    let few = import(&site, "b", lines() / 10).await;
    let many = import(&site, "a", lines()).await;

    println!("{} lines: {few} KiB; {} lines: {many} KiB", lines() / 10, lines());
    assert_eq!(versions(&site.everything("a").await), vec![1; lines()]);
    // The lines alone are 25 MB. What grows is what the store keeps of its file, up to 16 MiB, and 24 bytes a record of
    // what versions were seen.
    assert!(many < few + 24 * 1_024, "{few} KiB, then {many} KiB");
}
