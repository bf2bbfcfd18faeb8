//! `vault-engine token`: store, get and delete tokens through a running vault.

use std::io::Read as _;
use std::process::ExitCode;

use super::client::{Client, ClientArgs, explain};
use super::status::{date, expiry, refresh};
use super::{Failure, import, output};
use crate::pb::vault_v1::{DeleteTokenRequest, GetTokenRequest, ListTokensRequest, StoreTokenRequest, TokenInfo};

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Store a token: reads one JSON object from standard input
    #[command(after_help = STORE_EXAMPLE)]
    Store {
        #[command(flatten)]
        client: ClientArgs,
    },
    /// Print a valid access token, refreshed if it has to be
    Get {
        #[command(flatten)]
        client: ClientArgs,
        /// The user
        user_id: String,
        /// The platform
        platform: String,
        /// The token must stay valid for this many seconds
        #[arg(long, value_name = "SECONDS", default_value_t = 0)]
        min_ttl: i64,
        /// Refresh even if the token looks valid
        #[arg(long)]
        force_refresh: bool,
        /// Print everything the vault answers, as JSON, and not the token alone
        #[arg(long)]
        json: bool,
    },
    /// List the connections of a tenant, without their tokens
    List {
        #[command(flatten)]
        client: ClientArgs,
        /// Only connections to this platform; may be given several times
        #[arg(long = "platform", value_name = "ID")]
        platforms: Vec<String>,
        /// Only connections with this status: active, expired, disabled, unreadable; may be given several times
        #[arg(long = "status", value_name = "STATUS")]
        statuses: Vec<String>,
        /// Print one JSON object per connection and line
        #[arg(long)]
        json: bool,
    },
    /// Forget the tokens of a connection
    Delete {
        #[command(flatten)]
        client: ClientArgs,
        /// The user
        user_id: String,
        /// The platform
        platform: String,
    },
}

const STORE_EXAMPLE: &str = r#"Example:
  echo '{"user_id":"u1","platform":"gmail","access_token":"abcd","refresh_token":"r1",
         "expires_at":1700000000,"scopes":["email"]}' | vault-engine token store --key-file engine-keys.json"#;

/// Connections that are fetched and printed together.
const PAGE: i32 = 500;

/// More than any token there is.
const MAX_INPUT: u64 = 256 * 1_024;

pub(super) async fn run(command: Command) -> Result<ExitCode, Failure> {
    match command {
        Command::Store { client } => {
            let mut text = String::new();
            std::io::stdin().take(MAX_INPUT).read_to_string(&mut text)?;
            let mut message: StoreTokenRequest = serde_json::from_str(&text)
                .map_err(|error| format!("standard input {}", import::explain(text.as_bytes(), &error)))?;
            if message.tenant.is_empty() {
                message.tenant.clone_from(&client.tenant);
            }
            let mut connection = client.connect().await?;
            let request = connection.request(message);
            let answer = connection.vault.store_token(request).await.map_err(|status| explain(&status))?;
            output::say(serde_json::to_string(answer.get_ref())?);
        }
        Command::Get { client, user_id, platform, min_ttl, force_refresh, json } => {
            let tenant = client.tenant.clone();
            let message = GetTokenRequest { user_id, platform, min_ttl_seconds: min_ttl, force_refresh, tenant };
            let mut connection = client.connect().await?;
            let request = connection.request(message);
            let answer = connection.vault.get_token(request).await.map_err(|status| explain(&status))?.into_inner();
            if !answer.warning.is_empty() {
                output::note(format!("warning: still valid, but not renewed ({})", answer.warning));
            }
            output::say(if json { serde_json::to_string(&answer)? } else { answer.access_token });
        }
        Command::List { client, platforms, statuses, json } => {
            let tenant = client.tenant.clone();
            let message = ListTokensRequest { tenant, platforms, statuses, page_size: PAGE, ..Default::default() };
            list(client.connect().await?, message, json).await?;
        }
        Command::Delete { client, user_id, platform } => {
            let message = DeleteTokenRequest { user_id, platform, tenant: client.tenant.clone() };
            let mut connection = client.connect().await?;
            let request = connection.request(message);
            let answer = connection.vault.delete_token(request).await.map_err(|status| explain(&status))?;
            output::say(serde_json::to_string(answer.get_ref())?);
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints page after page.
async fn list(mut connection: Client, mut message: ListTokensRequest, json: bool) -> Result<(), Failure> {
    let mut rows = Vec::new();
    loop {
        let request = connection.request(message.clone());
        let answer = connection.vault.list_tokens(request).await.map_err(|status| explain(&status))?.into_inner();
        for token in &answer.tokens {
            if json {
                output::say(serde_json::to_string(token)?);
            } else {
                rows.push(row(token));
            }
        }
        if answer.next_page_token.is_empty() {
            break;
        }
        message.page_token = answer.next_page_token;
    }
    if !json {
        output::table(&["USER", "PLATFORM", "STATUS", "REASON", "TOKEN EXPIRES", "LAST REFRESH", "SINCE", "DO"], &rows);
    }
    Ok(())
}

fn row(token: &TokenInfo) -> Vec<String> {
    let known = token.version > 0;
    vec![
        token.user_id.clone(),
        token.platform.clone(),
        token.status.clone(),
        token.reason.clone(),
        if known { expiry(token.expires_at) } else { String::new() },
        refresh(token.last_refresh.as_ref()),
        if known { date(token.created_at) } else { String::new() },
        token.suggested_action.clone(),
    ]
}
