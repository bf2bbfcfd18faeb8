//! The `vault-engine` binary.

fn main() {}
