//! The key hierarchy at work: how often the key service is asked, and what its answers do to keys that are held.

#[path = "../support/faulty.rs"]
#[expect(dead_code, reason = "shared by several test binaries")]
mod faulty;
mod held_keys;
mod house;
mod records;
