//! The key provider port: its promises, and who keeps them.
//!
//! Against AWS KMS each promise is put to an emulator that tells the truth about it (see `support/kms.rs`). What none
//! of them does (throttling, server errors, hanging) is in [`aws`], and the limits around any provider in [`guarded`].

#[cfg(feature = "aws")]
mod aws;
mod guarded;
mod promises;

use std::any::Any;
use std::path::Path;
use std::sync::Arc;

use vault_engine::adapters::keys::guarded::{Guarded, Limits};
use vault_engine::adapters::keys::local::{InProduction, LocalKeys};
use vault_engine::adapters::system::SystemRandom;
use vault_engine::domain::ports::{EncryptionContext, KeyError, KeyProvider};

#[path = "../support/faulty.rs"]
mod faulty;
#[cfg(feature = "aws")]
#[path = "../support/kms.rs"]
mod kms;

/// A provider under test.
struct Subject {
    keys: Box<dyn KeyProvider>,
    /// The same service with another key.
    stranger: Box<dyn KeyProvider>,
    /// How much of a blob is tried bit by bit: every one, or where each question costs a round trip, every n-th.
    bit_step: usize,
    /// What must outlive it: a folder, a server.
    _held: Box<dyn Any>,
}

/// Expands promises for one provider: each becomes a test of its own.
macro_rules! keeps {
    ($provider:ident, $subject:path: $($promise:ident),+ $(,)?) => {
        mod $provider {
            $(
                #[tokio::test]
                async fn $promise() {
                    super::promises::$promise(&$subject().await).await;
                }
            )+
        }
    };
}

keeps!(local, super::local_subject:
    what_was_generated_decrypts_to_the_same_key,
    what_is_wrapped_anew_is_the_same_key_in_the_same_place,
    another_context_is_refused,
    a_changed_bit_is_refused,
    another_length_is_refused,
    a_blob_of_another_key_is_refused,
    no_two_keys_are_equal,
    a_wrapped_key_is_small_enough_to_store,
    nothing_in_an_error_is_a_key,
);

keeps!(guarded_local, super::guarded_subject:
    what_was_generated_decrypts_to_the_same_key,
    what_is_wrapped_anew_is_the_same_key_in_the_same_place,
    another_context_is_refused,
    a_changed_bit_is_refused,
    another_length_is_refused,
    a_blob_of_another_key_is_refused,
    no_two_keys_are_equal,
    a_wrapped_key_is_small_enough_to_store,
    nothing_in_an_error_is_a_key,
);

// All of them: moto checks context and ciphertext. It says `AccessDeniedException` where AWS would say
// `IncorrectKeyException`; both are refusals.
#[cfg(feature = "aws")]
keeps!(aws_over_moto, super::moto_subject:
    what_was_generated_decrypts_to_the_same_key,
    what_is_wrapped_anew_is_the_same_key_in_the_same_place,
    another_context_is_refused,
    a_changed_bit_is_refused,
    another_length_is_refused,
    a_blob_of_another_key_is_refused,
    no_two_keys_are_equal,
    a_wrapped_key_is_small_enough_to_store,
    nothing_in_an_error_is_a_key,
);

// Not `a_changed_bit_is_refused` and `another_length_is_refused`: ministack opens what AWS would not. Not
// `a_blob_of_another_key_is_refused`: it opens that, too. It has no ReEncrypt. Key states are in [`aws`].
#[cfg(feature = "aws")]
keeps!(aws_over_ministack, super::ministack_subject:
    what_was_generated_decrypts_to_the_same_key,
    another_context_is_refused,
    no_two_keys_are_equal,
    a_wrapped_key_is_small_enough_to_store,
    nothing_in_an_error_is_a_key,
);

async fn local_subject() -> Subject {
    let folder = tempfile::tempdir().expect("a folder");
    let (keys, stranger) = (local_keys(&folder.path().join("ours")), local_keys(&folder.path().join("theirs")));
    Subject { keys: Box::new(keys), stranger: Box::new(stranger), bit_step: 1, _held: Box::new(folder) }
}

async fn guarded_subject() -> Subject {
    let folder = tempfile::tempdir().expect("a folder");
    let guarded = |name| {
        let limits = Limits { calls_per_second: 1_000_000, ..Limits::default() };
        Box::new(Guarded::new(local_keys(&folder.path().join(name)), limits))
    };
    Subject { keys: guarded("ours"), stranger: guarded("theirs"), bit_step: 1, _held: Box::new(folder) }
}

#[cfg(feature = "aws")]
async fn moto_subject() -> Subject {
    emulated_subject(kms::Emulator::Moto).await
}

#[cfg(feature = "aws")]
async fn ministack_subject() -> Subject {
    emulated_subject(kms::Emulator::Ministack).await
}

#[cfg(feature = "aws")]
async fn emulated_subject(emulator: kms::Emulator) -> Subject {
    let server = kms::KmsServer::shared(emulator).await;
    let (ours, theirs) = (server.create_key().await, server.create_key().await);
    let (keys, stranger) = (server.provider(&ours).await, server.provider(&theirs).await);
    // 7 shares no factor with 8, so that every place within a byte has its turn.
    Subject { keys: Box::new(keys), stranger: Box::new(stranger), bit_step: 7, _held: Box::new(server) }
}

fn local_keys(path: &Path) -> LocalKeys {
    let environment = "prod".parse().expect("an environment");
    LocalKeys::open(path, &environment, InProduction::Accept, Arc::new(SystemRandom)).expect("a key file can be made")
}

fn context(environment: &str, tenant: &str, generation: u32) -> EncryptionContext {
    EncryptionContext {
        environment: environment.parse().expect("an environment"),
        tenant: tenant.parse().expect("a tenant"),
        generation,
    }
}

/// Which side an answer fell on, and why.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    Ok,
    Refused(&'static str),
    Unavailable(&'static str),
}

fn answer<T>(result: Result<T, KeyError>) -> Answer {
    match result {
        Ok(_) => Answer::Ok,
        Err(KeyError::Refused(fault)) => Answer::Refused(fault.reason),
        Err(KeyError::Unavailable(fault)) => Answer::Unavailable(fault.reason),
    }
}
