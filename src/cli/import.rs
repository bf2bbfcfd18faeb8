//! `vault-engine import`: tokens that were kept elsewhere before, one JSON object per line.

mod lines;
mod parse;
mod report;

use std::cell::RefCell;
use std::fs::File;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use futures_util::future::join_all;
use tokio::io::{AsyncRead, BufReader};
use tokio::sync::mpsc::{Receiver, Sender, channel};

use self::lines::{Line, Lines, MAX_BYTES};
pub(super) use self::parse::explain;
use self::report::Report;
use super::progress::Progress;
use super::{ConfigArg, Failure, INCOMPLETE, output, serve};
use crate::app::{self, OperatorTrail};
use crate::domain::catalog::Catalog;
use crate::domain::error::VaultError;
use crate::domain::id::TenantId;
use crate::lifecycle::Lifecycle;
use crate::service::StoreTokenCommand;
use crate::service::bulk::{ImportToken, Imported, OnConflict};

#[derive(Debug, clap::Args)]
#[command(after_help = EXPLANATION)]
pub(super) struct Args {
    #[command(flatten)]
    config: ConfigArg,
    /// The lines to import; standard input by default
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// The tenant of lines that name none
    #[arg(long, value_name = "ID", default_value = "default")]
    tenant: TenantId,
    /// Where lines that are not imported are listed, with number and reason (made anew, mode 0600)
    #[arg(long, value_name = "FILE")]
    rejects: Option<PathBuf>,
    /// Check every line, and change nothing; needs neither store nor keys
    #[arg(long)]
    dry_run: bool,
    /// What becomes of a connection that has other tokens already, or was deleted
    #[arg(long, value_name = "WHAT", value_enum, default_value_t = Conflict::Skip)]
    on_conflict: Conflict,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Conflict {
    /// It stays as it is
    Skip,
    /// It gets the imported tokens, unless the vault has renewed those it has
    Replace,
}

const EXPLANATION: &str = r#"Each line has the fields of StoreToken:
  {"user_id":"u1","platform":"gmail","access_token":"abcd","refresh_token":"r1","expires_at":1900000000,"scopes":["email"]}

Stopped in the middle, by whatever, it can be run again as it was: tokens that are there already are not stored twice,
and connections that the vault has renewed since are left alone, also with --on-conflict replace. Exit status: 0 when
every line is in the vault or was kept from it by --on-conflict, 3 when lines were rejected, 1 when it could not go on."#;

/// How many lines are on their way at once. Those of one connection go one after the other.
const WORKERS: usize = 256;

/// Why a line does not replace what the vault has renewed.
const RENEWED: &str = "the vault has renewed this connection since it was stored, so these tokens may be older than its \
                       own: if they are newer, store them with `token store`, or delete the connection first";

/// What becomes of a line.
enum Verdict {
    Fits,
    Imported(Imported),
    Rejected(String),
    Empty,
}

/// What became of all of them.
#[derive(Default)]
struct Totals {
    lines: u64,
    imported: u64,
    unchanged: u64,
    kept: u64,
    rejected: u64,
}

/// A line that was understood.
type Job = (u64, u64, StoreTokenCommand);

/// A line that is done: its number, its end, what became of it.
type Done = (u64, u64, Verdict);

pub(super) async fn run(args: Args) -> Result<ExitCode, Failure> {
    let config = serve::load(args.config.config.as_deref(), std::iter::empty())?;
    let (input, size) = open(args.file.as_deref()).await?;
    let report = Report::begin(args.rejects.as_deref());
    let report = report.map_err(|error| format!("the list of rejected lines cannot be made: {error}"))?;
    let progress = Progress::of(if args.dry_run { "check" } else { "import" }, size);
    let desk = Desk { report: RefCell::new((report, progress, Totals::default())), failure: RefCell::default() };
    let lines = Lines::of(BufReader::with_capacity(64 * 1_024, input));
    if args.dry_run {
        let catalog = app::catalog(config)?;
        desk.check(lines, &args.tenant, &catalog).await?;
    } else {
        let on_conflict = match args.on_conflict {
            Conflict::Skip => OnConflict::Skip,
            Conflict::Replace => OnConflict::Replace,
        };
        let trail = OperatorTrail::open(&config, "import")?;
        let importer = app::importer(config, &Lifecycle::default(), &trail, on_conflict).await?;
        desk.import(lines, &args.tenant, &importer, &trail).await?;
    }
    desk.conclude(args.dry_run)
}

async fn open(file: Option<&Path>) -> Result<(Box<dyn AsyncRead + Unpin>, Option<u64>), Failure> {
    let Some(path) = file else {
        let stdin = File::from(std::io::stdin().as_fd().try_clone_to_owned()?);
        return Ok((Box::new(tokio::fs::File::from_std(stdin)), None));
    };
    let failed = |error| format!("`{}` cannot be read: {error}", path.display());
    let file = tokio::fs::File::open(path).await.map_err(failed)?;
    let facts = file.metadata().await.map_err(failed)?;
    Ok((Box::new(file), facts.is_file().then_some(facts.len())))
}

/// Where what is done comes together.
struct Desk {
    report: RefCell<(Report, Progress, Totals)>,
    /// Why nothing more can be imported.
    failure: RefCell<Option<Failure>>,
}

// === impl Desk ===

impl Desk {
    async fn check(
        &self,
        mut lines: Lines<impl tokio::io::AsyncBufRead + Unpin>,
        tenant: &TenantId,
        catalog: &Catalog,
    ) -> Result<(), Failure> {
        while let Some(line) = lines.next().await? {
            let verdict = match understand(&line, tenant) {
                Ok(command) if catalog.get(&command.key.platform).is_some() => Verdict::Fits,
                Ok(_) => Verdict::Rejected("`platform` names no platform that is enabled here".to_owned()),
                Err(verdict) => verdict,
            };
            self.take((line.number, line.end, verdict))?;
        }
        Ok(())
    }

    async fn import(
        &self,
        lines: Lines<impl tokio::io::AsyncBufRead + Unpin>,
        tenant: &TenantId,
        importer: &ImportToken,
        trail: &OperatorTrail,
    ) -> Result<(), Failure> {
        let (done, mut results) = channel(WORKERS);
        // One line waits at each worker, and no more.
        let (desks, queues): (Vec<Sender<Job>>, Vec<Receiver<Job>>) = (0..WORKERS).map(|_| channel(1)).unzip();
        let workers = join_all(queues.into_iter().map(|queue| self.work(queue, importer, trail, done.clone())));
        // Whoever feeds owns the ends that are written to: when the lines end, so do the workers, and then all.
        let feed = self.feed(lines, tenant, desks, done);
        let collect = async {
            while let Some(line) = results.recv().await {
                if let Err(failure) = self.take(line) {
                    self.failure.borrow_mut().get_or_insert(failure);
                }
            }
        };
        let (outcome, _, ()) = tokio::join!(feed, workers, collect);
        outcome
    }

    async fn feed(
        &self,
        mut lines: Lines<impl tokio::io::AsyncBufRead + Unpin>,
        tenant: &TenantId,
        desks: Vec<Sender<Job>>,
        done: Sender<Done>,
    ) -> Result<(), Failure> {
        while self.failure.borrow().is_none()
            && let Some(line) = lines.next().await?
        {
            match understand(&line, tenant) {
                Ok(command) => {
                    let mut hasher = DefaultHasher::new();
                    command.key.hash(&mut hasher);
                    let desk = usize::try_from(hasher.finish() % WORKERS as u64).unwrap_or(0);
                    let Some(desk) = desks.get(desk) else { continue };
                    let _ = desk.send((line.number, line.end, command)).await;
                }
                Err(verdict) => {
                    let _ = done.send((line.number, line.end, verdict)).await;
                }
            }
        }
        Ok(())
    }

    async fn work(&self, mut queue: Receiver<Job>, importer: &ImportToken, trail: &OperatorTrail, done: Sender<Done>) {
        while let Some((number, end, command)) = queue.recv().await {
            if self.failure.borrow().is_some() {
                continue;
            }
            let verdict = match importer.run(&trail.request(number), &command).await {
                Ok(outcome) => Verdict::Imported(outcome),
                Err(VaultError::Invalid(fault)) => Verdict::Rejected(fault.to_string()),
                Err(error @ (VaultError::Corrupt(_) | VaultError::WriteContended)) => {
                    Verdict::Rejected(format!("{error} ({})", error.reason()))
                }
                Err(error) => {
                    let stopped = format!("stopped at line {number}, and can be run again as it was: {error}");
                    self.failure.borrow_mut().get_or_insert_with(|| stopped.into());
                    continue;
                }
            };
            let _ = done.send((number, end, verdict)).await;
        }
    }

    fn take(&self, (number, end, verdict): Done) -> Result<(), Failure> {
        let (report, progress, totals) = &mut *self.report.borrow_mut();
        totals.lines += 1;
        match verdict {
            Verdict::Fits | Verdict::Imported(Imported::Stored(_)) => totals.imported += 1,
            Verdict::Imported(Imported::Unchanged) => totals.unchanged += 1,
            Verdict::Imported(kept @ (Imported::Kept | Imported::Deleted)) => {
                totals.kept += 1;
                let deleted = matches!(kept, Imported::Deleted);
                let why =
                    if deleted { "the connection was deleted" } else { "the connection has other tokens already" };
                report.add(number, "kept", why)?;
            }
            Verdict::Imported(Imported::Renewed) => {
                totals.rejected += 1;
                report.add(number, "rejected", RENEWED)?;
            }
            Verdict::Rejected(reason) => {
                totals.rejected += 1;
                report.add(number, "rejected", &reason)?;
            }
            Verdict::Empty => totals.lines -= 1,
        }
        progress.at(totals.lines, end);
        Ok(())
    }

    fn conclude(self, dry_run: bool) -> Result<ExitCode, Failure> {
        let (report, progress, totals) = self.report.into_inner();
        drop(progress);
        report.finish()?;
        let Totals { lines, imported, unchanged, kept, rejected } = totals;
        let did = if dry_run { "would be tried" } else { "imported" };
        output::note(format!(
            "{lines} lines: {imported} {did}, {unchanged} unchanged, {kept} kept, {rejected} rejected"
        ));
        if let Some(failure) = self.failure.into_inner() {
            return Err(failure);
        }
        Ok(if rejected > 0 { ExitCode::from(INCOMPLETE) } else { ExitCode::SUCCESS })
    }
}

fn understand(line: &Line, tenant: &TenantId) -> Result<StoreTokenCommand, Verdict> {
    let Some(text) = &line.text else {
        return Err(Verdict::Rejected(format!("is longer than {MAX_BYTES} bytes")));
    };
    if text.trim_ascii().is_empty() {
        return Err(Verdict::Empty);
    }
    parse::parse(text, tenant).map_err(Verdict::Rejected)
}
