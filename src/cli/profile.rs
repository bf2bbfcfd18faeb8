//! `vault-engine profile`: platform profiles.

use std::path::PathBuf;
use std::process::ExitCode;

use super::{Failure, output};
use crate::adapters::profiles::{Profiles, check_file};
use crate::app::StartError;
use crate::domain::profile::{Rotates, UrlPolicy};

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Check profile files: file, line, field, what is wrong and how to mend it
    Check {
        /// The files; without any, the profiles that ship with this binary
        files: Vec<PathBuf>,
        /// Allow endpoints on this machine, also over http, as `dev` does
        #[arg(long)]
        allow_loopback: bool,
    },
    /// List the profiles that ship with this binary
    List,
}

pub(super) fn run(command: Command) -> Result<ExitCode, Failure> {
    match command {
        Command::Check { files, allow_loopback } => check(&files, allow_loopback),
        Command::List => list(),
    }
}

fn check(files: &[PathBuf], allow_loopback: bool) -> Result<ExitCode, Failure> {
    if files.is_empty() {
        let shipped = Profiles::builtin().map_err(StartError::Faults)?.iter().count();
        output::say(format!("{shipped} shipped profiles, no fault"));
        return Ok(ExitCode::SUCCESS);
    }
    let policy = if allow_loopback { UrlPolicy::AllowLoopback } else { UrlPolicy::Strict };
    let faults: Vec<_> = files.iter().flat_map(|file| check_file(file, policy)).collect();
    for fault in &faults {
        output::say(fault.to_string());
    }
    let verdict = match faults.len() {
        0 => "no fault".to_owned(),
        1 => "1 fault".to_owned(),
        many => format!("{many} faults"),
    };
    let read = if files.len() == 1 { "1 file".to_owned() } else { format!("{} files", files.len()) };
    output::note(format!("{read}, {verdict}"));
    Ok(if faults.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn list() -> Result<ExitCode, Failure> {
    let profiles = Profiles::builtin().map_err(StartError::Faults)?;
    let rows: Vec<Vec<String>> = profiles
        .iter()
        .map(|profile| {
            let rotates = match (profile.refresh.supported, profile.refresh.rotates) {
                (false, _) => "no refresh token",
                (true, Rotates::Yes) => "yes",
                (true, Rotates::No) => "no",
                (true, Rotates::Maybe) => "may",
            };
            vec![
                profile.id.to_string(),
                profile.display_name.clone(),
                rotates.to_owned(),
                profile.facts_as_of.clone(),
                profile.refresh_endpoint().to_string(),
            ]
        })
        .collect();
    output::table(&["PLATFORM", "NAME", "ROTATES", "FACTS OF", "TOKENS ARE REFRESHED AT"], &rows);
    Ok(ExitCode::SUCCESS)
}
