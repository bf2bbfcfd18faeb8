//! `vault-engine dev`: the same service with everything made on the spot.

use std::collections::BTreeMap;
use std::fs::{DirBuilder, OpenOptions};
use std::io::Write as _;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::serve::{self, Running};
use super::{ConfigArg, Failure, output};
use crate::access::EngineKey;
use crate::adapters::system::SystemRandom;
use crate::app::MadeEngine;
use crate::config::EngineConfig;
use crate::domain::id::TenantId;
use crate::domain::method::Action;
use crate::lifecycle::Lifecycle;
use crate::telemetry;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The address to serve on; `listen` of the configuration, or 127.0.0.1:50051, by default
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// Where store, key, outbox and audit trail are kept, whatever `data_dir` of the configuration says; what it gives a path
    /// of its own stays there
    #[arg(long, value_name = "DIR", default_value = "vault-data")]
    data_dir: PathBuf,
    /// Where the engines' keys are written (mode 0600); if it exists, its keys are used again
    #[arg(long, value_name = "FILE")]
    keys_file: Option<PathBuf>,
    /// A folder of profiles that add to the shipped ones or replace them
    #[arg(long, value_name = "DIR")]
    profiles_dir: Option<PathBuf>,
    #[command(flatten)]
    config: ConfigArg,
}

/// The engines every development vault has, and what each may do.
pub(super) const ENGINES: [(&str, &[Action]); 3] = [
    ("action", &[Action::Get]),
    ("sync", &[Action::Status, Action::Get, Action::Store, Action::List, Action::Watch]),
    ("local", &Action::ALL),
];

pub(super) async fn run(args: Args) -> Result<ExitCode, Failure> {
    let config = serve::load(args.config.config.as_deref(), args.forced().into_iter())?;
    telemetry::init(config.log);
    let keys_file = args.keys_file.unwrap_or_else(|| args.data_dir.join("engine-keys.json"));
    let engines = engines(&config.engines, keys(&keys_file)?)?;
    let lifecycle = Lifecycle::default();
    lifecycle.drain_on_signal();
    let running = Running::start(config, lifecycle, &engines).await?;
    output::note(format!("development vault on http://{}, engine keys in {}", running.address()?, keys_file.display()));
    running.serve().await?;
    Ok(ExitCode::SUCCESS)
}

// === impl Args ===

impl Args {
    /// What development means, whatever the configuration says: flags first of all, and nothing that is meant for it
    /// left off.
    fn forced(&self) -> Vec<(String, String)> {
        let path = |path: &Path| path.display().to_string();
        let mut forced = vec![
            ("VAULT_ENGINE_ENVIRONMENT".to_owned(), "dev".to_owned()),
            ("VAULT_ENGINE_DATA_DIR".to_owned(), path(&self.data_dir)),
            ("VAULT_ENGINE_OUTBOUND__ALLOW_LOOPBACK".to_owned(), "true".to_owned()),
        ];
        if let Some(address) = self.listen {
            forced.push(("VAULT_ENGINE_LISTEN".to_owned(), address.to_string()));
        }
        if let Some(folder) = &self.profiles_dir {
            forced.push(("VAULT_ENGINE_PROFILES_DIR".to_owned(), path(folder)));
        }
        forced
    }
}

/// The three engines with their keys, except those the configuration already has.
fn engines(configured: &[EngineConfig], mut keys: BTreeMap<String, EngineKey>) -> Result<Vec<MadeEngine>, Failure> {
    let mut made = Vec::new();
    for (name, actions) in ENGINES {
        if configured.iter().any(|engine| engine.id.as_str() == name) {
            continue;
        }
        let key = keys
            .remove(name)
            .ok_or_else(|| format!("the keys file has no key for `{name}`: remove it and start again"))?;
        made.push(made_engine(name, actions, key)?);
    }
    Ok(made)
}

/// An engine with a key at hand.
pub(super) fn made_engine(name: &str, actions: &[Action], key: EngineKey) -> Result<MadeEngine, Failure> {
    let config = EngineConfig::allowing(name.parse()?, actions.iter().copied(), [TenantId::default_tenant()]);
    Ok(MadeEngine { config, key })
}

/// Reads the keys file, or makes it: `{"action":"tvk1_…","sync":"tvk1_…","local":"tvk1_…"}`.
fn keys(file: &Path) -> Result<BTreeMap<String, EngineKey>, Failure> {
    let at = |what: &str, error: &dyn std::fmt::Display| {
        Failure::from(format!("the keys file `{}` {what}: {error}", file.display()))
    };
    if file.exists() {
        let mode = std::fs::metadata(file).map_err(|error| at("cannot be read", &error))?.permissions().mode();
        if mode & 0o077 != 0 {
            return Err(at("can be read by others", &format!("run `chmod 600 {}`", file.display())));
        }
        let text = std::fs::read_to_string(file).map_err(|error| at("cannot be read", &error))?;
        let texts: BTreeMap<String, String> = serde_json::from_str(&text)
            .map_err(|_| at("is not a JSON object of keys", &"remove it and start again"))?;
        let parsed = texts.into_iter().map(|(engine, key)| Ok((engine, key.parse::<EngineKey>()?)));
        return parsed
            .collect::<Result<_, crate::access::MalformedKey>>()
            .map_err(|error| at("holds something else", &error));
    }
    let keys: BTreeMap<String, EngineKey> =
        ENGINES.iter().map(|(name, _)| ((*name).to_owned(), EngineKey::make(&SystemRandom))).collect();
    if let Some(folder) = file.parent() {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
        made.map_err(|error| at("cannot be made", &error))?;
    }
    // In the order people know them; neither names nor keys have anything to escape.
    let texts = ENGINES.iter().filter_map(|(name, _)| Some(format!("\"{name}\":\"{}\"", keys.get(*name)?.expose())));
    let text = format!("{{{}}}\n", texts.collect::<Vec<_>>().join(","));
    let mut made = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(file)
        .map_err(|error| at("cannot be made", &error))?;
    made.write_all(text.as_bytes()).map_err(|error| at("cannot be written", &error))?;
    Ok(keys)
}
