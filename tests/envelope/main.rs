//! The key hierarchy at work: how often the key service is asked, and what its answers do to keys that are held.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that finds nothing where something must be has failed")]

#[path = "../support/eventually.rs"]
mod eventually;
#[path = "../support/faulty.rs"]
#[expect(dead_code, reason = "shared by several test binaries")]
mod faulty;
mod held_keys;
mod house;
mod records;
mod rotation;
