//! The token endpoint adapter against a platform that answers oddly, wrongly or with intent: real sockets on loopback.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

#[path = "../support/mutation.rs"]
mod mutation;
#[path = "../support/provider.rs"]
#[expect(dead_code, reason = "other suites need the rest of it")]
mod provider;

mod answers;
mod hostile;
mod introspection;
mod mutated;
mod requests;
mod tls;
mod world;
