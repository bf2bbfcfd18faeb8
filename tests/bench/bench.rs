//! Measures the vault against bare servers, side by side in one run: what matters is the ratios.
//!
//! ```text
//! just bench                       everything, some minutes
//! just bench --quick               a sanity run, less than a minute
//! just bench [--quick] FIGURE...   some of it: footprint, guard, reads, statuses, refreshes, audit
//! ```
//!
//! Each server is a process of its own on one core; the load runs on another, and so do the stores. What is compared with
//! what, and how to read it, is in `docs/performance.md`.

#![expect(clippy::print_stdout, reason = "what is measured is printed")]

mod contest;
mod crypto;
mod echo;
mod effort;
mod engine;
mod figures;
mod load;
mod platforms;
#[path = "../support/postgres.rs"]
#[expect(dead_code, reason = "what is measured needs a server, and none of its tricks")]
mod postgres_server;
#[path = "../support/provider.rs"]
#[expect(dead_code, reason = "what is measured needs an honest platform")]
mod provider;
#[path = "../support/redis.rs"]
#[expect(dead_code, reason = "what is measured needs a server, and none of its tricks")]
mod redis_server;
mod report;
mod server;
#[path = "../support/started.rs"]
mod started;
mod traffic;
mod vault;

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use echo::Behind;
use effort::Effort;
use load::{Load, Plan};
use vault_engine::domain::method::Method;

const USAGE: &str = "usage: bench [--quick] [FIGURE...] | store ADDRESS KEY | load ADDRESS KEY CALLS_IN_FLIGHT SECONDS";

fn main() -> Result<(), Box<dyn Error>> {
    // cargo adds `--bench`.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["serve-echo", "default", behind @ ..] => {
            echo::serve(&tokio::runtime::Runtime::new()?, &Behind::from_words(behind)?)
        }
        ["serve-echo", "own", behind @ ..] => {
            echo::serve(&vault_engine::runtime::build()?, &Behind::from_words(behind)?)
        }
        ["store", address, key] => engine::store_fresh(address.parse()?, key, traffic::one_each()),
        ["load", address, key, in_flight, seconds] => load_one(address, key, in_flight, seconds),
        ["--quick", names @ ..] => measure(&Effort::quick(), names),
        names => measure(&Effort::thorough(), names),
    }
}

/// Measures the figures of these names; of none: all of them.
fn measure(effort: &Effort, names: &[&str]) -> Result<(), Box<dyn Error>> {
    let unknown = |name: &&&str| figures::ALL.iter().all(|(known, _)| *known != **name);
    if let Some(name) = names.iter().find(unknown) {
        return Err(format!("there is no figure `{name}`; {USAGE}").into());
    }
    server::move_to_the_core_of_the_load()?;
    if cfg!(debug_assertions) {
        say("This is a debug build: nothing it says about speed is true.\n");
    }
    let mut targets = Vec::new();
    for (name, figure) in figures::ALL {
        if names.is_empty() || names.contains(&name) {
            targets.extend(figure(effort)?);
        }
    }
    report::print_targets(&targets);
    Ok(())
}

/// The load alone, on a vault that runs elsewhere and was given its tokens by `store`: to look at it with a profiler.
fn load_one(address: &str, key: &str, in_flight: &str, seconds: &str) -> Result<(), Box<dyn Error>> {
    server::move_to_the_core_of_the_load()?;
    let (requests, answer) = (traffic::requests(traffic::one_each()), traffic::answer_bytes());
    let load = Arc::new(Load::new(address.parse()?, Method::GetToken, key, requests, answer));
    let measured = Duration::from_secs(seconds.parse()?);
    let outcome = load.run(Plan { in_flight: in_flight.parse()?, warm_up: Duration::ZERO, measured })?;
    say(format!("{} calls", outcome.calls));
    Ok(())
}

fn say(line: impl AsRef<str>) {
    println!("{}", line.as_ref());
}
