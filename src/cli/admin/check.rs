//! `vault-engine admin check`: whether an engine may do something, and which rule says so.

use std::process::ExitCode;

use super::{Asking, engine_name};
use crate::cli::client::explain;
use crate::cli::{Failure, output};
use crate::pb::vault_v1::CheckAccessRequest;

#[derive(Debug, clap::Args)]
#[command(after_help = "Exit status: 0 when it may, 3 when it may not, 1 when nobody could say.")]
pub(in crate::cli) struct Args {
    #[command(flatten)]
    asking: Asking,
    /// TENANT/ENGINE
    engine: String,
    #[arg(help = "get, status, store, delete, list, watch, admin_read, admin_tenants, admin_engines, admin_keys")]
    action: String,
    /// In this tenant; its own by default
    #[arg(long = "of-tenant", value_name = "ID", default_value = "")]
    of: String,
    /// With a connection of this user; anybody's by default
    #[arg(long, value_name = "ID", default_value = "")]
    user: String,
    /// To this platform; any by default
    #[arg(long, value_name = "ID", default_value = "")]
    platform: String,
    /// With a token of this scope; may be given several times
    #[arg(long = "scope", value_name = "SCOPE")]
    scopes: Vec<String>,
}

pub(super) async fn run(args: Args) -> Result<ExitCode, Failure> {
    let mut client = args.asking.client.connect().await?;
    let request = client.request(CheckAccessRequest {
        name: engine_name(&args.engine)?,
        action: args.action,
        tenant: args.of,
        user_id: args.user,
        platform: args.platform,
        scopes: args.scopes,
    });
    let answer = client.admin.check_access(request).await.map_err(|status| explain(&status))?.into_inner();
    if args.asking.json {
        output::say(serde_json::to_string(&answer)?);
    } else {
        let rule = if answer.rule == 0 { String::new() } else { format!(", rule {}", answer.rule) };
        let verdict = if answer.allowed { output::green("yes") } else { "no".to_owned() };
        output::say(format!("{verdict} ({}{rule})", answer.reason));
    }
    Ok(if answer.allowed { ExitCode::SUCCESS } else { ExitCode::from(crate::cli::INCOMPLETE) })
}
