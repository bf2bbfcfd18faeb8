//! `vault-engine status`: a user's connections, through a running vault.

use std::process::ExitCode;

use super::client::{ClientArgs, explain};
use super::{Failure, output};
use crate::domain::time::Timestamp;
use crate::pb::vault_v1::{GetStatusRequest, LastRefresh, PlatformStatus};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    client: ClientArgs,
    /// The user
    user_id: String,
    /// Only these platforms; all by default
    platforms: Vec<String>,
    /// Print what the vault answers as JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: Args) -> Result<ExitCode, Failure> {
    let message =
        GetStatusRequest { user_id: args.user_id, platforms: args.platforms, tenant: args.client.tenant.clone() };
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
