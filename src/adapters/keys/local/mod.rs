//! A key service of one's own: data keys wrapped under a key that lies in a file beside the vault. For development and
//! single machines; whoever can read the file can open everything, which no remote key service would allow.
//!
//! The wrapped blob is the vault's own sealed format, so that the place is enforced exactly as a key service enforces
//! its encryption context. The head tells which local key it was sealed under:
//!
//! ```text
//! sealed under the local key, kind 3, environment, tenant, no user, no platform
//!   parent generation = id of the local key        version = generation of the tenant's key
//!   plaintext         = the data key, 32 bytes     blob    = 128 bytes
//! ```

mod key_file;

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use zeroize::Zeroizing;

pub use key_file::{KeyFileError, LineFault};

use self::key_file::KeyFile;
use crate::domain::error::CorruptRecord;
use crate::domain::id::Environment;
use crate::domain::ports::{DataKey, EncryptionContext, KeyError, KeyFault, KeyProvider, Random, WrappedDataKey};
use crate::envelope::context::{Context, Kind};
use crate::envelope::format::Header;
use crate::envelope::seal::{open, seal};

/// What the operator said about local keys in production.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InProduction {
    /// Nothing, or no: the environment `prod` is refused.
    Refuse,
    /// They are accepted there: `kms.local.accept_in_production: true`.
    Accept,
}

/// Data keys wrapped under a key in a file.
pub struct LocalKeys {
    keys: KeyFile,
    random: Arc<dyn Random>,
}

/// Why the local keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LocalKeysError {
    /// The environment is `prod` and nobody accepted it.
    #[error(
        "local keys protect nothing from whoever can read the disk and are refused in `prod`: configure a key service, \
         or accept the risk with `kms.local.accept_in_production: true`"
    )]
    Production,
    /// The key file cannot be used.
    #[error(transparent)]
    KeyFile(#[from] KeyFileError),
}

// === impl LocalKeys ===

impl LocalKeys {
    /// Opens the keys in this file, and makes the file if it is not there.
    ///
    /// Reads and writes the disk, so it belongs to the start of the process.
    ///
    /// # Errors
    ///
    /// [`LocalKeysError`]; its text tells the operator what to do.
    pub fn open(
        path: &Path,
        environment: &Environment,
        in_production: InProduction,
        random: Arc<dyn Random>,
    ) -> Result<Self, LocalKeysError> {
        match in_production {
            InProduction::Refuse if environment.as_str() == "prod" => Err(LocalKeysError::Production),
            InProduction::Refuse | InProduction::Accept => {
                Ok(Self { keys: KeyFile::open_or_make(path, &*random)?, random })
            }
        }
    }

    fn wrap(&self, context: &EncryptionContext, key: &DataKey) -> WrappedDataKey {
        let local = &self.keys.current;
        let version = u64::from(context.generation);
        WrappedDataKey(seal(&*self.random, &local.key, local.id, version, &place(context), key.as_slice()))
    }

    fn unwrap(&self, context: &EncryptionContext, wrapped: &WrappedDataKey) -> Result<DataKey, KeyFault> {
        let invalid = |error: CorruptRecord| KeyFault::caused_by("invalid_ciphertext", error);
        let head = Header::parse(&wrapped.0).map_err(invalid)?;
        // The id chooses the key and proves nothing; opening under that key does.
        let local = self.keys.with_id(head.parent_generation).ok_or(KeyFault::new("incorrect_key"))?;
        let opened = open(&local.key, local.id, &place(context), &wrapped.0).map_err(invalid)?;
        if opened.version != u64::from(context.generation) {
            return Err(KeyFault::new("invalid_ciphertext"));
        }
        if opened.plaintext.len() != 32 {
            return Err(KeyFault::new("wrong_length"));
        }
        let mut key = Zeroizing::new([0; 32]);
        key.copy_from_slice(&opened.plaintext);
        Ok(key)
    }
}

#[async_trait]
impl KeyProvider for LocalKeys {
    async fn generate_data_key(&self, context: &EncryptionContext) -> Result<(DataKey, WrappedDataKey), KeyError> {
        let mut key = Zeroizing::new([0; 32]);
        self.random.fill(key.as_mut_slice());
        let wrapped = self.wrap(context, &key);
        Ok((key, wrapped))
    }

    async fn decrypt(&self, context: &EncryptionContext, wrapped: &WrappedDataKey) -> Result<DataKey, KeyError> {
        self.unwrap(context, wrapped).map_err(KeyError::Refused)
    }

    async fn reencrypt(
        &self,
        context: &EncryptionContext,
        wrapped: &WrappedDataKey,
    ) -> Result<WrappedDataKey, KeyError> {
        let key = self.unwrap(context, wrapped).map_err(KeyError::Refused)?;
        Ok(self.wrap(context, &key))
    }

    fn kind(&self) -> &'static str {
        "local"
    }
}

impl fmt::Debug for LocalKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalKeys").field("current_key_id", &self.keys.current.id).finish_non_exhaustive()
    }
}

fn place(context: &EncryptionContext) -> Context {
    Context::new(Kind::LocalDataKey, &context.environment, &context.tenant, "", "")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapters::system::SystemRandom;
    use crate::domain::id::TenantId;

    fn context() -> EncryptionContext {
        EncryptionContext { environment: "dev".parse().unwrap(), tenant: TenantId::default_tenant(), generation: 1 }
    }

    fn open_in(folder: &Path) -> LocalKeys {
        LocalKeys::open(&folder.join("keys"), &"dev".parse().unwrap(), InProduction::Refuse, Arc::new(SystemRandom))
            .unwrap()
    }

    #[test]
    fn production_is_refused_unless_the_operator_accepted_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys");
        let open = |environment: &str, in_production| {
            LocalKeys::open(&path, &environment.parse().unwrap(), in_production, Arc::new(SystemRandom))
        };

        let refused = open("prod", InProduction::Refuse).unwrap_err();
        assert!(refused.to_string().contains("`kms.local.accept_in_production: true`"), "{refused}");
        assert!(!path.exists(), "a refused start leaves nothing behind");
        assert!(open("prod", InProduction::Accept).is_ok());
        assert!(open("staging", InProduction::Refuse).is_ok());
    }

    #[tokio::test]
    async fn a_blob_of_the_previous_key_still_opens_and_new_ones_use_the_current() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys");
        let before = open_in(folder.path());
        let (key, wrapped) = before.generate_data_key(&context()).await.unwrap();

        // The operator moves the current key to `previous` and puts a new one in its place.
        let rotated = std::fs::read_to_string(&path).unwrap().replace("current_key", "previous_key");
        std::fs::write(&path, format!("{rotated}current_key_id = 2\ncurrent_key = {}\n", "5a".repeat(32))).unwrap();
        let after = open_in(folder.path());

        assert_eq!(*after.decrypt(&context(), &wrapped).await.unwrap(), *key);
        let (_, rewrapped) = after.generate_data_key(&context()).await.unwrap();
        assert_eq!(Header::parse(&rewrapped.0).unwrap().parent_generation, 2);
        assert_eq!(reason(before.decrypt(&context(), &rewrapped).await), "incorrect_key");
    }

    #[tokio::test]
    async fn a_sealed_key_of_the_wrong_length_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let keys = open_in(folder.path());
        for length in [0, 16, 31, 33, 64] {
            let local = &keys.keys.current;
            let blob = seal(&SystemRandom, &local.key, local.id, 1, &place(&context()), &vec![7; length]);
            assert_eq!(reason(keys.decrypt(&context(), &WrappedDataKey(blob)).await), "wrong_length");
        }
    }

    #[test]
    fn the_debug_of_local_keys_holds_no_key() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(format!("{:?}", open_in(folder.path())), "LocalKeys { current_key_id: 1, .. }");
    }

    fn reason(answer: Result<DataKey, KeyError>) -> &'static str {
        match answer {
            Err(KeyError::Refused(fault)) => fault.reason,
            Err(KeyError::Unavailable(fault)) => panic!("unavailable: {fault}"),
            Ok(_) => panic!("it opened"),
        }
    }
}
