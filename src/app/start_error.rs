//! Why the vault cannot start.

use std::io;
use std::path::PathBuf;

use super::tls::TlsFilesError;
use crate::adapters::audit::OpenError as AuditOpenError;
use crate::adapters::keys::local::LocalKeysError;
use crate::adapters::oauth::OutboundError;
use crate::adapters::outbox::OpenError as OutboxOpenError;
#[cfg(feature = "dynamodb")]
use crate::adapters::store::dynamodb as dynamodb_store;
use crate::adapters::store::embedded::OpenError as StoreOpenError;
#[cfg(feature = "postgres")]
use crate::adapters::store::postgres as postgres_store;
#[cfg(feature = "redis")]
use crate::adapters::store::redis as redis_store;
use crate::document::Fault;
use crate::domain::error::VaultError;
use crate::domain::id::{EngineId, PlatformId};
use crate::domain::ports::{KeyError, StoreError};
use crate::domain::profile::UrlTemplateError;

/// Why the vault cannot start. Each says what the operator can do.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration or a profile has faults.
    #[error("{}", list(.0))]
    Faults(Vec<Fault>),
    /// A platform is named in the configuration and has no profile.
    #[error("`platforms.{0}` is configured and there is no profile for it: add `{0}.yaml` to `profiles_dir`")]
    NoProfile(PlatformId),
    /// The variables of a platform's URLs are not as its profile needs them.
    #[error("`platforms.{platform}.vars` {error}")]
    Variables {
        /// The platform.
        platform: PlatformId,
        /// What is wrong with them.
        error: UrlTemplateError,
    },
    /// The data directory cannot be made.
    #[error("the directory `{}` cannot be made: set `data_dir` to one this user may write to", path.display())]
    DataDir {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// There is no audit trail, and so no service.
    #[error("there is no service without an audit trail")]
    Audit(#[from] AuditOpenError),
    /// Connections cannot be secured.
    #[error("TLS cannot be set up")]
    Tls(#[from] TlsFilesError),
    /// The outbox cannot be opened.
    #[error("there is no place to keep what platforms answer")]
    Outbox(#[from] OutboxOpenError),
    /// The embedded store cannot be opened.
    #[error("the store cannot be opened")]
    Store(#[from] StoreOpenError),
    /// DynamoDB cannot be used.
    #[cfg(feature = "dynamodb")]
    #[error("the store cannot be used")]
    Dynamo(#[from] dynamodb_store::ConnectError),
    /// PostgreSQL cannot be used.
    #[cfg(feature = "postgres")]
    #[error("the store cannot be used")]
    Postgres(#[from] postgres_store::ConnectError),
    /// There is no store to read.
    #[error("there is no store at `{}`", .0.display())]
    NoStore(PathBuf),
    /// There is no key to open an export with.
    #[error("there is no key file at `{}`: put the one of the vault the export was made from there", .0.display())]
    NoKeyFile(PathBuf),
    /// The epoch of the store cannot be read.
    #[error("the epoch of the store cannot be read ({})", .0.reason())]
    Epoch(#[source] VaultError),
    /// The registry of engines cannot be read.
    #[error("who may call cannot be looked up ({})", .0.reason())]
    Registry(#[source] VaultError),
    /// There is somebody who may administer already.
    #[error(
        "there is an engine already that may make keys: use its key; if that is lost, `--again` revokes it and makes a \
         new one"
    )]
    Initialised,
    /// Redis cannot be used.
    #[cfg(feature = "redis")]
    #[error("the store cannot be used")]
    Redis(#[from] redis_store::ConnectError),
    /// Redis settings cannot be used.
    #[error("`store.redis.url` cannot be used: {0}")]
    RedisUrl(&'static str),
    /// The local keys cannot be used.
    #[error("the local keys cannot be used")]
    LocalKeys(#[from] LocalKeysError),
    /// AWS KMS cannot be used.
    #[cfg(feature = "aws")]
    #[error("AWS KMS cannot be used")]
    Aws(#[from] crate::adapters::keys::aws::AwsKmsError),
    /// The binary was built without it.
    #[error("this binary was built without `{0}`")]
    NotBuiltIn(&'static str),
    /// The way to the platforms cannot be set up.
    #[error("the way to the platforms cannot be set up")]
    Outbound(#[from] OutboundError),
    /// The keys of the installation itself cannot be had.
    #[error("the installation's own keys cannot be had ({})", .0.reason())]
    SystemKeys(#[source] VaultError),
    /// A verifier in the configuration is none.
    #[error("a verifier of engine `{0}` is not one: make the key again with `vault-engine key generate`")]
    Verifier(EngineId),
    /// Nobody wants it to start any more.
    #[error("asked to stop before it could serve")]
    Stopped,
}

// === impl StartError ===

impl StartError {
    /// Whether it may be gone when it is tried again: something does not answer, and nothing is known to be wrong.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        match self {
            #[cfg(feature = "dynamodb")]
            Self::Dynamo(error) => matches!(error, dynamodb_store::ConnectError::Unreachable { .. }),
            #[cfg(feature = "postgres")]
            Self::Postgres(error) => matches!(error, postgres_store::ConnectError::Unreachable { .. }),
            #[cfg(feature = "redis")]
            Self::Redis(error) => matches!(error, redis_store::ConnectError::Unreachable { .. }),
            Self::Epoch(error) | Self::SystemKeys(error) => matches!(
                error,
                VaultError::Store(StoreError::Unavailable { .. }) | VaultError::Keys(KeyError::Unavailable(_))
            ),
            _ => false,
        }
    }
}

fn list(faults: &[Fault]) -> String {
    faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}
