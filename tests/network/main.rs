//! Who connects, and how: TLS and the identities in it, and HTTP/2 as nobody should speak it.

#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]
#![expect(clippy::disallowed_methods, reason = "tests have no lifecycle to be drained")]

mod commands;
mod handshakes;
mod hardening;
mod house;
mod identities;
mod paths;
mod protocol;
mod reload;

#[path = "../support/caller.rs"]
#[expect(dead_code, reason = "shared with suites that need more of it")]
mod caller;
#[path = "../support/certificates.rs"]
mod certificates;
#[path = "../support/eventually.rs"]
mod eventually;
#[path = "../support/frames.rs"]
#[expect(dead_code, reason = "shared with suites that need more of it")]
mod frames;
#[path = "../support/installation.rs"]
#[expect(dead_code, reason = "shared with suites that need more of it")]
mod installation;
#[path = "../support/oidc.rs"]
#[expect(dead_code, reason = "shared with suites that need more of it")]
mod oidc;
#[path = "../support/process.rs"]
#[expect(dead_code, reason = "shared with suites that need more of it")]
mod process;
