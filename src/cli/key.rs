//! `vault-engine key`: keys of engines.

use std::process::ExitCode;

use super::{ConfigArg, Failure, output, serve};
use crate::access::EngineKey;
use crate::adapters::system::SystemRandom;
use crate::app::Foundation;
use crate::domain::id::EngineId;
use crate::lifecycle::Lifecycle;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Make a key for an engine: shown once, never stored
    ///
    /// Prints the key on standard output, and on standard error the lines for the configuration, which hold a verifier
    /// and not the key. A verifier is made with a secret of the installation, so store and key service must be
    /// reachable; the embedded store must not be in use by a running vault.
    Generate {
        /// The engine it is for; the key works for no other
        #[arg(long, value_name = "ID")]
        engine: EngineId,
        #[command(flatten)]
        config: ConfigArg,
    },
}

pub(super) async fn run(command: Command) -> Result<ExitCode, Failure> {
    let Command::Generate { engine, config } = command;
    let config = serve::load(config.config.as_deref(), std::iter::empty())?;
    let foundation = Foundation::lay(&config, &Lifecycle::default()).await?;
    let key = EngineKey::make(&SystemRandom);
    let verifier = key.verifier(&foundation.pepper().await?, engine.as_str());
    output::note(format!("The key of `{engine}`, shown this once. Give it to the engine as `x-engine-key`:"));
    output::say(key.expose());
    output::note("\nFor the configuration, under the engine's `keys`:");
    output::note(format!("      - id: {}\n        verifier: {}", verifier.key_id, verifier.to_text()));
    Ok(ExitCode::SUCCESS)
}
