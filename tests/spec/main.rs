//! The behaviour of the API, one module per method and one per promise that all methods share: through real gRPC, as a
//! caller whom the harness hands out, against a whole vault in this process.

#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::string_slice, reason = "tests")]

#[expect(dead_code, reason = "other suites need the rest of it")]
#[path = "../support/provider.rs"]
mod provider;
#[expect(dead_code, reason = "other suites need the rest of it")]
#[path = "../support/redis.rs"]
mod redis;
#[path = "../support/started.rs"]
mod started;

mod harness;

mod admin;
mod audit;
mod bad_input;
mod batch_get_status;
mod callers;
mod connections;
mod corruption;
mod deadlines;
mod delete_token;
mod get_status;
mod get_token;
mod list_tokens;
mod matrix;
mod store_token;
mod tenants;
mod watch_status;
mod wire;
