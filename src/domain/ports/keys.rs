//! Wrapping and unwrapping of key material by a key service.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use zeroize::Zeroizing;

use crate::domain::id::{Environment, TenantId};

/// What a data key is bound to. The key service checks it byte for byte; it appears in the service's own logs, so it
/// holds no user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncryptionContext {
    /// The environment of the installation.
    pub environment: Environment,
    /// The tenant the key belongs to.
    pub tenant: TenantId,
    /// The generation of the tenant's key.
    pub generation: u32,
}

/// A 256-bit data key in the clear. Wiped when dropped.
pub type DataKey = Zeroizing<[u8; 32]>;

/// A data key as the key service wrapped it: opaque, safe to store, at most 1 KiB.
#[derive(Clone, PartialEq, Eq)]
pub struct WrappedDataKey(pub Vec<u8>);

/// A key service.
///
/// - `decrypt` of what `generate_data_key` returned, under the same context, gives the same key.
/// - Under any other context, or with any bit of the blob changed, it is refused: [`KeyError::Refused`].
/// - Two generated keys are never equal.
/// - A key that was disabled, scheduled for deletion or forbidden is [`KeyError::Refused`]; a service that is down,
///   slow or throttling is [`KeyError::Unavailable`].
/// - `reencrypt` of what `generate_data_key` returned, under the same context, wraps the same key under the key the service
///   is configured with now, whichever it was wrapped under before.
/// - A data key that does not have 32 bytes is refused.
/// - Every call ends within 10 seconds.
#[async_trait]
pub trait KeyProvider: Send + Sync {
    /// Makes a data key, in the clear and wrapped.
    ///
    /// # Errors
    ///
    /// As [`KeyError`] says.
    async fn generate_data_key(&self, context: &EncryptionContext) -> Result<(DataKey, WrappedDataKey), KeyError>;

    /// Unwraps a data key.
    ///
    /// # Errors
    ///
    /// As [`KeyError`] says.
    async fn decrypt(&self, context: &EncryptionContext, wrapped: &WrappedDataKey) -> Result<DataKey, KeyError>;

    /// Wraps a data key anew.
    ///
    /// # Errors
    ///
    /// As [`KeyError`] says.
    async fn reencrypt(
        &self,
        context: &EncryptionContext,
        wrapped: &WrappedDataKey,
    ) -> Result<WrappedDataKey, KeyError>;

    /// What it is, for logs: `local`, `aws`.
    fn kind(&self) -> &'static str;
}

/// Why a key could not be had. Cheap to clone, because one failure answers everybody who waited for it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum KeyError {
    /// The key service cannot answer now: what is cached stays usable for a while.
    #[error("the key service cannot be reached")]
    Unavailable(#[source] KeyFault),
    /// The key service's definitive no: what is cached must go.
    #[error("the key service refuses this key")]
    Refused(#[source] KeyFault),
}

/// What the key service said, for the log.
#[derive(Clone)]
pub struct KeyFault {
    /// One word from a closed vocabulary: `disabled`, `access_denied`, `invalid_ciphertext`, `throttled`, `timeout`, ...
    pub reason: &'static str,
    /// The error underneath.
    pub source: Option<Arc<dyn Error + Send + Sync>>,
}

// === impl WrappedDataKey ===

impl WrappedDataKey {
    /// The most bytes a wrapped key may have.
    pub const MAX_BYTES: usize = 1_024;
}

impl fmt::Debug for WrappedDataKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WrappedDataKey({} bytes)", self.0.len())
    }
}

// === impl KeyFault ===

impl KeyFault {
    /// A fault with nothing underneath.
    #[must_use]
    pub const fn new(reason: &'static str) -> Self {
        Self { reason, source: None }
    }

    /// A fault with the error that caused it.
    #[must_use]
    pub fn caused_by(reason: &'static str, source: impl Error + Send + Sync + 'static) -> Self {
        Self { reason, source: Some(Arc::new(source)) }
    }
}

impl fmt::Debug for KeyFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyFault").field("reason", &self.reason).finish_non_exhaustive()
    }
}

impl fmt::Display for KeyFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason)
    }
}

impl Error for KeyFault {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn Error + 'static))
    }
}
