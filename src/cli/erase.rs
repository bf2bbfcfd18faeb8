//! `vault-engine erase`: everything of one user, unreadable for ever.

use std::process::ExitCode;

use super::{ConfigArg, Failure, output, serve};
use crate::app::{self, Foundation, OperatorTrail};
use crate::domain::audit::{AuditAction, AuditResult, Subject};
use crate::domain::id::{TenantId, UserId};
use crate::envelope::KeyLimits;
use crate::lifecycle::Lifecycle;

#[derive(Debug, clap::Args)]
#[command(after_help = EXPLANATION)]
pub(super) struct Args {
    #[command(flatten)]
    config: ConfigArg,
    /// The user
    user: UserId,
    /// The tenant of the user
    #[arg(long, default_value = "default")]
    tenant: TenantId,
    /// There is no way back: say that you mean it
    #[arg(long)]
    yes: bool,
}

const EXPLANATION: &str = "\
The key of the user is destroyed and each connection becomes a deleted one, on every instance at the next read of it. Stopped \
in the middle, run it again. It needs the store: with the embedded one, stop the vault first. What was copied before stays \
readable as long as the copy of the key lasts: erase again after a restore of an older backup. The grant at the platform is \
not revoked. The two lines in the audit trail, found by the id that is printed, are the receipt.";

pub(super) async fn run(args: Args) -> Result<ExitCode, Failure> {
    if !args.yes {
        return Err("nothing was erased: there is no way back, so say `--yes`".into());
    }
    let config = serve::load(args.config.config.as_deref(), std::iter::empty())?;
    let trail = OperatorTrail::open(&config, "erase")?;
    let foundation = Foundation::lay(&config, &Lifecycle::default()).await?;
    let environment = config.environment.clone();
    let catalog = std::sync::Arc::new(app::catalog(config)?);
    let records = foundation.records(&environment, &catalog, KeyLimits::default());
    let subject = || Subject { tenant: Some(args.tenant.clone()), user: Some(args.user.clone()), ..Subject::default() };
    trail.write_about(AuditAction::Erase, subject(), (AuditResult::Ok, "begun"), None).await?;
    let erased = records.erase(&args.tenant, &args.user).await;
    let (result, items) = match &erased {
        Ok(connections) => ((AuditResult::Ok, ""), Some(*connections)),
        Err(error) => ((AuditResult::Failed, error.reason()), None),
    };
    trail.write_about(AuditAction::Erase, subject(), result, items).await?;
    let connections = erased?;
    output::say(format!("{}/{}: {connections} connections erased; receipt {}", args.tenant, args.user, trail.id()));
    Ok(ExitCode::SUCCESS)
}
