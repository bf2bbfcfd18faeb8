//! `vault-engine migrate`: gives the store the schema this binary needs.

use std::process::ExitCode;

use super::{ConfigArg, Failure, output, serve};
use crate::app::{self, Migration};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    config: ConfigArg,
}

pub(super) async fn run(args: Args) -> Result<ExitCode, Failure> {
    let config = serve::load(args.config.config.as_deref(), std::iter::empty())?;
    output::say(match app::migrate(&config.store).await? {
        Migration::NotNeeded { kind } => format!("nothing to do: the {kind} store needs no migrations"),
        Migration::Table { name } => format!("the table `{name}` is ready"),
        Migration::Schema { from, to } if from == to => format!("nothing to do: the schema is version {to}"),
        Migration::Schema { from: 0, to } => format!("the schema is made: version {to}"),
        Migration::Schema { from, to } => format!("the schema was version {from} and is now version {to}"),
    });
    Ok(ExitCode::SUCCESS)
}
