//! What a caller learns from a call: a refusal taken apart, and a record of everything that was seen.

use std::sync::Mutex;
use std::time::Duration;

use prost::Message as _;
use tonic::metadata::MetadataMap;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;
use vault_engine::pb::vault_v1::{CreateKeyResponse, GetTokenResponse, RotateKeyResponse};

/// A call that failed, as its caller sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) code: Code,
    pub(crate) message: String,
    /// The details as bytes, to be compared.
    pub(crate) details: Vec<u8>,
    /// `ErrorInfo.reason`.
    pub(crate) reason: String,
    /// `ErrorInfo.domain`.
    pub(crate) domain: String,
    pub(crate) error_code: String,
    pub(crate) suggested_action: String,
    pub(crate) cause: String,
    /// `RetryInfo.retry_delay`.
    pub(crate) retry_after: Option<Duration>,
    /// The fields `BadRequest` names.
    pub(crate) fields: Vec<String>,
    pub(crate) request_id: String,
}

/// Everything all callers have seen, but for the access tokens they may see.
#[derive(Default)]
pub(super) struct Witness(Mutex<Vec<u8>>);

// === impl Refused ===

impl Refused {
    /// What must be the same for whoever is nobody.
    pub(crate) fn face(&self) -> (Code, &str, &[u8]) {
        (self.code, &self.message, &self.details)
    }

    /// Code, `error_code` and `suggested_action`.
    pub(crate) fn told(&self) -> (Code, &str, &str) {
        (self.code, &self.error_code, &self.suggested_action)
    }
}

impl From<Status> for Refused {
    fn from(status: Status) -> Self {
        let details = status.get_error_details();
        let info = details.error_info();
        let fact = |name: &str| info.and_then(|info| info.metadata.get(name)).cloned().unwrap_or_default();
        Self {
            code: status.code(),
            message: status.message().to_owned(),
            details: status.details().to_vec(),
            reason: info.map(|info| info.reason.clone()).unwrap_or_default(),
            domain: info.map(|info| info.domain.clone()).unwrap_or_default(),
            error_code: fact("error_code"),
            suggested_action: fact("suggested_action"),
            cause: fact("cause"),
            retry_after: details.retry_info().and_then(|info| info.retry_delay),
            fields: details
                .bad_request()
                .map(|bad| bad.field_violations.iter().map(|violation| violation.field.clone()).collect())
                .unwrap_or_default(),
            request_id: request_id(status.metadata()),
        }
    }
}

// === impl Witness ===

impl Witness {
    /// Takes down an answer.
    pub(super) fn saw(&self, path: &str, metadata: &MetadataMap, body: &[u8]) {
        let mut body = body.to_vec();
        // The places where a secret may be, once.
        let secret = match path.rsplit('/').next().unwrap() {
            "GetToken" => GetTokenResponse::decode(&*body).unwrap().access_token,
            "CreateKey" => CreateKeyResponse::decode(&*body).unwrap().secret,
            "RotateKey" => RotateKeyResponse::decode(&*body).unwrap().secret,
            _ => String::new(),
        };
        if !secret.is_empty() {
            let at = body.windows(secret.len()).position(|window| window == secret.as_bytes()).unwrap();
            body.drain(at..at + secret.len());
        }
        self.take_down(&format!("{metadata:?}"), &body);
    }

    /// Takes down a refusal.
    pub(super) fn was_refused(&self, status: &Status) {
        self.take_down(&format!("{} {:?}", status.message(), status.metadata()), status.details());
    }

    /// Everything so far.
    pub(super) fn everything(&self) -> Vec<u8> {
        self.0.lock().unwrap().clone()
    }

    fn take_down(&self, text: &str, bytes: &[u8]) {
        let mut seen = self.0.lock().unwrap();
        seen.extend_from_slice(text.as_bytes());
        seen.extend_from_slice(bytes);
    }
}

/// The id a call was given.
pub(super) fn request_id(metadata: &MetadataMap) -> String {
    let id = metadata.get("x-request-id").map(|id| id.to_str().unwrap().to_owned());
    id.unwrap_or_default()
}
