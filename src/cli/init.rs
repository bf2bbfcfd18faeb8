//! `vault-engine init`: the first engine that may administer others, and the way back for whoever lost its key.

use std::process::ExitCode;

use super::{ConfigArg, Failure, output, serve, status};
use crate::app::{self, OperatorTrail};
use crate::domain::audit::{AuditAction, AuditResult};
use crate::domain::id::EngineId;
use crate::lifecycle::Lifecycle;

#[derive(Debug, clap::Args)]
#[command(after_help = EXPLANATION)]
pub(super) struct Args {
    #[command(flatten)]
    config: ConfigArg,
    /// The id of the engine
    #[arg(long, value_name = "ID", default_value = "admin")]
    engine: EngineId,
    /// Although there is one: revoke its keys, switch it on, and make it a new key
    #[arg(long)]
    again: bool,
    /// How long the key is valid
    #[arg(long, value_name = "DAYS", default_value_t = 90, value_parser = clap::value_parser!(u16).range(1..=365))]
    days: u16,
}

const EXPLANATION: &str = "\
The engine may make tenants, engines and keys, and read no token. Its key is printed on standard output this once; put it \
into a file that only you can read, and go on with `vault-engine admin --help`.

Whoever can run this can read the configuration, the store and the key service, and so everything the vault keeps: it asks \
for no other proof. What it does is in the audit trail. With the embedded store, stop the vault first.";

pub(super) async fn run(args: Args) -> Result<ExitCode, Failure> {
    let config = serve::load(args.config.config.as_deref(), std::iter::empty())?;
    let trail = OperatorTrail::open(&config, "init")?;
    trail.write(AuditAction::Init, (AuditResult::Ok, if args.again { "again" } else { "begun" }), None).await?;
    let made = app::init(&config, &Lifecycle::default(), &args.engine, (args.again, args.days)).await;
    let result = match &made {
        Ok(_) => (AuditResult::Ok, ""),
        Err(_) => (AuditResult::Failed, "incomplete"),
    };
    trail.write(AuditAction::Init, result, None).await?;
    let (key, expires_at) = made?;
    let until = status::date(expires_at.unix_seconds());
    output::note(format!(
        "The key of `{}`, shown this once, valid until {until}. It makes tenants, engines and keys, and reads no token:",
        args.engine
    ));
    output::say(key.expose());
    output::note("\nNext: `vault-engine admin --help`");
    Ok(ExitCode::SUCCESS)
}
