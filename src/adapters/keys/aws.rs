//! AWS KMS: the only file that knows its client. Rate limit and circuit breaker are [`super::guarded`]'s; what is
//! cached and for how long is the key ring's.
//!
//! Every call names the key and the encryption context `{svc, env, tenant, gen}`, which KMS checks byte for byte. The
//! context stands in clear in the trail AWS keeps of every call, so there is no user in it.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, ConfigLoader, Region};
use aws_sdk_kms::Client;
use aws_sdk_kms::config::ProvideCredentials;
use aws_sdk_kms::config::http::HttpResponse;
use aws_sdk_kms::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_kms::operation::RequestId;
use aws_sdk_kms::primitives::Blob;
use aws_sdk_kms::types::DataKeySpec;
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use zeroize::Zeroizing;

use crate::domain::ports::{DataKey, EncryptionContext, KeyError, KeyFault, KeyProvider, WrappedDataKey};

/// Where the key is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AwsKmsSettings {
    /// The key: an id, an ARN or an alias. Symmetric, for encryption and decryption.
    pub key_id: String,
    /// Keys that may have wrapped what is opened, beside that one.
    pub other_key_ids: Vec<String>,
    /// The region; `None` asks the environment, the profile and the instance, in AWS's usual order.
    pub region: Option<String>,
    /// Another endpoint than the region's own, such as a VPC endpoint.
    pub endpoint: Option<String>,
}

/// A key in AWS KMS.
pub struct AwsKms {
    client: Client,
    key_id: String,
    other_key_ids: Vec<String>,
}

/// Why AWS KMS cannot be used at all.
#[derive(Debug, thiserror::Error)]
pub enum AwsKmsError {
    /// Nobody says in which region the key is.
    #[error("no AWS region is set: set `kms.aws.region` or `AWS_REGION`")]
    NoRegion,
}

/// What KMS answered, for the log: enough to find the call in the trail AWS keeps, and nothing of the answer's body, which may
/// hold a key.
#[derive(Debug)]
struct Answer {
    code: String,
    status: u16,
    request_id: String,
}

/// The SDK pins a client's defaults to a date; a newer one is taken on purpose and not by an update.
fn behavior_version() -> BehaviorVersion {
    BehaviorVersion::v2026_01_12()
}

// === impl AwsKms ===

impl AwsKms {
    /// Finds region and credentials, in AWS's usual order. Asks nothing of KMS yet.
    ///
    /// # Errors
    ///
    /// [`AwsKmsError`], when no call could ever succeed.
    pub async fn connect(settings: AwsKmsSettings) -> Result<Self, AwsKmsError> {
        Self::load(settings, aws_config::defaults(behavior_version())).await
    }

    /// As [`AwsKms::connect`], with these credentials and no others.
    ///
    /// # Errors
    ///
    /// As for [`AwsKms::connect`].
    pub async fn connect_as(
        settings: AwsKmsSettings,
        credentials: impl ProvideCredentials + 'static,
    ) -> Result<Self, AwsKmsError> {
        let loader = aws_config::defaults(behavior_version()).credentials_provider(credentials);
        Self::load(settings, loader).await
    }

    /// Naming the key is not needed to decrypt; without it, any key this identity may use would do.
    async fn decrypt_with(
        &self,
        key_id: &str,
        context: &EncryptionContext,
        wrapped: &WrappedDataKey,
    ) -> Result<DataKey, KeyError> {
        let request = self.client.decrypt().key_id(key_id).ciphertext_blob(Blob::new(wrapped.0.clone()));
        let request = pairs(context).into_iter().fold(request, |r, (name, value)| r.encryption_context(name, value));
        data_key(request.send().await.map_err(key_error)?.plaintext)
    }

    async fn load(settings: AwsKmsSettings, loader: ConfigLoader) -> Result<Self, AwsKmsError> {
        // The SDK's own client obeys `HTTP(S)_PROXY`, and then whoever sets a variable stands between us and KMS. One
        // that is built by hand has no proxy.
        let http =
            aws_smithy_http_client::Builder::new().tls_provider(Provider::Rustls(CryptoMode::AwsLc)).build_https();
        // The operation's limit is shorter than the three attempts together: it is the promise, they are the hope.
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(Duration::from_secs(1))
            .read_timeout(Duration::from_secs(2))
            .operation_attempt_timeout(Duration::from_secs(3))
            .operation_timeout(Duration::from_secs(8))
            .build();
        let retries = RetryConfig::standard().with_max_attempts(3).with_initial_backoff(Duration::from_millis(200));
        let mut loader = loader.http_client(http).timeout_config(timeouts).retry_config(retries);
        if let Some(region) = settings.region {
            loader = loader.region(Region::new(region));
        }
        if let Some(endpoint) = settings.endpoint {
            loader = loader.endpoint_url(endpoint);
        }
        let config = loader.load().await;
        if config.region().is_none() {
            return Err(AwsKmsError::NoRegion);
        }
        let AwsKmsSettings { key_id, other_key_ids, .. } = settings;
        Ok(Self { client: Client::new(&config), key_id, other_key_ids })
    }
}

#[async_trait]
impl KeyProvider for AwsKms {
    async fn generate_data_key(&self, context: &EncryptionContext) -> Result<(DataKey, WrappedDataKey), KeyError> {
        let request = self.client.generate_data_key().key_id(&self.key_id).key_spec(DataKeySpec::Aes256);
        let request = pairs(context).into_iter().fold(request, |r, (name, value)| r.encryption_context(name, value));
        let answer = request.send().await.map_err(key_error)?;
        let key = data_key(answer.plaintext)?;
        let wrapped = WrappedDataKey(answer.ciphertext_blob.ok_or_else(unreadable)?.into_inner());
        check_size(&wrapped)?;
        Ok((key, wrapped))
    }

    async fn decrypt(&self, context: &EncryptionContext, wrapped: &WrappedDataKey) -> Result<DataKey, KeyError> {
        check_size(wrapped)?;
        let first = self.decrypt_with(&self.key_id, context, wrapped).await;
        if !matches!(first, Err(KeyError::Refused(_))) {
            return first;
        }
        for other in &self.other_key_ids {
            match self.decrypt_with(other, context, wrapped).await {
                Err(KeyError::Refused(_)) => {}
                answer => return answer,
            }
        }
        first
    }

    async fn reencrypt(
        &self,
        context: &EncryptionContext,
        wrapped: &WrappedDataKey,
    ) -> Result<WrappedDataKey, KeyError> {
        check_size(wrapped)?;
        // The blob itself says which key it is under; the key in the clear does not leave KMS.
        let request = self.client.re_encrypt().destination_key_id(&self.key_id);
        let request = request.ciphertext_blob(Blob::new(wrapped.0.clone()));
        let request = pairs(context).into_iter().fold(request, |request, (name, value)| {
            request.source_encryption_context(name, value.clone()).destination_encryption_context(name, value)
        });
        let answer = request.send().await.map_err(key_error)?;
        let wrapped = WrappedDataKey(answer.ciphertext_blob.ok_or_else(unreadable)?.into_inner());
        check_size(&wrapped)?;
        Ok(wrapped)
    }

    fn kind(&self) -> &'static str {
        "aws"
    }
}

impl fmt::Debug for AwsKms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AwsKms").field("key_id", &self.key_id).finish_non_exhaustive()
    }
}

// === impl Answer ===

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "kms answered `{}` (status {}, request `{}`)", self.code, self.status, self.request_id)
    }
}

impl Error for Answer {}

/// The encryption context. Part of the stored format: a pair added or renamed makes every blob unopenable.
fn pairs(context: &EncryptionContext) -> [(&'static str, String); 4] {
    [
        ("svc", "vault-engine".to_owned()),
        ("env", context.environment.as_str().to_owned()),
        ("tenant", context.tenant.as_str().to_owned()),
        ("gen", context.generation.to_string()),
    ]
}

/// Takes the key out of the SDK's buffer, which is not wiped by itself.
fn data_key(plaintext: Option<Blob>) -> Result<DataKey, KeyError> {
    let plaintext = Zeroizing::new(plaintext.ok_or_else(unreadable)?.into_inner());
    let mut key = Zeroizing::new([0; 32]);
    if plaintext.len() != key.len() {
        return Err(KeyError::Refused(KeyFault::new("wrong_length")));
    }
    key.copy_from_slice(&plaintext);
    Ok(key)
}

/// What came is no answer of KMS: somebody else gave it, or it was cut off. It may hold a data key, so nothing of it is
/// kept.
fn unreadable() -> KeyError {
    KeyError::Unavailable(KeyFault::new("unreadable_answer"))
}

fn check_size(wrapped: &WrappedDataKey) -> Result<(), KeyError> {
    match wrapped.0.len() {
        1..=WrappedDataKey::MAX_BYTES => Ok(()),
        _ => Err(KeyError::Refused(KeyFault::new("wrapped_size"))),
    }
}

/// Which failures are KMS's definitive no, and which only say that it cannot answer now.
///
/// A definitive no throws away every cached key below it. So a failure nobody foresaw is taken for the other kind: at
/// worst this process goes on for the cache's hard limit with keys it holds anyway and can unwrap nothing new, whereas
/// a wrong no would stop every tenant at once, for a fault that is not about their keys. The same goes for what is wrong
/// with *us* (expired credentials, a clock that is off): it is mended by mending us.
///
/// A custom key store that is not connected also answers `KMSInvalidStateException`; it cannot be told from a key that
/// is pending deletion but by its message, and is taken for that.
fn key_error<E>(error: SdkError<E, HttpResponse>) -> KeyError
where
    E: ProvideErrorMetadata + RequestId + Error + Send + Sync + 'static,
{
    use KeyError::{Refused, Unavailable};

    match error {
        SdkError::ServiceError(failure) => {
            let answer = Answer {
                code: word(failure.err().code()),
                status: failure.raw().status().as_u16(),
                request_id: word(failure.err().request_id()),
            };
            let (verdict, reason): (fn(KeyFault) -> KeyError, _) = match answer.code.as_str() {
                "DisabledException" => (Refused, "disabled"),
                "AccessDeniedException" => (Refused, "access_denied"),
                "KMSInvalidStateException" => (Refused, "invalid_state"),
                "NotFoundException" => (Refused, "not_found"),
                "InvalidCiphertextException" => (Refused, "invalid_ciphertext"),
                "IncorrectKeyException" => (Refused, "incorrect_key"),
                "InvalidKeyUsageException" => (Refused, "invalid_key_usage"),
                "KeyUnavailableException" => (Unavailable, "key_unavailable"),
                "DependencyTimeoutException" => (Unavailable, "dependency_timeout"),
                "KMSInternalException" | "InternalFailure" | "InternalError" => (Unavailable, "internal"),
                "ThrottlingException"
                | "Throttling"
                | "LimitExceededException"
                | "RequestLimitExceeded"
                | "TooManyRequestsException" => (Unavailable, "throttled"),
                "ExpiredTokenException"
                | "ExpiredToken"
                | "RequestExpired"
                | "UnrecognizedClientException"
                | "InvalidClientTokenId"
                | "InvalidSignatureException"
                | "SignatureDoesNotMatch"
                | "IncompleteSignature"
                | "MissingAuthenticationToken" => (Unavailable, "credentials"),
                _ if answer.status >= 500 => (Unavailable, "internal"),
                _ if answer.status < 400 => (Unavailable, "unreadable_answer"),
                _ => (Unavailable, "unknown_answer"),
            };
            verdict(KeyFault::caused_by(reason, answer))
        }
        SdkError::ResponseError(_) => unreadable(),
        SdkError::TimeoutError(_) => Unavailable(KeyFault::new("timeout")),
        SdkError::DispatchFailure(failure) if failure.is_timeout() => Unavailable(KeyFault::new("timeout")),
        unsent @ SdkError::DispatchFailure(_) => Unavailable(caused_by("connection", unsent)),
        // Most often: no credentials could be had.
        unsent @ SdkError::ConstructionFailure(_) => Unavailable(caused_by("not_sent", unsent)),
        // The SDK may add kinds; what they mean is not known here.
        _ => Unavailable(KeyFault::new("unknown")),
    }
}

/// A fault with what caused it, where no answer came and so none can be in the cause.
fn caused_by<E>(reason: &'static str, error: SdkError<E, HttpResponse>) -> KeyFault
where
    E: Error + Send + Sync + 'static,
{
    KeyFault { reason, source: error.into_source().ok().map(Into::into) }
}

/// A word from outside, fit for a log: short, and nothing but letters, digits and what joins them.
fn word(text: Option<&str>) -> String {
    let fits =
        |text: &&str| text.len() <= 64 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._#:".contains(&b));
    text.filter(fits).unwrap_or("unknown").to_owned()
}
