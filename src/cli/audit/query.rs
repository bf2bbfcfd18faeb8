//! `vault-engine audit query`.

use std::path::PathBuf;
use std::process::ExitCode;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{Failure, TrailArg};
use crate::adapters::audit::TrailReader;
use crate::cli::{output, status};
use crate::domain::id::{EngineId, PlatformId, RequestId, TenantId, UserId};
use crate::domain::time::Timestamp;
use crate::domain::trail::{TrailEvent, TrailFilter, TrailOrder};

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    #[command(flatten)]
    trail: TrailArg,
    /// Only this tenant
    #[arg(long, value_name = "ID")]
    tenant: Option<TenantId>,
    /// Only this user
    #[arg(long, value_name = "ID")]
    user: Option<UserId>,
    /// Only this engine
    #[arg(long, value_name = "ID")]
    engine: Option<EngineId>,
    /// Only this platform
    #[arg(long, value_name = "ID")]
    platform: Option<PlatformId>,
    /// Only this action, as it stands in the line: get, store, delete, refresh...
    #[arg(long, value_name = "WORD")]
    action: Option<String>,
    /// Only what ended so: ok, denied, failed, cancelled, unknown
    #[arg(long, value_name = "WORD")]
    result: Option<String>,
    /// Only this call
    #[arg(long, value_name = "ID")]
    request: Option<RequestId>,
    /// Only from then on: 2026-11-21 or 2026-11-21T20:00:00Z
    #[arg(long, value_name = "TIME", value_parser = time_of)]
    since: Option<Timestamp>,
    /// Only before then
    #[arg(long, value_name = "TIME", value_parser = time_of)]
    until: Option<Timestamp>,
    /// The newest first
    #[arg(long)]
    newest_first: bool,
    /// At most so many
    #[arg(long, value_name = "NUMBER", default_value_t = 1_000)]
    limit: usize,
    /// Print the lines as they stand in the trail, and no table
    #[arg(long)]
    lines: bool,
}

/// Events of one page.
const PAGE: usize = 1_000;

pub(super) fn run(args: &Args) -> Result<ExitCode, Failure> {
    let filter = TrailFilter {
        tenant: args.tenant.clone(),
        user: args.user.clone(),
        platform: args.platform.clone(),
        engine: args.engine.clone(),
        action: args.action.clone(),
        result: args.result.clone(),
        request: args.request.clone(),
        token: None,
        since: args.since,
        until: args.until,
    };
    let order = if args.newest_first { TrailOrder::NewestFirst } else { TrailOrder::OldestFirst };
    let mut events = Vec::new();
    let more = each(args.trail.path()?, &filter, order, args.limit, |event| {
        if args.lines {
            output::say(event.line);
        } else {
            events.push(row(event));
        }
    })?;
    if !args.lines {
        output::table(&HEAD, &events);
    }
    if more {
        output::note(format!("there may be more than {}: narrow it down, or raise `--limit`", args.limit));
    }
    Ok(ExitCode::SUCCESS)
}

/// Hands over every event that passes, up to a limit. Whether that stopped it.
pub(super) fn each(
    path: PathBuf,
    filter: &TrailFilter,
    order: TrailOrder,
    limit: usize,
    mut found: impl FnMut(TrailEvent),
) -> Result<bool, Failure> {
    let cannot = |error: std::io::Error| format!("the trail cannot be read: {error}");
    let (reader, mut left, mut from) = (TrailReader::new(path), limit, None);
    while left > 0 {
        let page = reader.read(filter, order, from, left.min(PAGE)).map_err(cannot)?;
        left = left.saturating_sub(page.events.len());
        page.events.into_iter().for_each(&mut found);
        from = page.next;
        if from.is_none() {
            return Ok(false);
        }
    }
    Ok(true)
}

pub(super) const HEAD: [&str; 10] =
    ["TIME", "LINE", "ENGINE", "ACTION", "RESULT", "REASON", "TENANT", "USER", "PLATFORM", "REQUEST"];

pub(super) fn row(event: TrailEvent) -> Vec<String> {
    let or_none = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
    vec![
        status::date(event.at.unix_seconds()),
        event.seq.to_string(),
        or_none(event.engine),
        event.action,
        event.result,
        if event.reason.is_empty() { "-".to_owned() } else { event.reason },
        or_none(event.tenant),
        or_none(event.user),
        or_none(event.platform),
        or_none(event.request_id),
    ]
}

fn time_of(text: &str) -> Result<Timestamp, String> {
    let whole = if text.len() == 10 { format!("{text}T00:00:00Z") } else { text.to_owned() };
    let at = OffsetDateTime::parse(&whole, &Rfc3339);
    let at = at.map_err(|_| "write it as 2026-11-21, or as 2026-11-21T20:00:00Z".to_owned())?;
    let millis = at.unix_timestamp_nanos() / 1_000_000;
    Ok(Timestamp::from_unix_millis(i64::try_from(millis).unwrap_or(i64::MAX)))
}
