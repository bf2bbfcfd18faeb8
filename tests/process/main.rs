//! The binary itself, as an operator runs it: real processes, real signals, real servers beside it.

#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]
#![expect(clippy::disallowed_methods, reason = "tests have no lifecycle to be drained")]

mod administration;
mod answers;
mod background;
mod clocks;
mod crashes;
mod demo;
mod development;
mod kill;
mod outage;
mod rolling;
mod serving;
mod stopping;
mod tools;
mod trail;

#[path = "../support/caller.rs"]
#[expect(dead_code, reason = "shared with suites that need more of it")]
mod caller;
#[path = "../support/eventually.rs"]
mod eventually;
#[path = "../support/grants.rs"]
mod grants;
#[path = "../support/installation.rs"]
mod installation;
#[path = "../support/oidc.rs"]
#[expect(dead_code, reason = "shared with suites that need more of it")]
mod oidc;
#[path = "../support/process.rs"]
#[expect(dead_code, reason = "shared with suites that need more of it")]
mod process;
#[path = "../support/redis.rs"]
#[expect(dead_code, reason = "shared with suites that need more of it")]
mod redis_server;
#[path = "../support/started.rs"]
mod started;
#[path = "../support/vault_log.rs"]
#[expect(dead_code, reason = "shared with suites that need more of it")]
mod vault_log;
