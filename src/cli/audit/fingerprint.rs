//! `vault-engine audit fingerprint`.

use std::io::{self, IsTerminal as _, Read as _};
use std::path::PathBuf;
use std::process::ExitCode;

use zeroize::Zeroizing;

use super::query::{HEAD, each, row};
use super::{Failure, path_in};
use crate::app::Foundation;
use crate::cli::{ConfigArg, INCOMPLETE, output, serve};
use crate::domain::secret::AccessToken;
use crate::domain::trail::{TrailFilter, TrailOrder};
use crate::lifecycle::Lifecycle;

#[derive(Debug, clap::Args)]
#[command(after_help = EXPLANATION)]
pub(in crate::cli) struct Args {
    #[command(flatten)]
    config: ConfigArg,
    /// The active file of the trail; by default `audit.path` of the configuration
    #[arg(long, value_name = "FILE")]
    trail: Option<PathBuf>,
    /// A file with the token; standard input by default
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Taken to say that it is not taken: what is written here, everybody on the machine can read.
    #[arg(hide = true)]
    token: Option<String>,
}

const EXPLANATION: &str = "\
The fingerprint is made with a key of the installation, so store and key service must be reachable; the embedded store
must not be in use by a running vault. Exit status: 0 when the token passed here, 3 when it did not.";

/// Longer than any token.
const MAX_INPUT: u64 = 1_024 * 1_024;
/// Times a token passed that are told.
const MOST: usize = 10_000;

pub(super) async fn run(args: Args) -> Result<ExitCode, Failure> {
    if args.token.is_some() {
        return Err(
            "a token does not belong on the command line: `ps` shows it to everybody on this machine, and the shell \
                    keeps it. Give it on standard input, or with `--file`"
                .into(),
        );
    }
    let config = serve::load(args.config.config.as_deref(), std::iter::empty())?;
    let trail = match args.trail {
        Some(trail) => trail,
        None => path_in(&config)?,
    };
    let token = token(args.file)?;
    let foundation = Foundation::lay(&config, &Lifecycle::default()).await?;
    let fingerprint = foundation.audit_keys(&config).await?.fingerprint(&token);
    let filter = TrailFilter { token: Some(fingerprint), ..TrailFilter::default() };
    let mut rows = Vec::new();
    let more = each(trail, &filter, TrailOrder::OldestFirst, MOST, |event| rows.push(row(event)))?;
    output::note(format!("fingerprint {fingerprint}"));
    if rows.is_empty() {
        output::say("it did not pass here, as far as this trail goes back");
        return Ok(ExitCode::from(INCOMPLETE));
    }
    output::table(&HEAD, &rows);
    if more {
        output::note(format!("it passed more than {MOST} times"));
    }
    Ok(ExitCode::SUCCESS)
}

fn token(file: Option<PathBuf>) -> Result<AccessToken, Failure> {
    let mut text = Zeroizing::new(String::new());
    if let Some(file) = file {
        let cannot = |error: io::Error| format!("`{}` cannot be read: {error}", file.display());
        std::fs::File::open(&file).and_then(|file| file.take(MAX_INPUT).read_to_string(&mut text)).map_err(cannot)?;
    } else {
        if io::stdin().is_terminal() {
            output::note("paste the token, then press Ctrl-D:");
        }
        io::stdin().take(MAX_INPUT).read_to_string(&mut text)?;
    }
    AccessToken::new(text.trim().to_owned()).ok_or_else(|| "there is no token".into())
}
