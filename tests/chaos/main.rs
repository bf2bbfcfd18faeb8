//! Everything that can go wrong, done to real instances over real stores before real judges; at the end a table.
//!
//! ```text
//! cargo test --test chaos                        the short form, some minutes; ./test runs it
//! just chaos                                     the long form, hours
//! cargo test --test chaos -- redis outage        what has these words in its name: `CASE over STORE`
//! cargo test --test chaos -- 'crowd over redis'  what has this name
//! cargo test --test chaos -- --list              the names
//! ```
//!
//! Progress goes to standard error. The exit status is 1 if any promise was broken.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "what is seen is printed")]
#![expect(clippy::disallowed_methods, reason = "tests have no lifecycle to be drained")]

mod cases;
mod judge;
mod report;
mod shape;
mod size;
mod world;

#[path = "../support/caller.rs"]
#[expect(dead_code, reason = "shared with suites that need more of it")]
mod caller;
#[cfg(feature = "dynamodb")]
#[path = "../support/dynamodb.rs"]
#[expect(dead_code, reason = "shared with suites that need more of it")]
mod dynamodb_server;
#[path = "../support/eventually.rs"]
mod eventually;
#[path = "../support/installation.rs"]
#[expect(dead_code, reason = "shared with suites that need more of it")]
mod installation;
#[path = "../support/oidc.rs"]
#[expect(dead_code, reason = "shared with suites that need more of it")]
mod oidc;
#[cfg(feature = "postgres")]
#[path = "../support/postgres.rs"]
#[expect(dead_code, reason = "shared with suites that need more of it")]
mod postgres_server;
#[path = "../support/process.rs"]
#[expect(dead_code, reason = "shared with suites that need more of it")]
mod process;
#[path = "../support/provider.rs"]
#[expect(dead_code, reason = "shared with suites that need more of it")]
mod provider;
#[cfg(feature = "redis")]
#[path = "../support/redis.rs"]
#[expect(dead_code, reason = "shared with suites that need more of it")]
mod redis_server;
#[cfg(feature = "redis")]
#[path = "../support/redis_shapes.rs"]
#[expect(dead_code, reason = "shared with suites that need more of it")]
mod redis_shapes;
#[path = "../support/relay.rs"]
#[expect(dead_code, reason = "shared with suites that need more of it")]
mod relay;
#[cfg(any(feature = "postgres", feature = "redis"))]
#[path = "../support/started.rs"]
mod started;
#[path = "../support/vault_log.rs"]
mod vault_log;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use cases::Planned;
use report::{Report, Row};
use size::Size;

/// What to run.
struct Order {
    size: Size,
    /// Words that must all stand in the name.
    words: Vec<String>,
    list: bool,
}

fn main() -> ExitCode {
    let order = match order(std::env::args().skip(1)) {
        Ok(order) => order,
        Err(usage) => {
            eprintln!("{usage}");
            return ExitCode::FAILURE;
        }
    };
    let mut planned: Vec<Planned> = cases::plan(order.size).filter(|planned| wanted(planned, &order.words)).collect();
    if let [word] = order.words.as_slice()
        && planned.iter().any(|planned| planned.name() == *word)
    {
        planned.retain(|planned| planned.name() == *word);
    }
    if order.list {
        for planned in &planned {
            say(planned.name());
        }
        return ExitCode::SUCCESS;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let rows = runtime.block_on(run(planned, order.size.lanes));
    if report::print(&rows) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn order(arguments: impl Iterator<Item = String>) -> Result<Order, String> {
    let mut order = Order { size: size::SHORT, words: Vec::new(), list: false };
    for argument in arguments {
        match argument.as_str() {
            "--long" => order.size = size::LONG,
            "--list" => order.list = true,
            // What cargo's own tests understand, and what makes no difference here.
            "--nocapture" | "--no-capture" | "--quiet" | "-q" => {}
            flag if flag.starts_with('-') => {
                return Err(format!("`{flag}`? usage: chaos [--long] [--list] [WORD IN THE NAME OF A CASE]..."));
            }
            word => order.words.push(word.to_owned()),
        }
    }
    Ok(order)
}

fn wanted(planned: &Planned, words: &[String]) -> bool {
    words.iter().all(|word| planned.name().contains(word))
}

/// Runs cases, a few at the same time, in the order of the plan.
async fn run(planned: Vec<Planned>, lanes: usize) -> Vec<Row> {
    let lanes = Arc::new(Semaphore::new(lanes));
    let began = Instant::now();
    let mut running = Vec::new();
    for planned in planned {
        let lane = Arc::clone(&lanes).acquire_owned().await.unwrap();
        running.push(tokio::spawn(async move {
            let (name, case, store) = (planned.name(), planned.case(), planned.store());
            tell(&name, "begins");
            let began = Instant::now();
            // On a thread of its own, so that a case that panics is a line of the table like any other.
            let case_thread = tokio::task::spawn_blocking(move || Handle::current().block_on(planned.run()));
            let report = case_thread.await.unwrap_or_else(|died| Report {
                broken: vec![format!("the case itself failed: {died}")],
                ..Report::default()
            });
            let took = began.elapsed();
            tell(&name, &format!("{} after {took:.1?}", if report.broken.is_empty() { "kept" } else { "BROKEN" }));
            drop(lane);
            Row { case, store, took, report }
        }));
    }
    let mut rows = Vec::new();
    for row in running {
        rows.push(row.await.unwrap());
    }
    tell("all", &format!("{} cases in {:.0?}", rows.len(), began.elapsed()));
    rows
}

fn say(line: impl AsRef<str>) {
    println!("{}", line.as_ref());
}

/// A line about the progress.
fn tell(who: &str, what: &str) {
    eprintln!("chaos: {who}: {what}");
}
