//! `vault-engine admin`: who may call and what they may do, through a running vault.

mod check;
mod engine;
mod key;
mod tenant;

use std::process::ExitCode;

use super::Failure;
use super::client::ClientArgs;

#[derive(Debug, clap::Subcommand)]
#[command(after_help = EXPLANATION)]
pub(super) enum Command {
    /// Tenants: make, list, switch off and on
    #[command(subcommand)]
    Tenant(tenant::Command),
    /// Engines: make, list, change, switch off and on, delete
    #[command(subcommand)]
    Engine(engine::Command),
    /// Keys of engines: make, list, replace, revoke
    #[command(subcommand)]
    Key(key::Command),
    /// Ask whether an engine may do something, and which rule says so
    Check(check::Args),
}

const EXPLANATION: &str = "\
The first key is made by `vault-engine init`. Then, for an engine that may hand out tokens of one platform:

  export VAULT_ENGINE_ENGINE_ID=admin VAULT_ENGINE_KEY_FILE=admin.key
  vault-engine admin engine create default/action --allow get --platform gmail --rate 100
  vault-engine admin key create default/action > action.key
  vault-engine admin check default/action get --platform slack

An engine is named TENANT/ENGINE; `system/ENGINE` is one of the installation, which acts for several tenants. What is \
changed is in force at once on the instance that answers and within 5 seconds on every other.";

pub(super) async fn run(command: Command) -> Result<ExitCode, Failure> {
    match command {
        Command::Tenant(command) => tenant::run(command).await,
        Command::Engine(command) => engine::run(command).await,
        Command::Key(command) => key::run(command).await,
        Command::Check(args) => check::run(args).await,
    }
}

/// Who asks, and whether a program reads the answer.
#[derive(Debug, clap::Args)]
pub(super) struct Asking {
    #[command(flatten)]
    client: ClientArgs,
    /// Print what the vault answers as JSON, one object per line
    #[arg(long)]
    json: bool,
}

/// `acme/sync`, as the vault names it.
fn engine_name(name: &str) -> Result<String, Failure> {
    match name.split_once('/') {
        Some((tenant, engine)) => Ok(format!("tenants/{tenant}/engines/{engine}")),
        None => Err(format!("`{name}` names no engine: write TENANT/ENGINE, such as `default/{name}`").into()),
    }
}

/// What the vault names so, as people write it.
fn short(name: &str) -> String {
    name.strip_prefix("tenants/").unwrap_or(name).replace("/engines/", "/").replace("/keys/", "/")
}
