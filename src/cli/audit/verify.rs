//! `vault-engine audit verify`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::{Failure, TrailArg};
use crate::adapters::audit::{Note, PublicKey, Report, Verdict, Verification, verify_files, verify_trail};
use crate::cli::output;
use crate::cli::progress::Progress;

#[derive(Debug, clap::Args)]
#[command(after_help = EXPLANATION)]
pub(in crate::cli) struct Args {
    #[command(flatten)]
    trail: TrailArg,
    /// A file with the public key, from `vault-engine audit key`; may be given several times. By default the key that
    /// lies beside the trail, which whoever can alter the trail can alter, too
    #[arg(long = "key", value_name = "FILE")]
    keys: Vec<PathBuf>,
    /// A file with signed notes that were kept elsewhere: copies of `<FILE>.d/latest`; may be given several times
    #[arg(long = "anchor", value_name = "FILE")]
    anchors: Vec<PathBuf>,
    /// The first line there has to be, where older segments were put away
    #[arg(long, value_name = "LINE")]
    from: Option<u64>,
    /// Files to verify as one trail, in this order, instead of where a vault keeps it: copies, collected output
    #[arg(value_name = "FILES")]
    files: Vec<PathBuf>,
}

const EXPLANATION: &str = "\
Exit status: 0 when the trail is what was written; 1 when it is not, and the first bad line is named; 2 when nothing is
wrong with what there is, but it may not be all, or it cannot be read. Keep copies of `<FILE>.d/latest` where nobody who
can write to the trail can: with `--anchor` they find an end that was cut off together with everything that told of it.";

const TAMPERED: u8 = 1;
const INCOMPLETE: u8 = 2;

pub(super) fn run(args: &Args) -> ExitCode {
    let reports = match verify(args) {
        Ok(reports) => reports,
        Err(failure) => {
            output::failure(&*failure);
            return ExitCode::from(INCOMPLETE);
        }
    };
    for report in &reports {
        show(report);
    }
    let worst = reports.iter().map(|report| match report.verdict {
        Verdict::Whole => 0,
        Verdict::Tampered(_) => 2,
        Verdict::Incomplete(_) => 1,
    });
    match worst.max() {
        Some(0) => ExitCode::SUCCESS,
        Some(2) => ExitCode::from(TAMPERED),
        _ => ExitCode::from(INCOMPLETE),
    }
}

fn verify(args: &Args) -> Result<Vec<Report>, Failure> {
    let mut knowing = Verification { from: args.from, ..Verification::default() };
    for file in &args.keys {
        let text = read(file)?;
        let keys = text.lines().filter(|line| !line.trim().is_empty()).map(str::parse::<PublicKey>);
        let keys: Result<Vec<_>, _> = keys.collect();
        knowing.keys.extend(keys.map_err(|error| format!("`{}`: {error}", file.display()))?);
    }
    for file in &args.anchors {
        let notes = Note::parse_all(&read(file)?).map_err(|error| format!("`{}`: {error}", file.display()))?;
        knowing.anchors.extend(notes);
    }
    let mut progress = Progress::of("verify", None);
    let mut at = |lines, bytes| progress.at(lines, bytes);
    if args.files.is_empty() {
        let path = args.trail.path()?;
        let cannot = |error| format!("the trail at `{}` cannot be read: {error}", path.display());
        return Ok(verify_trail(&path, &knowing, &mut at).map_err(cannot)?);
    }
    let report = verify_files(&args.files, &knowing, &mut at).map_err(|error| format!("cannot be read: {error}"))?;
    Ok(vec![report])
}

fn read(file: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(file).map_err(|error| format!("`{}` cannot be read: {error}", file.display()).into())
}

fn show(report: &Report) {
    let Report { path, instance, lines, range: (first, last), boots, notes, signed_to, .. } = report;
    output::say(format!(
        "{}: instance {instance}, lines {first} to {last} ({lines} read), {boots} starts, {notes} signed notes, signed up \
         to line {signed_to}",
        path.display()
    ));
    for remark in &report.remarks {
        output::say(format!("   {remark}"));
    }
    if report.own_key {
        output::note(
            "   checked with the key that lies beside the trail: whoever can alter the one can alter the other (`--key`)",
        );
    }
    match &report.verdict {
        Verdict::Whole => output::say(format!("{} the trail is what was written", output::green("ok"))),
        Verdict::Tampered(fault) => output::say(format!("{} {fault}", output::bold("TAMPERED"))),
        Verdict::Incomplete(why) => output::say(format!("{} {why}", output::bold("INCOMPLETE"))),
    }
}
