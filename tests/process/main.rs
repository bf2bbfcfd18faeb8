//! The binary itself, as an operator runs it: real processes, real signals, real servers beside it.

#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]
#![expect(clippy::print_stdout, reason = "the proof shows its figures to whoever asks with --nocapture")]
#![expect(clippy::disallowed_methods, reason = "tests have no lifecycle to be drained")]

mod answers;
mod background;
mod caller;
mod clocks;
mod crashes;
mod demo;
mod development;
mod installation;
mod kill;
mod outage;
mod process;
mod proof;
mod rolling;
mod serving;
mod stopping;
mod tools;

#[path = "../support/eventually.rs"]
mod eventually;
#[path = "../support/oidc.rs"]
#[expect(dead_code, reason = "shared with suites that need more of it")]
mod oidc;
#[path = "../support/redis.rs"]
#[expect(dead_code, reason = "shared with suites that need more of it")]
mod redis_server;
