//! `vault-engine audit`: the trail, investigated. Nothing here writes to it.

mod fingerprint;
mod query;
mod verify;

use std::path::PathBuf;
use std::process::ExitCode;

use super::{ConfigArg, Failure, output, serve};
use crate::app::Foundation;
use crate::config::{AuditSinkConfig, Config};
use crate::lifecycle::Lifecycle;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Find out whether a trail is what was written: the first line that is not is named
    Verify(verify::Args),
    /// Look events up by user, engine, platform, action, result and time
    Query(query::Args),
    /// Find out whether and when a token passed here: reads the token from standard input
    Fingerprint(fingerprint::Args),
    /// Print the public key trails are signed with; whoever has it can verify them without the vault
    ///
    /// Needs the store and the key service: with the embedded store, stop the vault first. The same key lies beside every
    /// trail, in `<path>.d/key`.
    Key(KeyArgs),
}

#[derive(Debug, clap::Args)]
pub(super) struct KeyArgs {
    #[command(flatten)]
    config: ConfigArg,
}

/// Which trail.
#[derive(Debug, clap::Args)]
struct TrailArg {
    #[command(flatten)]
    config: ConfigArg,
    /// The active file of the trail; what belongs to it lies in `<FILE>.d`. By default `audit.path` of the configuration
    #[arg(long, value_name = "FILE")]
    trail: Option<PathBuf>,
}

pub(super) async fn run(command: Command) -> Result<ExitCode, Failure> {
    match command {
        Command::Verify(args) => Ok(verify::run(&args)),
        Command::Query(args) => query::run(&args),
        Command::Fingerprint(args) => fingerprint::run(args).await,
        Command::Key(args) => {
            let config = serve::load(args.config.config.as_deref(), std::iter::empty())?;
            let foundation = Foundation::lay(&config, &Lifecycle::default()).await?;
            output::say(foundation.audit_keys(&config).await?.public().to_string());
            Ok(ExitCode::SUCCESS)
        }
    }
}

impl TrailArg {
    fn path(&self) -> Result<PathBuf, Failure> {
        let path = match &self.trail {
            Some(path) => path.clone(),
            None => path_in(&serve::load(self.config.config.as_deref(), std::iter::empty())?)?,
        };
        let mut folder = path.clone().into_os_string();
        folder.push(".d");
        if !path.exists() && !PathBuf::from(folder).exists() {
            return Err(format!("there is no audit trail at `{}`", path.display()).into());
        }
        Ok(path)
    }
}

fn path_in(config: &Config) -> Result<PathBuf, Failure> {
    match &config.audit.sink {
        AuditSinkConfig::File { path } => Ok(path.clone()),
        AuditSinkConfig::Stdout => {
            Err("the trail of this configuration goes to standard output: say with `--trail` where it is collected"
                .into())
        }
    }
}
