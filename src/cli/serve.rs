//! `vault-engine serve`: the service itself.

use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::sync::OnceLock;
use std::time::Duration;

use tokio::time::Instant;

use super::{ConfigArg, Failure};
use crate::adapters::system::SystemRandom;
use crate::app::{App, MadeEngine, StartError, TlsFiles};
use crate::config::Config;
use crate::domain::ports::Random as _;
use crate::hardening::Hardening;
use crate::lifecycle::Lifecycle;
use crate::telemetry;
use crate::transport::{Reflection, Server, ServerLimits};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    config: ConfigArg,
}

/// A vault that is bound and about to serve.
pub(super) struct Running {
    server: Server,
    secured: bool,
    lifecycle: Lifecycle,
    drain: Duration,
    app: App,
}

/// How long the process still takes calls after it said that it should get none, so that whoever balances the load
/// has time to notice.
const NOTICE: Duration = Duration::from_secs(1);

pub(super) async fn run(args: Args) -> Result<ExitCode, Failure> {
    let hardening = Hardening::begin()?;
    let config = load(args.config.config.as_deref(), std::iter::empty())?;
    telemetry::init(config.log);
    if config.server.allow_core_dumps {
        hardening.undo()?;
        tracing::warn!("core dumps are allowed: a crash may leave keys and tokens on a disk (`allow_core_dumps`)");
    } else {
        hardening.complete()?;
        tracing::info!("no core dumps, and no other process may look into this one");
    }
    let lifecycle = Lifecycle::default();
    lifecycle.drain_on_signal();
    Running::start(config, lifecycle, &[]).await?.serve().await?;
    Ok(ExitCode::SUCCESS)
}

/// Reads the configuration; `forced` is laid over file and environment.
pub(super) fn load(file: Option<&Path>, forced: impl Iterator<Item = (String, String)>) -> Result<Config, StartError> {
    Config::load(file, variables().chain(forced)).map_err(StartError::Faults)
}

/// The environment of the process. Names and values that are not Unicode can be no settings of ours.
pub(super) fn variables() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

// === impl Running ===

impl Running {
    /// Puts the vault together and binds its address.
    pub(super) async fn start(config: Config, lifecycle: Lifecycle, made: &[MadeEngine]) -> Result<Self, Failure> {
        let (listen, drain) = (config.server.listen, config.server.drain);
        let reflection = if config.server.reflection { Reflection::On } else { Reflection::Off };
        let tls = config.tls.as_ref().map(TlsFiles::open).transpose().map_err(StartError::Tls)?;
        let app = Box::pin(App::assemble(config, &lifecycle, made)).await?;
        for note in &app.notes {
            tracing::warn!(note, "about the store");
        }
        let mut instance = [0; 8];
        SystemRandom.fill(&mut instance);
        let limits = ServerLimits::of_this_process();
        let guard = std::sync::Arc::clone(&app.guard);
        let server = Server::bind(listen, guard, reflection, limits, u64::from_be_bytes(instance))
            .await
            .map_err(|error| format!("cannot listen on {listen}: {error}"))?;
        let secured = tls.is_some();
        let server = match tls {
            None => server,
            Some(files) => {
                let server = server.secured(files.current());
                files.keep_fresh(std::sync::Arc::clone(&app.guard.clock), &lifecycle);
                server
            }
        };
        Ok(Self { server, secured, lifecycle, drain, app })
    }

    /// The address that was bound.
    pub(super) fn address(&self) -> Result<SocketAddr, Failure> {
        Ok(self.server.address()?)
    }

    /// Serves until the process is asked to stop, then finishes what has begun.
    pub(super) async fn serve(self) -> Result<(), Failure> {
        let address = self.address()?;
        let Self { server, secured, lifecycle, drain, app } = self;
        let health = server.health();
        health.serving().await;
        let (store, keys) = app.kinds;
        let platforms = app.catalog.iter().count();
        tracing::info!(%address, tls = secured, store, keys, platforms, version = env!("CARGO_PKG_VERSION"), "serving");
        let drained = {
            let lifecycle = lifecycle.clone();
            async move {
                lifecycle.drained().await;
                health.not_serving().await;
                tokio::time::sleep(NOTICE).await;
            }
        };
        let asked_at = OnceLock::new();
        let deadline = async {
            lifecycle.drained().await;
            let _ = asked_at.set(Instant::now());
            tokio::time::sleep(drain).await;
        };
        tokio::select! {
            ended = server.serve(drained) => ended?,
            () = deadline => tracing::warn!("some calls did not end before the deadline and were cut"),
        }
        // Refreshes that were sent must be stored; they run on their own and get the rest of the time.
        let spent = asked_at.get().map_or(Duration::ZERO, Instant::elapsed);
        if !lifecycle.finish(drain.saturating_sub(spent).max(NOTICE)).await {
            tracing::error!(alarm = "unfinished", "some work did not end before the deadline");
        }
        drop(app);
        tracing::info!("stopped");
        Ok(())
    }
}
