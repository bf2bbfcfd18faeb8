//! `vault-engine export`: everything in the store, as it lies there, into one file.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::progress::Progress;
use super::{ConfigArg, Failure, output, serve};
use crate::adapters::store::export::{ExportHead, ExportWriter};
use crate::adapters::system::SystemClock;
use crate::app::{OperatorTrail, SealedStore};
use crate::domain::audit::{AuditAction, AuditResult};
use crate::domain::ports::{Address, Clock as _};
use crate::service::bulk::ExportVault;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    config: ConfigArg,
    /// Sealed, as everything lies in the store; there is no other export
    #[arg(long)]
    sealed: bool,
    /// The file to make (mode 0600); it must not be there
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

/// A file that is not complete yet. It goes away unless it is kept.
struct Partial {
    path: PathBuf,
    kept: bool,
}

pub(super) async fn run(args: Args) -> Result<ExitCode, Failure> {
    if !args.sealed {
        let why = "there is no export of tokens in the clear: whatever left the vault so would be out of its hands";
        return Err(format!("{why}; write `--sealed` for a backup that only this installation's keys open").into());
    }
    let config = serve::load(args.config.config.as_deref(), std::iter::empty())?;
    if args.out.exists() {
        return Err(format!("`{}` is there already: name another file", args.out.display()).into());
    }
    let SealedStore { store, index } = SealedStore::open_existing(&config).await?;
    let trail = OperatorTrail::open(&config, "export")?;
    let cannot = |error: io::Error| format!("`{}` cannot be written: {error}", args.out.display());
    let (file, partial) = Partial::beside(&args.out).map_err(cannot)?;
    let epoch = store.get(&Address::Epoch).await?;
    let head = ExportHead { environment: config.environment.clone(), created: SystemClock.now(), epoch };
    let mut export = ExportWriter::begin(BufWriter::new(file), &head)?;
    let mut progress = Progress::of("export", None);
    let vault = ExportVault { store, index };
    let walk = vault.run(|item| {
        progress.at(export.records() + 1, 0);
        export.add(item)
    });
    walk.await?;
    drop(progress);
    let records = export.records();
    let file = export.finish()?.into_inner().map_err(|error| cannot(error.into_error()))?;
    file.sync_all().map_err(cannot)?;
    // No line, no export.
    trail.write(AuditAction::Export, (AuditResult::Ok, ""), None).await?;
    partial.keep_as(&args.out).map_err(cannot)?;
    output::note(format!("{records} records in {}", args.out.display()));
    Ok(ExitCode::SUCCESS)
}

// === impl Partial ===

impl Partial {
    /// Made anew beside where it is to be, for the owner alone.
    fn beside(path: &Path) -> io::Result<(File, Self)> {
        let mut name = path.file_name().ok_or(io::ErrorKind::InvalidFilename)?.to_owned();
        name.push(".partial");
        let path = path.with_file_name(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        Ok((file, Self { path, kept: false }))
    }

    fn keep_as(mut self, path: &Path) -> io::Result<()> {
        fs::rename(&self.path, path)?;
        self.kept = true;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(folder)?.sync_all()
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if !self.kept {
            let _ = fs::remove_file(&self.path);
        }
    }
}
