//! What a refusal looks like on the wire: all of it, in one match.

use std::collections::BTreeMap;
use std::time::Duration;

use http::HeaderMap;
use prost::Message;
use prost_types::Any;
use tonic::{Code, Status};
use tonic_types::pb;

use crate::access::Refusal;
use crate::domain::error::VaultError;
use crate::domain::ports::KeyError;
use crate::domain::registry::RegistryError;
use crate::pb::vault_v1::ErrorReason;

const DOMAIN: &str = "vault-engine";
/// When to try again where nothing better is known.
const SOON: Duration = Duration::from_secs(1);

/// `google.rpc.ErrorInfo`, as `tonic_types` has it but for the order of its metadata: there it is random, and equal
/// refusals have to be equal to the byte.
#[derive(Clone, PartialEq, Message)]
struct ErrorInfo {
    #[prost(string, tag = "1")]
    reason: String,
    #[prost(string, tag = "2")]
    domain: String,
    #[prost(btree_map = "string, string", tag = "3")]
    metadata: BTreeMap<String, String>,
}

// === impl ErrorInfo ===

impl ErrorInfo {
    fn new(reason: ErrorReason, suggested_action: &str) -> Self {
        let metadata = BTreeMap::from([
            ("error_code".to_owned(), code_of(reason)),
            ("suggested_action".to_owned(), suggested_action.to_owned()),
        ]);
        Self { reason: reason.as_str_name().to_owned(), domain: DOMAIN.to_owned(), metadata }
    }
}

/// The status a refusal is answered with. It says what to do, and nothing about how things are inside.
pub(super) fn of(refusal: &Refusal) -> Status {
    let (code, reason, suggested_action) = face(refusal);
    let mut info = ErrorInfo::new(reason, suggested_action);
    if let Refusal::Failed(VaultError::ReauthRequired { cause } | VaultError::ProviderUnavailable { cause, .. }) =
        refusal
    {
        info.metadata.insert("cause".to_owned(), cause.as_str().to_owned());
    }
    let mut details = vec![detail("ErrorInfo", &info)];
    if let Some(retry_after) = retry_after(refusal) {
        let retry_delay = prost_types::Duration::try_from(retry_after).ok();
        details.push(detail("RetryInfo", &pb::RetryInfo { retry_delay }));
    }
    if let Refusal::Failed(VaultError::Invalid(invalid)) = refusal {
        let violation = pb::bad_request::FieldViolation {
            field: invalid.field.to_owned(),
            description: invalid.fault.to_string(),
            ..pb::bad_request::FieldViolation::default()
        };
        details.push(detail("BadRequest", &pb::BadRequest { field_violations: vec![violation] }));
    }
    if let Some(description) = quota(refusal) {
        let subject = "engine".to_owned();
        let violation = pb::quota_failure::Violation {
            subject,
            description: description.to_owned(),
            ..pb::quota_failure::Violation::default()
        };
        details.push(detail("QuotaFailure", &pb::QuotaFailure { violations: vec![violation] }));
    }
    with_details(code, message(refusal), details)
}

/// Which agreement was broken.
const fn quota(refusal: &Refusal) -> Option<&'static str> {
    match refusal {
        Refusal::RateLimited { .. } => Some("rate"),
        Refusal::UserQuota { .. } => Some("max_distinct_users_per_hour"),
        Refusal::Unauthenticated | Refusal::NotPermitted(_) | Refusal::Failed(_) => None,
    }
}

/// The words for a refusal where it is said of one item among others: `error_code` and `suggested_action`.
pub(super) fn words(refusal: &Refusal) -> (String, &'static str) {
    let (_, reason, suggested_action) = face(refusal);
    (code_of(reason), suggested_action)
}

/// Says in the words of the API that a request could not be read. tonic does so itself, before anybody is asked, as if
/// it were the server's fault or a page number; it is told by having no details, which every refusal of ours has.
pub(super) fn reword_unreadable(answer: &mut HeaderMap) {
    let Some(unread) = Status::from_header_map(answer).filter(|status| status.details().is_empty()) else { return };
    let (code, message) = match unread.code() {
        Code::Internal => (Code::InvalidArgument, "the request is not a message of this method"),
        Code::OutOfRange => (Code::ResourceExhausted, "the request is larger than any message of this API"),
        _ => return,
    };
    let info = ErrorInfo::new(ErrorReason::InvalidRequest, "fix_request");
    let reworded = with_details(code, message.to_owned(), vec![detail("ErrorInfo", &info)]);
    // What cannot be put into headers stays as tonic said it.
    drop(reworded.add_header(answer));
}

fn code_of(reason: ErrorReason) -> String {
    reason.as_str_name().to_ascii_lowercase()
}

fn with_details(code: Code, message: String, details: Vec<Any>) -> Status {
    let whole = pb::Status { code: code.into(), message: message.clone(), details };
    Status::with_details(code, message, whole.encode_to_vec().into())
}

/// One of the messages in `google/rpc/error_details.proto`.
fn detail(name: &str, message: &impl Message) -> Any {
    Any { type_url: format!("type.googleapis.com/google.rpc.{name}"), value: message.encode_to_vec() }
}

/// Status code, reason, and what the caller should do.
const fn face(refusal: &Refusal) -> (Code, ErrorReason, &'static str) {
    use ErrorReason as R;
    let error = match refusal {
        Refusal::Unauthenticated => return (Code::Unauthenticated, R::InvalidCredentials, "fix_credentials"),
        Refusal::NotPermitted(_) => return (Code::PermissionDenied, R::NotPermitted, "contact_operator"),
        Refusal::RateLimited { .. } => return (Code::ResourceExhausted, R::RateLimited, "retry"),
        Refusal::UserQuota { .. } => return (Code::ResourceExhausted, R::UserQuotaExceeded, "contact_operator"),
        Refusal::Failed(error) => error,
    };
    match error {
        VaultError::Invalid(_) => (Code::InvalidArgument, R::InvalidRequest, "fix_request"),
        VaultError::Missing => (Code::NotFound, R::TokenMissing, "connect"),
        VaultError::ReauthRequired { .. } => (Code::FailedPrecondition, R::ExpiredToken, "reauth"),
        VaultError::AppMisconfigured => (Code::FailedPrecondition, R::AppMisconfigured, "contact_operator"),
        VaultError::ProviderUnavailable { .. } => (Code::Unavailable, R::ProviderUnavailable, "retry"),
        VaultError::Contended { .. } => (Code::Unavailable, R::RefreshContended, "retry"),
        VaultError::TooManyWaiters { .. } => (Code::ResourceExhausted, R::TooManyWaiters, "retry"),
        VaultError::TooManyStreams => (Code::ResourceExhausted, R::TooManyStreams, "retry"),
        VaultError::SlowReader => (Code::ResourceExhausted, R::SlowReader, "retry"),
        VaultError::Stopping => (Code::Unavailable, R::Stopping, "retry"),
        VaultError::WriteContended => (Code::Aborted, R::WriteContended, "retry"),
        VaultError::Store(_) | VaultError::Outbox(_) => (Code::Unavailable, R::StoreUnavailable, "retry"),
        VaultError::Keys(KeyError::Unavailable(_)) => (Code::Unavailable, R::KeysUnavailable, "retry"),
        VaultError::Keys(KeyError::Refused(_)) => (Code::FailedPrecondition, R::KeysRefused, "contact_operator"),
        VaultError::Audit(_) => (Code::Unavailable, R::AuditUnavailable, "retry"),
        VaultError::Corrupt(_) => (Code::DataLoss, R::RecordCorrupt, "contact_operator"),
        VaultError::Registry(error) => of_registry(*error),
        VaultError::Internal(_) => (Code::Internal, R::Internal, "contact_operator"),
    }
}

const fn of_registry(error: RegistryError) -> (Code, ErrorReason, &'static str) {
    use ErrorReason as R;
    match error {
        RegistryError::NotFound(_) => (Code::NotFound, R::NotFound, "fix_request"),
        RegistryError::AlreadyExists(_) => (Code::AlreadyExists, R::AlreadyExists, "fix_request"),
        RegistryError::Changed => (Code::Aborted, R::EtagMismatch, "fix_request"),
        RegistryError::TooManyKeys => (Code::FailedPrecondition, R::TooManyKeys, "fix_request"),
        RegistryError::KeyEnded => (Code::FailedPrecondition, R::KeyEnded, "fix_request"),
        RegistryError::ForeignTenants => (Code::InvalidArgument, R::InvalidRequest, "fix_request"),
        RegistryError::BeyondOwn => (Code::PermissionDenied, R::NotPermitted, "contact_operator"),
        RegistryError::Full => (Code::ResourceExhausted, R::RegistryFull, "contact_operator"),
        RegistryError::Off => (Code::FailedPrecondition, R::RegistryOff, "contact_operator"),
    }
}

/// When to try again, where trying again makes sense.
const fn retry_after(refusal: &Refusal) -> Option<Duration> {
    let error = match refusal {
        Refusal::RateLimited { retry_after } | Refusal::UserQuota { retry_after } => return Some(*retry_after),
        Refusal::Unauthenticated | Refusal::NotPermitted(_) => return None,
        Refusal::Failed(error) => error,
    };
    match error {
        VaultError::ProviderUnavailable { retry_after, .. }
        | VaultError::Contended { retry_after }
        | VaultError::TooManyWaiters { retry_after } => Some(*retry_after),
        VaultError::TooManyStreams
        | VaultError::SlowReader
        | VaultError::Stopping
        | VaultError::WriteContended
        | VaultError::Store(_)
        | VaultError::Outbox(_)
        | VaultError::Keys(KeyError::Unavailable(_))
        | VaultError::Audit(_) => Some(SOON),
        VaultError::Invalid(_)
        | VaultError::Missing
        | VaultError::ReauthRequired { .. }
        | VaultError::AppMisconfigured
        | VaultError::Keys(KeyError::Refused(_))
        | VaultError::Corrupt(_)
        | VaultError::Registry(_)
        | VaultError::Internal(_) => None,
    }
}

/// The fixed sentence of each kind. What is underneath goes to the log and not to the caller.
fn message(refusal: &Refusal) -> String {
    match refusal {
        Refusal::Failed(VaultError::Internal(_)) => "internal fault".to_owned(),
        Refusal::Unauthenticated
        | Refusal::NotPermitted(_)
        | Refusal::RateLimited { .. }
        | Refusal::UserQuota { .. }
        | Refusal::Failed(_) => refusal.to_string(),
    }
}
