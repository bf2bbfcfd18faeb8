//! The `vault-engine` binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    // One TLS provider for the whole process, chosen before anything could choose another. It fails only if one was
    // chosen already, and nothing runs before this.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    vault_engine::cli::main()
}
