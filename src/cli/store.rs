//! `vault-engine store`: the store of a vault.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::progress::Progress;
use super::{Failure, output, serve};
use crate::app::{OperatorTrail, SealedStore, StartError};
use crate::config::{Config, StoreConfig};
use crate::domain::audit::{AuditAction, AuditResult};
use crate::service::bulk::{Census, CopyStep, CopyVault};

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Move a vault to another store, sealed as it is
    ///
    /// Stop every instance first. Everything is copied, then both stores are compared. Stopped in the middle, it can be
    /// run again as it was: what is there already is not written twice. The first store is left as it is. It needs no
    /// key service; where the second configuration names another one, nothing will open.
    Copy {
        /// The configuration with the store to copy from
        #[arg(long, value_name = "FILE")]
        from: PathBuf,
        /// The configuration with the store to copy to
        #[arg(long, value_name = "FILE")]
        to: PathBuf,
    },
}

pub(super) async fn run(command: Command) -> Result<ExitCode, Failure> {
    let Command::Copy { from, to } = command;
    // The environment of the process would be laid over both, and make one of the two.
    let (from, to) = (load(&from)?, load(&to)?);
    if from.environment != to.environment {
        let (from, to) = (from.environment, to.environment);
        let why = format!("the vault is of environment `{from}`, and the other configuration of `{to}`");
        return Err(format!("{why}: its records are bound to it, and would not open there").into());
    }
    if let (StoreConfig::Embedded { path: one }, StoreConfig::Embedded { path: other }) = (&from.store, &to.store)
        && one.exists()
        && same_file(one, other)
    {
        return Err("both configurations name the same store".into());
    }
    let source = SealedStore::open_existing(&from).await.map_err(|error| at("from", &error))?;
    let target = SealedStore::open(&to).await.map_err(|error| at("to", &error))?;
    let trails = [OperatorTrail::open(&from, "copy")?, OperatorTrail::open(&to, "copy")?];
    for trail in &trails {
        trail.write(AuditAction::Copy, (AuditResult::Ok, "begun"), None).await?;
    }
    let kinds = (source.store.kind(), target.store.kind());
    let vault = CopyVault { from: (source.store, source.index), to: (target.store, target.index) };
    let mut progress = (Progress::of("copy", None), Progress::of("compare", None));
    let copied = vault.run(|step| match step {
        CopyStep::Copying { records, .. } => progress.0.at(records, 0),
        CopyStep::Comparing { records } => progress.1.at(records, 0),
    });
    let copied = copied.await;
    drop(progress);
    let result = if copied.is_ok() { (AuditResult::Ok, "") } else { (AuditResult::Failed, "incomplete") };
    for trail in &trails {
        trail.write(AuditAction::Copy, result, None).await?;
    }
    let report = copied?;
    let holds =
        |kind: &str, census: &Census| format!("{kind}: {} records, SHA-256 {}", census.records(), census.sha256());
    output::note(format!("{} records written", report.written));
    output::note(holds(kinds.0, &report.from));
    output::note(holds(kinds.1, &report.to));
    output::note("the stores are the same; start the instances with the second configuration");
    Ok(ExitCode::SUCCESS)
}

fn load(file: &Path) -> Result<Config, Failure> {
    Config::load_alone(file, serve::variables()).map_err(|faults| StartError::Faults(faults).into())
}

fn same_file(one: &Path, other: &Path) -> bool {
    one.canonicalize().ok().zip(other.canonicalize().ok()).is_some_and(|(one, other)| one == other)
}

fn at(which: &str, error: &dyn std::error::Error) -> Failure {
    let mut text = format!("--{which}: {error}");
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text.into()
}
