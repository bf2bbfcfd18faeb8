//! Values, rules and ports: what the vault *is*, with no I/O in it.
//!
//! Nothing here knows a database, a network, a wire format or a runtime. The ports say what the rest of the house must
//! provide; each sentence of their documentation is a promise with a test in `tests/contract`.

pub mod audit;
pub mod catalog;
pub mod cause;
pub mod connection;
pub mod error;
pub mod expiry;
pub mod freshness;
pub mod id;
pub mod limits;
pub mod method;
pub mod outline;
pub mod policy;
pub mod ports;
pub mod profile;
pub mod registry;
pub mod schedule;
pub mod secret;
pub mod spiffe;
pub mod time;
pub mod trail;
