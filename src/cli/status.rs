//! `vault-engine status`: a user's connections, through a running vault.

mod watch;

use std::process::ExitCode;

use super::client::{ClientArgs, explain};
use super::{Failure, output};
use crate::domain::time::Timestamp;
use crate::pb::vault_v1::{GetStatusRequest, LastRefresh, PlatformStatus};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    client: ClientArgs,
    /// The user; with --watch, without one: all users of the tenant
    #[arg(required_unless_present = "watch")]
    user_id: Option<String>,
    /// Only these platforms; all by default
    platforms: Vec<String>,
    /// Go on with every change, until interrupted
    #[arg(long)]
    watch: bool,
    /// Stop watching after so many seconds
    #[arg(long = "for", value_name = "SECONDS", requires = "watch", value_parser = clap::value_parser!(u64).range(1..=3_600))]
    seconds: Option<u64>,
    /// Print what the vault answers as JSON; with --watch, one message per line
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: Args) -> Result<ExitCode, Failure> {
    if args.watch {
        return watch::run(args).await;
    }
    let tenant = args.client.tenant.clone();
    let message = GetStatusRequest { user_id: args.user_id.unwrap_or_default(), platforms: args.platforms, tenant };
    let mut connection = args.client.connect().await?;
    let request = connection.request(message);
    let answer = connection.vault.get_status(request).await.map_err(|status| explain(&status))?.into_inner();
    if args.json {
        output::say(serde_json::to_string(&answer)?);
    } else {
        show(&answer.connected_platforms);
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints the snapshot as a table.
pub(super) fn show(platforms: &[PlatformStatus]) {
    let rows: Vec<Vec<String>> = platforms.iter().map(row).collect();
    output::table(&["PLATFORM", "STATUS", "REASON", "TOKEN EXPIRES", "LAST REFRESH", "DO"], &rows);
}

fn row(status: &PlatformStatus) -> Vec<String> {
    let nothing = matches!(status.status.as_str(), "missing" | "unreadable");
    vec![
        status.display_name.clone(),
        status.status.clone(),
        status.reason.clone(),
        if nothing { String::new() } else { expiry(status.expires_at) },
        refresh(status.last_refresh.as_ref()),
        status.suggested_action.clone(),
    ]
}

/// When a token expires, for people.
pub(super) fn expiry(expires_at: i64) -> String {
    if expires_at == 0 { "never".to_owned() } else { date(expires_at) }
}

/// How the last refresh ended, for people.
pub(super) fn refresh(last: Option<&LastRefresh>) -> String {
    last.map_or_else(String::new, |last| {
        let cause = if last.cause.is_empty() { String::new() } else { format!(" ({})", last.cause) };
        format!("{}{cause} {}", last.outcome, date(last.at))
    })
}

/// A time, for people.
pub(super) fn date(unix_seconds: i64) -> String {
    let bounded = Timestamp::from_unix_seconds(unix_seconds).unix_seconds();
    let format = time::macros::format_description!("[year]-[month]-[day] [hour]:[minute]:[second]Z");
    let date = time::OffsetDateTime::from_unix_timestamp(bounded).ok().and_then(|date| date.format(format).ok());
    date.unwrap_or_default()
}
