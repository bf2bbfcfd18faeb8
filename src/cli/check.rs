//! `vault-engine check`: everything a start would need, tried without serving.

use std::process::ExitCode;

use super::{ConfigArg, Failure, output, serve};
use crate::app::{self, Foundation, StartError, TlsFiles};
use crate::config::AuditSinkConfig;
use crate::lifecycle::Lifecycle;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    config: ConfigArg,
}

pub(super) async fn run(args: Args) -> Result<ExitCode, Failure> {
    let config = serve::load(args.config.config.as_deref(), std::iter::empty())?;
    let ok = |what: &str, detail: String| output::say(format!("{} {what:<14} {detail}", output::green("ok")));
    ok("configuration", format!("environment `{}`, {} engines", config.environment, config.engines.len()));
    if config.engines.is_empty() {
        output::note(if config.registry.enabled {
            "   only engines of the registry may call; the first is made by `vault-engine init`"
        } else {
            "   nobody may call: add `engines`, with keys from `vault-engine key generate`"
        });
    }
    match &config.tls {
        Some(tls) => {
            let until = app::date(TlsFiles::open(tls).map_err(StartError::Tls)?.current().validity().until);
            let callers = tls.client_certificates.as_str();
            ok("tls", format!("certificate until {until}, client certificates: {callers}"));
        }
        None => output::note("   there is no TLS: whoever can listen in gets tokens (`tls`)"),
    }
    let foundation = Foundation::lay(&config, &Lifecycle::default()).await?;
    ok("store", foundation.store.kind().to_owned());
    for note in &foundation.notes {
        output::note(format!("   {note}"));
    }
    foundation.pepper().await?;
    ok("keys", foundation.keys_kind.to_owned());
    match &config.audit.sink {
        AuditSinkConfig::File { path } => {
            let keys = foundation.audit_keys(&config).await?;
            app::open_audit(&config, Some(keys), foundation.clock)?;
            ok("audit trail", path.display().to_string());
        }
        AuditSinkConfig::Stdout => ok("audit trail", "standard output".to_owned()),
    }
    match app::open_outbox(&config.outbox)? {
        Some(_) => ok("outbox", config.outbox.dir.display().to_string()),
        None => output::note(
            "   there is no outbox: a crash can cost the grant of a platform that rotates (`outbox.enabled`)",
        ),
    }
    let catalog = app::catalog(config)?;
    let clients = catalog.iter().filter(|platform| platform.app.is_some()).count();
    ok("platforms", format!("{} enabled, {clients} with a client to refresh with", catalog.iter().count()));
    Ok(ExitCode::SUCCESS)
}
