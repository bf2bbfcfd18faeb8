//! A client of a running vault, over the same gRPC as everybody else.

use std::path::PathBuf;

use secrecy::{ExposeSecret as _, SecretString};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};
use tonic_types::StatusExt as _;

use super::Failure;
use crate::pb::vault_v1::admin_client::AdminClient;
use crate::pb::vault_v1::token_vault_client::TokenVaultClient;

/// Which vault to ask, and as whom.
#[derive(Debug, clap::Args)]
pub(super) struct ClientArgs {
    /// The vault to ask
    #[arg(long, value_name = "URL", env = "VAULT_ENGINE_SERVER", default_value = "http://127.0.0.1:50051")]
    server: String,
    /// The engine to ask as
    #[arg(long, value_name = "ID", env = "VAULT_ENGINE_ENGINE_ID", default_value = "local")]
    engine_id: String,
    /// A file with the engine's key, or the JSON file of keys that `dev` writes; else the variable `VAULT_ENGINE_KEY`
    #[arg(long, value_name = "FILE", env = "VAULT_ENGINE_KEY_FILE")]
    key_file: Option<PathBuf>,
    /// The tenant, where the engine acts for several
    #[arg(long, value_name = "ID", default_value = "")]
    pub(super) tenant: String,
}

/// A connection to a vault.
pub(super) struct Client {
    pub(super) vault: TokenVaultClient<Channel>,
    pub(super) admin: AdminClient<Channel>,
    engine: MetadataValue<Ascii>,
    key: MetadataValue<Ascii>,
}

// === impl ClientArgs ===

impl ClientArgs {
    pub(super) async fn connect(&self) -> Result<Client, Failure> {
        let key = self.key()?;
        let channel = Endpoint::from_shared(self.server.clone())?
            .tcp_nodelay(true)
            .connect_timeout(std::time::Duration::from_secs(5))
            .connect()
            .await
            .map_err(|_| format!("no vault answers at {}: is it running? name another with --server", self.server))?;
        Client::new(channel, &self.engine_id, key.expose_secret())
    }

    fn key(&self) -> Result<SecretString, Failure> {
        let Some(file) = &self.key_file else {
            let key = std::env::var("VAULT_ENGINE_KEY");
            return Ok(key.map_err(|_| "no key: name a file with --key-file, or set VAULT_ENGINE_KEY")?.into());
        };
        let text = std::fs::read_to_string(file).map_err(|error| format!("the key file cannot be read: {error}"))?;
        let Ok(keys) = serde_json::from_str::<std::collections::BTreeMap<String, String>>(&text) else {
            return Ok(text.trim().to_owned().into());
        };
        let key = keys.get(&self.engine_id).cloned();
        Ok(key.ok_or_else(|| format!("the key file has no key for `{}`", self.engine_id))?.into())
    }
}

// === impl Client ===

impl Client {
    /// A client over a channel.
    pub(super) fn new(channel: Channel, engine: &str, key: &str) -> Result<Self, Failure> {
        let mut key: MetadataValue<Ascii> = key.parse().map_err(|_| "the key is not one: it has odd characters")?;
        // Never into a header compression table.
        key.set_sensitive(true);
        let engine = engine.parse().map_err(|_| "the engine id is not one: it has odd characters")?;
        let (vault, admin) = (TokenVaultClient::new(channel.clone()), AdminClient::new(channel));
        Ok(Self { vault, admin, engine, key })
    }

    /// A request with credentials.
    pub(super) fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.metadata_mut().insert("x-engine-id", self.engine.clone());
        request.metadata_mut().insert("x-engine-key", self.key.clone());
        request
    }
}

/// What a person should read about a failed call.
pub(super) fn explain(status: &Status) -> Failure {
    let details = status.get_error_details();
    let facts = details.error_info().map(|info| &info.metadata);
    let fact = |name: &str| facts.and_then(|facts| facts.get(name)).cloned();
    let mut text = status.message().to_owned();
    if let (Some(code), Some(action)) = (fact("error_code"), fact("suggested_action")) {
        text = format!("{text} ({code}; suggested: {action})");
    }
    if let Some(delay) = details.retry_info().and_then(|info| info.retry_delay) {
        text = format!("{text}, again in {} s", delay.as_secs().max(1));
    }
    text.into()
}
