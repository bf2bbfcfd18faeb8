//! A client of a running vault, over the same gRPC as everybody else.

use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret as _, SecretString};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Request, Status};
use tonic_types::StatusExt as _;
use zeroize::Zeroizing;

use super::Failure;
use crate::document::{Readers, read_text};
use crate::pb::vault_v1::admin_client::AdminClient;
use crate::pb::vault_v1::token_vault_client::TokenVaultClient;

/// Which vault to ask.
#[derive(Debug, clap::Args)]
pub(super) struct ServerArgs {
    /// The vault to ask
    #[arg(long, value_name = "URL", env = "VAULT_ENGINE_SERVER", default_value = "http://127.0.0.1:50051")]
    server: String,
    /// The authorities of the vault's certificate (PEM), for an `https://` server
    #[arg(long, value_name = "FILE", env = "VAULT_ENGINE_TLS_CA")]
    tls_ca: Option<PathBuf>,
    /// A certificate to show (PEM), with `--tls-key`
    #[arg(long, value_name = "FILE", env = "VAULT_ENGINE_TLS_CERT", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// The key of that certificate (PEM)
    #[arg(long, value_name = "FILE", env = "VAULT_ENGINE_TLS_KEY", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// The name in the vault's certificate, where it is not the one in the address
    #[arg(long, value_name = "NAME")]
    tls_server_name: Option<String>,
}

/// Which vault to ask, and as whom.
#[derive(Debug, clap::Args)]
pub(super) struct ClientArgs {
    #[command(flatten)]
    server: ServerArgs,
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

/// The most a file may have that is named here.
const MAX_BYTES: usize = 512 * 1_024;

/// A connection to a vault.
pub(super) struct Client {
    pub(super) vault: TokenVaultClient<Channel>,
    pub(super) admin: AdminClient<Channel>,
    engine: MetadataValue<Ascii>,
    key: MetadataValue<Ascii>,
}

// === impl ServerArgs ===

impl ServerArgs {
    /// A connection, which has nobody's credentials.
    pub(super) async fn channel(&self) -> Result<Channel, Failure> {
        let endpoint = Endpoint::from_shared(self.server.clone())?
            .tcp_nodelay(true)
            .connect_timeout(std::time::Duration::from_secs(5));
        let endpoint = match self.tls()? {
            Some(tls) => {
                endpoint.tls_config(tls).map_err(|error| format!("TLS cannot be set up: {}", chain(&error)))?
            }
            None => endpoint,
        };
        Ok(endpoint.connect().await.map_err(|error| {
            let why = chain(&error);
            format!("no vault answers at {} ({why}): is it running? name another with --server", self.server)
        })?)
    }

    /// What an `https://` address asks for; `None`: it is another.
    fn tls(&self) -> Result<Option<ClientTlsConfig>, Failure> {
        if !self.server.starts_with("https://") {
            return match (&self.tls_ca, &self.tls_cert) {
                (None, None) => Ok(None),
                _ => Err("TLS is for a server at `https://…`: name it with --server".into()),
            };
        }
        let tls = match &self.tls_ca {
            Some(file) => ClientTlsConfig::new().ca_certificate(Certificate::from_pem(read(file, Readers::Anybody)?)),
            None => ClientTlsConfig::new().with_native_roots(),
        };
        let tls = match &self.tls_server_name {
            Some(name) => tls.domain_name(name),
            None => tls,
        };
        Ok(Some(match (&self.tls_cert, &self.tls_key) {
            (Some(certificate), Some(key)) => {
                let (certificate, key) = (read(certificate, Readers::Anybody)?, read(key, Readers::OwnerAndGroup)?);
                tls.identity(Identity::from_pem(certificate, key))
            }
            _ => tls,
        }))
    }
}

// === impl ClientArgs ===

impl ClientArgs {
    pub(super) async fn connect(&self) -> Result<Client, Failure> {
        let key = self.key()?;
        Client::new(self.server.channel().await?, &self.engine_id, key.expose_secret())
    }

    fn key(&self) -> Result<SecretString, Failure> {
        let Some(file) = &self.key_file else {
            let key = std::env::var("VAULT_ENGINE_KEY");
            return Ok(key.map_err(|_| "no key: name a file with --key-file, or set VAULT_ENGINE_KEY")?.into());
        };
        let text = Zeroizing::new(read(file, Readers::OwnerAndGroup)?);
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

/// A file that the command line names.
fn read(file: &Path, readers: Readers) -> Result<String, Failure> {
    read_text(file, MAX_BYTES, readers).map_err(|mismatch| {
        let hint = if mismatch.hint.is_empty() { String::new() } else { format!(" — {}", mismatch.hint) };
        format!("`{}` {}{hint}", file.display(), mismatch.problem).into()
    })
}

/// An error and what is behind it.
fn chain(error: &dyn std::error::Error) -> String {
    let behind = std::iter::successors(error.source(), |error| error.source());
    behind.fold(error.to_string(), |text, error| format!("{text}: {error}"))
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
