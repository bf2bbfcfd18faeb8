//! Whole vaults at once, as an operator does it: imports, exports, restores and moves by the real binary, stopped in the
//! middle and begun again.

#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]
#![expect(clippy::disallowed_methods, reason = "tests have no lifecycle to be drained")]

#[cfg(all(feature = "dynamodb", feature = "postgres", feature = "redis"))]
mod across;
mod copying;
mod epoch;
mod exporting;
mod importing;
mod memory;
mod restoring;
#[cfg(all(feature = "dynamodb", feature = "postgres", feature = "redis"))]
mod rewrapping;
mod site;

#[cfg(all(feature = "dynamodb", feature = "postgres", feature = "redis"))]
#[path = "../support/dynamodb.rs"]
#[expect(dead_code, reason = "shared with suites that need more of it")]
mod dynamodb_server;
#[path = "../support/eventually.rs"]
mod eventually;
#[cfg(all(feature = "dynamodb", feature = "postgres", feature = "redis"))]
#[path = "../support/postgres.rs"]
#[expect(dead_code, reason = "shared with suites that need more of it")]
mod postgres_server;
#[path = "../support/process.rs"]
#[expect(dead_code, reason = "shared with a suite that needs more of it")]
mod process;
#[cfg(all(feature = "dynamodb", feature = "postgres", feature = "redis"))]
#[path = "../support/redis.rs"]
#[expect(dead_code, reason = "shared with suites that need more of it")]
mod redis_server;
#[cfg(all(feature = "dynamodb", feature = "postgres", feature = "redis"))]
#[path = "../support/started.rs"]
mod started;
