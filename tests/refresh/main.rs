//! The refresh protocol, promise by promise: real records, really sealed, in a real store that several instances share,
//! and a platform that answers as the test wants.

#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]
#![expect(clippy::unchecked_time_subtraction, reason = "the times of a test are constants")]
#![expect(clippy::disallowed_methods, reason = "tests have no lifecycle to be drained")]

#[path = "../support/eventually.rs"]
mod eventually;
#[path = "../support/failing_store.rs"]
mod failing_store;
#[path = "../support/faulty.rs"]
#[expect(dead_code, reason = "shared with suites that need more of it")]
mod faulty;
#[path = "../support/memory_store.rs"]
mod memory_store;
#[cfg(feature = "postgres")]
#[path = "../support/postgres.rs"]
#[expect(dead_code, reason = "shared with suites that need more of it")]
mod postgres_server;
#[path = "../support/provider.rs"]
#[expect(dead_code, reason = "shared with suites that need more of it")]
mod provider;
#[cfg(feature = "redis")]
#[path = "../support/redis.rs"]
#[expect(dead_code, reason = "shared with suites that need more of it")]
mod redis_server;
#[cfg(any(feature = "postgres", feature = "redis"))]
#[path = "../support/started.rs"]
mod started;

mod arrears;
mod background;
mod claims;
mod clocks;
mod doubt;
mod erased;
mod expiry;
mod house;
mod late;
mod model;
mod once;
mod outbox;
mod persist;
#[cfg(feature = "postgres")]
mod pool;
mod preflight;
mod replaced;
mod set_clock;
mod shares;
mod spread;
mod verdicts;
mod went_back;
