//! What can go wrong on the way to DynamoDB and back, without a word of what it wrote beyond a code.

use std::error::Error;

use aws_sdk_dynamodb::config::http::HttpResponse;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};

use super::super::reason;
use crate::domain::ports::StoreError;

/// Why DynamoDB did not do it.
#[derive(Debug, thiserror::Error)]
pub enum DynamoFault {
    /// There was no answer in time.
    #[error("dynamodb did not answer in time")]
    Silence,
    /// The connection could not be made, or broke.
    #[error("the connection to dynamodb failed")]
    Connection(#[source] Box<dyn Error + Send + Sync>),
    /// There is nothing to sign a call with, or it is to be had only later.
    #[error(
        "no call could be made to dynamodb, most often for want of credentials: give this process a role, or \
         `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`"
    )]
    Unsigned(#[source] Box<dyn Error + Send + Sync>),
    /// It does not know these credentials, or not any more.
    #[error(
        "dynamodb does not accept these credentials (`{code}`): check the role or the keys this process runs with, the \
         region, and the clock of this machine"
    )]
    Credentials {
        /// What it called it.
        code: String,
    },
    /// It knows the credentials, and they do not allow this.
    #[error(
        "dynamodb does not allow this with these credentials (`{code}`): allow DescribeTable, GetItem, Query, PutItem, \
         DeleteItem and BatchWriteItem on the table"
    )]
    Denied {
        /// What it called it.
        code: String,
    },
    /// There is no such table.
    #[error("dynamodb knows no such table: run `vault-engine migrate`")]
    NoTable,
    /// It has more to do than it can, or than this table may ask of it.
    #[error("dynamodb is too busy (`{code}`)")]
    Busy {
        /// What it called it.
        code: String,
    },
    /// It said no.
    #[error("dynamodb answered `{code}`")]
    Refused {
        /// What it called it.
        code: String,
    },
    /// The answer is not one to the question.
    #[error("dynamodb answered something that was not asked")]
    Unexpected,
}

// === impl DynamoFault ===

impl DynamoFault {
    /// The word for it in the store's vocabulary.
    pub(super) fn reason(&self) -> &'static str {
        match self {
            Self::Silence => reason::TIMEOUT,
            // A role's credentials come over the network too, and come back as it does.
            Self::Connection(_) | Self::Unsigned(_) => reason::CONNECTION,
            Self::Credentials { .. } | Self::Denied { .. } | Self::NoTable | Self::Refused { .. } => reason::REFUSED,
            Self::Busy { .. } => reason::BUSY,
            Self::Unexpected => reason::UNEXPECTED,
        }
    }

    /// Whether asking again can help.
    pub(super) fn passes(&self) -> bool {
        reason::is_transient(self.reason())
    }

    /// What an error of the service means.
    pub(super) fn answered(code: Option<&str>, status: u16) -> Self {
        let code = word(code);
        match code.as_str() {
            "AccessDeniedException" | "AccessDenied" => Self::Denied { code },
            "ExpiredTokenException"
            | "ExpiredToken"
            | "RequestExpired"
            | "UnrecognizedClientException"
            | "InvalidClientTokenId"
            | "InvalidSignatureException"
            | "SignatureDoesNotMatch"
            | "IncompleteSignature"
            | "IncompleteSignatureException"
            | "MissingAuthenticationToken"
            | "MissingAuthenticationTokenException" => Self::Credentials { code },
            "ResourceNotFoundException" => Self::NoTable,
            "ProvisionedThroughputExceededException"
            | "RequestLimitExceeded"
            | "ThrottlingException"
            | "ThrottlingError"
            | "Throttling"
            | "LimitExceededException"
            | "TransactionConflictException"
            | "TransactionConflict"
            | "TransactionInProgressException"
            | "ProvisionedThroughputExceeded"
            | "ReplicatedWriteConflictException"
            | "InternalServerError"
            | "InternalFailure"
            | "ServiceUnavailable" => Self::Busy { code },
            _ if status >= 500 => Self::Busy { code },
            _ if status < 400 => Self::Unexpected,
            _ => Self::Refused { code },
        }
    }
}

impl<E> From<SdkError<E, HttpResponse>> for DynamoFault
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
{
    fn from(error: SdkError<E, HttpResponse>) -> Self {
        match error {
            SdkError::ServiceError(failure) => Self::answered(failure.err().code(), failure.raw().status().as_u16()),
            SdkError::TimeoutError(_) => Self::Silence,
            SdkError::DispatchFailure(failure) if failure.is_timeout() => Self::Silence,
            unsent @ SdkError::DispatchFailure(_) => Self::Connection(source(unsent)),
            // An answer that was cut off is a connection that broke; one that is none at all looks the same.
            SdkError::ResponseError(failure) if failure.raw().status().as_u16() >= 500 => {
                Self::Busy { code: word(None) }
            }
            unsent @ SdkError::ConstructionFailure(_) => Self::Unsigned(source(unsent)),
            // The SDK may add kinds; what they mean is not known here.
            _ => Self::Unexpected,
        }
    }
}

impl From<DynamoFault> for StoreError {
    fn from(fault: DynamoFault) -> Self {
        Self::caused_by(fault.reason(), fault)
    }
}

/// What is underneath, where no answer came and so none can be in it.
fn source<E>(error: SdkError<E, HttpResponse>) -> Box<dyn Error + Send + Sync>
where
    E: Error + Send + Sync + 'static,
{
    error.into_source().unwrap_or_else(Into::into)
}

/// A code, fit for a log: short, and nothing but letters, digits and what joins them.
fn word(text: Option<&str>) -> String {
    let fits =
        |text: &&str| text.len() <= 64 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._#:".contains(&b));
    text.filter(fits).unwrap_or("unknown").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_answer_has_its_word() {
        let words = [
            ("ProvisionedThroughputExceededException", 400, "busy"),
            ("ThrottlingException", 400, "busy"),
            ("TransactionConflictException", 400, "busy"),
            ("InternalServerError", 500, "busy"),
            ("SomethingNew", 503, "busy"),
            ("SomethingNew", 400, "refused"),
            ("AccessDeniedException", 400, "refused"),
            ("UnrecognizedClientException", 400, "refused"),
            ("ResourceNotFoundException", 400, "refused"),
            ("ValidationException", 400, "refused"),
            ("", 200, "unexpected"),
        ];
        for (code, status, word) in words {
            assert_eq!(DynamoFault::answered(Some(code), status).reason(), word, "{code} {status}");
        }
    }

    #[test]
    fn nothing_but_a_code_is_kept_of_an_answer() {
        let fault = DynamoFault::answered(Some("somebody's sealed record"), 400);
        assert_eq!(fault.to_string(), "dynamodb answered `unknown`");
        assert_eq!(DynamoFault::answered(Some(&"a".repeat(65)), 400).to_string(), "dynamodb answered `unknown`");
    }

    #[test]
    fn what_an_operator_has_to_mend_says_how() {
        for (code, advice) in [
            ("ExpiredTokenException", "check the role"),
            ("AccessDeniedException", "allow DescribeTable"),
            ("ResourceNotFoundException", "vault-engine migrate"),
        ] {
            assert!(DynamoFault::answered(Some(code), 400).to_string().contains(advice), "{code}");
        }
    }
}
