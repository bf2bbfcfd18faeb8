//! The command line: one file per command. Parsing arguments and talking to people lives here, and nothing else does.

mod admin;
mod audit;
mod check;
mod client;
mod demo;
mod dev;
mod erase;
mod export;
mod health;
mod import;
mod init;
mod key;
mod kms;
mod migrate;
mod outbox;
mod output;
mod profile;
mod progress;
mod restore;
mod serve;
mod status;
mod store;
mod token;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::hardening::Hardening;

/// Keeps users' OAuth tokens, refreshes them exactly once, and never loses a grant.
///
/// Try `vault-engine demo` first: it needs nothing and shows everything in a minute.
#[derive(Debug, Parser)]
#[command(name = "vault-engine", version, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve as configured
    Serve(serve::Args),
    /// Serve for development: embedded store, local keys, three engines made on the spot
    Dev(dev::Args),
    /// Show the whole main job in one minute: nothing to configure, nothing left behind
    Demo,
    /// Check configuration, profiles, store, keys and audit trail without serving
    Check(check::Args),
    /// Give the store the schema this binary needs; once before the first start, and after each update
    Migrate(migrate::Args),
    /// Make the first engine that may administer others, and print its key
    Init(init::Args),
    /// Tenants, engines and keys of a running vault
    #[command(subcommand)]
    Admin(admin::Command),
    /// Keys of engines in the configuration
    #[command(subcommand)]
    Key(key::Command),
    /// Keys of tenants: rotated, moved under, retired
    #[command(subcommand)]
    Kms(kms::Command),
    /// Make everything of one user unreadable for ever
    Erase(erase::Args),
    /// Answers of platforms that wait to be stored
    #[command(subcommand)]
    Outbox(outbox::Command),
    /// The audit trail: verify it, look events up, find out where a token passed
    #[command(subcommand)]
    Audit(audit::Command),
    /// Platform profiles
    #[command(subcommand)]
    Profile(profile::Command),
    /// Ask a running vault whether it serves: exit status 0 if it does
    Health(health::Args),
    /// Store, get, list and delete tokens through a running vault
    #[command(subcommand)]
    Token(token::Command),
    /// Bring in tokens that were kept elsewhere: one JSON object per line
    Import(import::Args),
    /// Back up everything in the store, sealed as it is
    Export(export::Args),
    /// Set the store back to what it was when it was exported
    Restore(restore::Args),
    /// The store of a vault
    #[command(subcommand)]
    Store(store::Command),
    /// Show a user's connections through a running vault
    Status(status::Args),
}

/// Where the configuration is. Each of its keys can be set by environment as well: `store.redis.url` is
/// `VAULT_ENGINE_STORE__REDIS__URL`.
#[derive(Debug, clap::Args)]
struct ConfigArg {
    /// The configuration file (YAML); every key can also be set as `VAULT_ENGINE_<SECTION>__<KEY>`
    #[arg(long, value_name = "FILE", env = "VAULT_ENGINE_CONFIG")]
    config: Option<PathBuf>,
}

/// Why a command failed: what a person reads after `error:`.
type Failure = Box<dyn std::error::Error + Send + Sync>;

/// The exit status of a command that came to its end and left something undone.
const INCOMPLETE: u8 = 3;

/// Runs the command line of this process.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let outcome = crate::runtime::build().map_err(Failure::from).and_then(|runtime| {
        let outcome = runtime.block_on(cli.run());
        // Whatever still hangs, a name being resolved for one, does not keep the process.
        runtime.shutdown_background();
        outcome
    });
    match outcome {
        Ok(code) => code,
        Err(failure) => {
            output::failure(&*failure);
            ExitCode::FAILURE
        }
    }
}

// === impl Cli ===

impl Cli {
    async fn run(self) -> Result<ExitCode, Failure> {
        match self.command {
            // These are for people who look into what they run; and a server is told by its configuration.
            Command::Demo | Command::Dev(_) | Command::Serve(_) => {}
            _ => Hardening::begin().and_then(Hardening::complete)?,
        }
        match self.command {
            Command::Serve(args) => serve::run(args).await,
            Command::Dev(args) => dev::run(args).await,
            Command::Demo => demo::run().await,
            Command::Check(args) => check::run(args).await,
            Command::Migrate(args) => migrate::run(args).await,
            Command::Init(args) => init::run(args).await,
            Command::Admin(command) => admin::run(command).await,
            Command::Key(command) => key::run(command).await,
            Command::Kms(command) => kms::run(command).await,
            Command::Erase(args) => erase::run(args).await,
            Command::Outbox(command) => outbox::run(command).await,
            Command::Audit(command) => audit::run(command).await,
            Command::Profile(command) => profile::run(command),
            Command::Health(args) => health::run(args).await,
            Command::Token(command) => token::run(command).await,
            Command::Import(args) => import::run(args).await,
            Command::Export(args) => export::run(args).await,
            Command::Restore(args) => restore::run(args).await,
            Command::Store(command) => store::run(command).await,
            Command::Status(args) => status::run(args).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn every_command_is_one_the_parser_can_tell_from_the_others() {
        super::Cli::command().debug_assert();
    }
}
