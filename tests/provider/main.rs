//! The token endpoint adapter against a platform that answers oddly, wrongly or with intent: real sockets on loopback.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

#[path = "../support/provider.rs"]
mod provider;

mod answers;
mod hostile;
mod introspection;
mod requests;
mod tls;
mod world;
