//! `vault-engine restore`: what was exported, back into a store.

use std::fs::File;
use std::io::{BufReader, Seek as _};
use std::path::PathBuf;
use std::process::ExitCode;

use super::progress::Progress;
use super::{ConfigArg, Failure, INCOMPLETE, output, serve};
use crate::adapters::store::export::ExportReader;
use crate::app::{self, OperatorTrail};
use crate::config::Config;
use crate::domain::audit::{AuditAction, AuditResult};
use crate::domain::ports::{Address, Item};
use crate::lifecycle::Lifecycle;
use crate::service::bulk::{Placed, Placement, Restored};

#[derive(Debug, clap::Args)]
#[command(after_help = EXPLANATION)]
pub(super) struct Args {
    #[command(flatten)]
    config: ConfigArg,
    /// The export
    #[arg(long = "in", value_name = "FILE")]
    input: PathBuf,
}

const EXPLANATION: &str = "\
The whole file is checked before anything is written. What is newer in the store stays, and the first of it is listed; to go back \
behind it, restore into an empty store. In the end the epoch of the store is raised: instances that have seen later \
versions know then that those are gone on purpose. Stopped in the middle, it can be run again as it was. Exit status: 0 \
when everything is there, 3 when records of the store stand in the way of others in the export, 1 when it could not go on.";

/// What was found out about a file before anything was done with it.
struct Checked {
    keyrings: Vec<Item>,
    records: u64,
}

/// Records that an operator should know of.
#[derive(Default)]
struct Listed {
    /// What is newer: the first of it.
    newer: Vec<String>,
    newer_count: usize,
    /// What is not restored: all of it, because somebody has to look after each.
    foreign: Vec<String>,
}

/// The keys of a hundred thousand tenants.
const MAX_KEYRING_BYTES: usize = 64 * 1_024 * 1_024;

/// How many records are named that are newer in the store, which needs nobody's attention.
const SHOWN: usize = 20;

pub(super) async fn run(args: Args) -> Result<ExitCode, Failure> {
    let config = serve::load(args.config.config.as_deref(), std::iter::empty())?;
    let name = args.input.display();
    let mut file = File::open(&args.input).map_err(|error| format!("`{name}` cannot be read: {error}"))?;
    let size = file.metadata()?.len();
    let checked = check(&file, size, &config).map_err(|error| format!("`{name}` is not restored: {error}"))?;
    file.rewind()?;
    let mut export = ExportReader::open(BufReader::new(&file))?;
    let trail = OperatorTrail::open(&config, "restore")?;
    let vault = app::restorer(&config, &Lifecycle::default()).await?;
    trail.write(AuditAction::Restore, (AuditResult::Ok, "begun"), None).await?;
    let (mut progress, mut listed) = (Progress::of("restore", Some(size)), Listed::default());
    let (epoch, mut read) = (export.head().epoch.clone(), 0);
    let next = || {
        read += 1;
        progress.at(read, export.bytes());
        export.next_record()
    };
    let restored = vault.run(checked.keyrings, epoch.as_ref(), next, |placement| listed.add(placement)).await;
    drop(progress);
    let (result, version) = match &restored {
        Ok(restored) => ((AuditResult::Ok, ""), Some(restored.version)),
        Err(_) => ((AuditResult::Failed, "incomplete"), None),
    };
    trail.write(AuditAction::Restore, result, version).await?;
    let Restored { tally, epoch, .. } = restored?;
    listed.show();
    output::note(format!(
        "{} records in the export: {} restored, {} over an older one, {} there already, {} newer in the store, {} in \
         the way of others",
        checked.records, tally.written, tally.replaced, tally.same, tally.newer, tally.foreign
    ));
    output::note(format!("the epoch of the store is {}", epoch.0));
    Ok(if tally.foreign > 0 { ExitCode::from(INCOMPLETE) } else { ExitCode::SUCCESS })
}

/// Reads all of it once.
fn check(file: &File, size: u64, config: &Config) -> Result<Checked, Failure> {
    let mut export = ExportReader::open(BufReader::new(file))?;
    let (theirs, ours) = (&export.head().environment, &config.environment);
    if theirs != ours {
        let why = format!("it is of environment `{theirs}` and this is `{ours}`");
        return Err(format!("{why}: its records are bound to where they were made, and would not open here").into());
    }
    let mut checked = Checked { keyrings: Vec::new(), records: 0 };
    let mut progress = Progress::of("check", Some(size));
    let mut bytes = 0;
    while let Some(item) = export.next_record()? {
        checked.records += 1;
        progress.at(checked.records, export.bytes());
        if matches!(item.address, Address::TenantKeyring { .. }) {
            bytes += item.stored.value.len();
            if bytes > MAX_KEYRING_BYTES {
                return Err("it has more tenants than can be looked at before anything is written".into());
            }
            checked.keyrings.push(item);
        }
    }
    Ok(checked)
}

// === impl Listed ===

impl Listed {
    fn add(&mut self, placement: &Placement) {
        match placement.placed {
            Placed::Newer => {
                self.newer_count += 1;
                if self.newer.len() < SHOWN {
                    self.newer.extend(line(&placement.address, "is newer in the store, and stays"));
                }
            }
            Placed::Foreign => {
                let stays = "is not restored: what is in the store is of another history";
                self.foreign.extend(line(&placement.address, stays));
            }
            Placed::Written | Placed::Replaced | Placed::Same => {}
        }
    }

    fn show(&self) {
        self.newer.iter().for_each(output::note);
        if self.newer_count > self.newer.len() {
            output::note(format!("and {} more are newer in the store", self.newer_count - self.newer.len()));
        }
        self.foreign.iter().for_each(output::note);
    }
}

fn line(address: &Address, stays: &str) -> Option<String> {
    match address {
        Address::Connection(key) => Some(format!("{key} {stays}")),
        Address::UserKey { tenant, user, .. } => Some(format!("the key of {tenant}/{user} {stays}")),
        Address::TenantKeyring { tenant } => Some(format!("the keys of {tenant} {stays}")),
        Address::Document { tenant, name } => Some(format!("the {} of {tenant} {stays}", name.as_str())),
        Address::Lease { .. } | Address::Epoch => None,
    }
}
