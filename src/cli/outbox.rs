//! `vault-engine outbox`: answers that wait to be stored, looked at and replayed by hand. A vault does this by itself for
//! its own folder and for those it finds beside it; this is for folders of machines that do not come back.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::Subcommand;

use super::{ConfigArg, Failure, output, serve, status};
use crate::adapters::outbox::{Found, Kind, Listed, folders_in, list};
use crate::app::{self, Foundation, StartError};
use crate::config::{Config, OutboxConfig};
use crate::domain::ports::AuditSink;
use crate::envelope::KeyLimits;
use crate::lifecycle::Lifecycle;
use crate::refresher::Fate;
use crate::service::Records;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Show what waits to be stored, and what was put aside
    List(Args),
    /// Store what owners left that are gone. Needs the store: with the embedded one, stop the vault first
    Replay(Args),
}

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    config: ConfigArg,
    /// The folder of one instance, or the one with all of them; `outbox.dir` of the configuration by default
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// How many answers came to which end.
#[derive(Default)]
struct Tally {
    stored: usize,
    dropped: usize,
    quarantined: usize,
    waiting: usize,
}

pub(super) async fn run(command: Command) -> Result<ExitCode, Failure> {
    match command {
        Command::List(args) => show(&args),
        Command::Replay(args) => replay(&args).await,
    }
}

fn show(args: &Args) -> Result<ExitCode, Failure> {
    let config = serve::load(args.config.config.as_deref(), std::iter::empty())?;
    let mut rows = Vec::new();
    for folder in folders(args, &config)? {
        let Listed { path, lives, found } = list(&folder).map_err(|error| unreadable(&folder, &error))?;
        rows.extend(found.iter().map(|found| row(&path, lives, found)));
    }
    if rows.is_empty() {
        output::note("nothing waits");
    } else {
        output::table(&["ENTRY", "STATE", "RECORD", "SINCE", "BYTES", "OWNER", "FOLDER"], &rows);
    }
    Ok(ExitCode::SUCCESS)
}

fn row(folder: &Path, lives: bool, found: &Found) -> Vec<String> {
    let state = match (found.kind, &found.key) {
        (Kind::Waiting, Some(_)) => "waiting",
        (Kind::Waiting, None) => "unreadable",
        (Kind::Quarantined, _) => "quarantined",
    };
    let since = found.since.and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok());
    let since = since.and_then(|at| i64::try_from(at.as_secs()).ok());
    vec![
        found.name.clone(),
        state.to_owned(),
        found.key.as_ref().map_or_else(|| "?".to_owned(), ToString::to_string),
        since.map_or_else(String::new, status::date),
        found.bytes.to_string(),
        if lives { "running" } else { "gone" }.to_owned(),
        folder.display().to_string(),
    ]
}

async fn replay(args: &Args) -> Result<ExitCode, Failure> {
    let config = serve::load(args.config.config.as_deref(), std::iter::empty())?;
    let mut folders = folders(args, &config)?;
    if args.dir.is_none() {
        // Whoever lives sees to its own.
        folders.retain(|folder| list(folder).is_ok_and(|listed| !listed.lives));
    } else if let [folder] = folders.as_slice() {
        // Said before anything else is opened: a vault that runs may well hold the store, too.
        if list(folder).is_ok_and(|listed| listed.lives) {
            return Err(format!(
                "the folder `{}` belongs to a vault that is running: it replays its own answers",
                folder.display()
            )
            .into());
        }
    }
    folders.retain(|folder| list(folder).is_ok_and(|listed| listed.found.iter().any(|one| one.kind == Kind::Waiting)));
    if folders.is_empty() {
        output::note("nothing waits in a folder whose owner is gone");
        return Ok(ExitCode::SUCCESS);
    }
    let foundation = Foundation::lay(&config, &Lifecycle::default()).await?;
    let keys = foundation.audit_keys(&config).await?;
    let audit: Arc<dyn AuditSink> = Arc::new(app::open_audit(&config, Some(keys), Arc::clone(&foundation.clock))?);
    let (environment, outbox) = (config.environment.clone(), config.outbox.clone());
    let catalog = Arc::new(app::catalog(config)?);
    let records = Arc::new(foundation.records(&environment, &catalog, KeyLimits::default()));
    let mut tally = Tally::default();
    for folder in folders {
        replay_folder(&folder, &outbox, &records, &audit, &mut tally).await?;
    }
    let Tally { stored, dropped, quarantined, waiting } = tally;
    output::note(format!("{stored} stored, {dropped} dropped, {quarantined} put aside, {waiting} still waiting"));
    Ok(if waiting + quarantined > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

async fn replay_folder(
    folder: &Path,
    config: &OutboxConfig,
    records: &Arc<Records>,
    audit: &Arc<dyn AuditSink>,
    tally: &mut Tally,
) -> Result<(), StartError> {
    let aside = quarantined(folder);
    let outbox = app::take_over_outbox(config, folder)?;
    let answers = app::answers(records, Arc::clone(&outbox), Arc::clone(audit));
    for (name, key, fate) in answers.replay_all(|_| false).await {
        let (counter, became) = match fate {
            Fate::Stored(version) => (&mut tally.stored, format!("stored as version {}", version.0)),
            Fate::Superseded => (&mut tally.dropped, "dropped: a newer token is stored".to_owned()),
            Fate::Deleted => (&mut tally.dropped, "dropped: the connection was deleted".to_owned()),
            Fate::Quarantined => {
                output::say(format!("{name}  {key}  put aside: it cannot be opened or has no record"));
                continue;
            }
            Fate::Gone => continue,
            // Counted below, with those that were not tried any more.
            Fate::Waits(error) => {
                output::say(format!("{name}  {key}  waits: {error}"));
                continue;
            }
        };
        *counter += 1;
        output::say(format!("{name}  {key}  {became}"));
    }
    tally.waiting += outbox.waiting().len();
    // The last one to let go waits until everything is done on disk.
    drop((answers, outbox));
    tally.quarantined += quarantined(folder).saturating_sub(aside);
    Ok(())
}

fn quarantined(folder: &Path) -> usize {
    list(folder).map_or(0, |listed| listed.found.iter().filter(|found| found.kind == Kind::Quarantined).count())
}

fn folders(args: &Args, config: &Config) -> Result<Vec<PathBuf>, Failure> {
    let dir = args.dir.as_ref().unwrap_or(&config.outbox.dir);
    match folders_in(dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && args.dir.is_none() => Ok(Vec::new()),
        folders => folders.map_err(|error| unreadable(dir, &error)),
    }
}

fn unreadable(dir: &Path, error: &std::io::Error) -> Failure {
    format!("the folder `{}` cannot be read: {error}", dir.display()).into()
}
