//! Floods of HTTP/2 against a real process: while they last its memory stays where it was and everybody else is served.
//!
//! `VAULT_TEST_FLOOD_SECONDS` says how long each of them lasts, `VAULT_TEST_FLOOD_CONNECTIONS` over how many connections,
//! `VAULT_TEST_IDLE_CONNECTIONS` how many do nothing: as many as the process may open files for, if that is less.

#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]
#![expect(clippy::disallowed_methods, reason = "tests have no lifecycle to be drained")]

mod attacks;

use std::fmt::Debug;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use vault_engine::transport::ServerLimits;

use crate::attacks::{Attack, Target};
use crate::caller::Caller;
use crate::frames::Raw;
use crate::installation::Installation;
use crate::process::Running;

#[path = "../support/caller.rs"]
#[expect(dead_code, reason = "shared with suites that need more of it")]
mod caller;
#[path = "../support/eventually.rs"]
mod eventually;
#[path = "../support/frames.rs"]
#[expect(dead_code, reason = "shared with suites that need more of it")]
mod frames;
#[path = "../support/installation.rs"]
#[expect(dead_code, reason = "shared with suites that need more of it")]
mod installation;
#[path = "../support/oidc.rs"]
#[expect(dead_code, reason = "shared with suites that need more of it")]
mod oidc;
#[path = "../support/process.rs"]
#[expect(dead_code, reason = "shared with suites that need more of it")]
mod process;

/// Each has the machine for itself.
static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());

/// How much memory may grow, in mebibytes.
const GROWTH: u64 = 100;
/// How long a call may take while the flood lasts.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often, and how often at a time, somebody calls who means well.
const EVERY: Duration = Duration::from_millis(10);
const AT_A_TIME: u64 = 5;
/// As many calls it takes to tell how many fail, and how long that may take.
const CALLS: u64 = 50;
const LONGEST: Duration = Duration::from_secs(90);

fn size(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} is no number")))
}

/// A vault under attack.
struct Stage {
    vault: Running,
    healthy: Caller,
    target: Target,
    before: u64,
    _installation: Installation,
}

/// How those fared who mean well, and how large the process became.
#[derive(Debug, Default)]
struct Fared {
    calls: u64,
    failed: u64,
    slowest: Duration,
    growth: u64,
}

// === impl Stage ===

impl Stage {
    async fn new() -> Self {
        let installation = Installation::over_a_file(None, "").await;
        let (vault, server) = installation.command("a").serving().await;
        let healthy = installation.caller(&server).on("gmail");
        healthy.try_store("ada", "access", "refresh", 4_000_000_000).await.unwrap();
        healthy.get("ada").await.unwrap();
        let address = server.trim_start_matches("http://").to_owned();
        let target = Target { address, key: installation.key().to_owned() };
        let before = vault.resident_mebibytes().unwrap();
        Self { vault, healthy, target, before, _installation: installation }
    }

    /// Calls for as long as a flood lasts, and often enough to tell how many calls fail.
    async fn watch(&mut self) -> Fared {
        let (mut fared, begun) = (Fared::default(), Instant::now());
        let lasts = Duration::from_secs(size("VAULT_TEST_FLOOD_SECONDS", 3));
        let mut rounds = interval(EVERY);
        rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while begun.elapsed() < lasts || (fared.calls < CALLS && begun.elapsed() < LONGEST) {
            rounds.tick().await;
            let asked = Instant::now();
            let calls = (0..AT_A_TIME).map(|_| self.healthy.get_within(PATIENCE, "ada"));
            let answers = join_all(calls).await;
            fared.calls += AT_A_TIME;
            fared.failed += answers.iter().map(|answer| u64::from(answer.is_err())).sum::<u64>();
            fared.slowest = fared.slowest.max(asked.elapsed());
            let now = self.vault.resident_mebibytes().expect("it runs");
            fared.growth = fared.growth.max(now.saturating_sub(self.before));
        }
        assert!(self.vault.is_running(), "{}", self.vault.stderr());
        assert!(!self.vault.stderr().contains("panicked"), "{}", self.vault.stderr());
        fared
    }
}

// === impl Fared ===

impl Fared {
    #[track_caller]
    fn assert_held(&self, what: &impl Debug) {
        assert!(self.calls >= CALLS, "{what:?}: {self:?}");
        assert!(self.failed * 100 <= self.calls, "{what:?}: more than one call in a hundred failed: {self:?}");
        assert!(self.growth < GROWTH, "{what:?}: it grew by {} MiB", self.growth);
    }
}

async fn endure(attack: Attack) -> Fared {
    let _machine = ONE_AT_A_TIME.lock().await;
    let mut stage = Stage::new().await;
    let over = CancellationToken::new();
    let attackers: Vec<_> = (0..size("VAULT_TEST_FLOOD_CONNECTIONS", 4))
        .map(|_| {
            let (target, over) = (stage.target.clone(), over.clone());
            tokio::spawn(async move { attack.go_on(&target, &over).await })
        })
        .collect();
    let fared = stage.watch().await;
    over.cancel();
    let mut said = 0;
    for attacker in attackers {
        said += attacker.await.unwrap();
    }
    assert!(said > 65_536, "{attack:?} was none: {said} bytes");
    fared
}

macro_rules! floods {
    ($($name:ident: $attack:ident,)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            let result = endure(Attack::$attack).await;
            println!("{:?}: {result:?}", Attack::$attack);
            result.assert_held(&Attack::$attack);
        }
    )*};
}

floods! {
    calls_that_are_reset_at_once_harm_nobody: RapidReset,
    headers_that_never_end_harm_nobody: Continuation,
    settings_without_end_harm_nobody: Settings,
    pings_without_end_harm_nobody: Ping,
    empty_data_without_end_harms_nobody: EmptyData,
    whoever_asks_for_much_and_reads_nothing_harms_nobody: SlowRead,
    windows_opened_by_one_byte_at_a_time_harm_nobody: WindowUpdate,
    priorities_and_unknown_frames_harm_nobody: Unknown,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_on_which_nothing_is_said_harm_nobody() {
    let _machine = ONE_AT_A_TIME.lock().await;
    let mut stage = Stage::new().await;
    // One is the healthy caller's, and some room is left for whoever comes.
    let room = ServerLimits::of_this_process().connections.saturating_sub(100);
    let wanted = usize::try_from(size("VAULT_TEST_IDLE_CONNECTIONS", 500)).unwrap();
    let mut idle: Vec<(Option<TcpStream>, Option<Raw>)> = Vec::new();
    for number in 0..wanted.min(room) {
        // Every other one greets, and then says nothing.
        idle.push(match number % 2 {
            0 => (Some(TcpStream::connect(&stage.target.address).await.unwrap()), None),
            _ => (None, Some(Raw::connect(&stage.target.address).await)),
        });
    }
    let result = stage.watch().await;
    println!("{} idle connections: {result:?}", idle.len());
    result.assert_held(&"idle connections");
}
