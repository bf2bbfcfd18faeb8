//! What can go wrong on the way to Redis and back, without a word of what the server wrote.
//!
//! A server's error may quote the command it refused, and the command holds names and values. So the code, its first
//! word, is all that is kept of it. Faults of the connection come from this machine and are kept whole.

use redis::{ErrorKind, RedisError, ServerErrorKind};

use super::super::reason;
use crate::domain::ports::StoreError;

/// Why Redis did not do it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum RedisFault {
    /// There was no answer in time.
    #[error("redis did not answer in time")]
    Silence,
    /// The connection could not be made, or broke.
    #[error("the connection to redis failed")]
    Connection(#[source] RedisError),
    /// Connecting failed a moment ago, and was not tried again so soon.
    #[error("connecting to redis failed a moment ago")]
    JustFailed,
    /// The server does not accept the username and password.
    #[error("redis does not accept the username or password")]
    Credentials,
    /// The server said no.
    #[error("redis answered `{code}`")]
    Refused {
        /// The first word of its answer.
        code: String,
    },
    /// Another node of the cluster has the slot.
    #[error("another redis node has the slot")]
    Moved {
        /// Its address.
        to: String,
    },
    /// Another node of the cluster is about to have the slot, and has this key already, or would.
    #[error("another redis node is about to have the slot")]
    Ask {
        /// Its address.
        to: String,
    },
    /// No sentinel knows a primary of this name, or no node of the cluster one for this slot.
    #[error("no redis is known as the primary")]
    NoPrimary,
    /// Another server has taken over.
    #[error("another redis has taken over")]
    TakenOver,
    /// The answer is not one to the question.
    #[error("redis answered something that was not asked")]
    Unexpected,
}

// === impl RedisFault ===

impl RedisFault {
    /// The word for it in the store's vocabulary.
    pub(super) fn reason(&self) -> &'static str {
        match self {
            Self::Silence => reason::TIMEOUT,
            Self::Connection(_) | Self::JustFailed | Self::NoPrimary => reason::CONNECTION,
            Self::Credentials => reason::REFUSED,
            Self::Refused { code } => match code.as_str() {
                "OOM" => reason::FULL,
                "READONLY" => reason::READ_ONLY,
                "MISCONF" => reason::DISK,
                "LOADING" | "BUSY" | "TRYAGAIN" | "MASTERDOWN" | "CLUSTERDOWN" | "NOREPLICAS" => reason::BUSY,
                _ => reason::REFUSED,
            },
            Self::Moved { .. } | Self::Ask { .. } | Self::TakenOver => reason::BUSY,
            Self::Unexpected => reason::UNEXPECTED,
        }
    }

    /// Whether the server said that what is there is no hash, so not written by a vault.
    pub(super) fn is_wrong_type(&self) -> bool {
        matches!(self, Self::Refused { code } if code == "WRONGTYPE")
    }

    /// Whether another connection might fare better: this one broke, is out of step, is not logged in any more, or leads
    /// to a server that has become a replica.
    pub(super) fn spoils_the_connection(&self) -> bool {
        match self {
            Self::Connection(_) | Self::Credentials | Self::Unexpected => true,
            Self::Refused { code } => matches!(code.as_str(), "READONLY" | "NOAUTH" | "MASTERDOWN"),
            Self::Silence
            | Self::JustFailed
            | Self::Moved { .. }
            | Self::Ask { .. }
            | Self::NoPrimary
            | Self::TakenOver => false,
        }
    }
}

impl From<RedisError> for RedisFault {
    fn from(error: RedisError) -> Self {
        match error.kind() {
            ErrorKind::Io if error.is_timeout() => Self::Silence,
            ErrorKind::Io | ErrorKind::Client | ErrorKind::InvalidClientConfig => Self::Connection(error),
            ErrorKind::AuthenticationFailed => Self::Credentials,
            ErrorKind::Server(kind @ (ServerErrorKind::Moved | ServerErrorKind::Ask)) => {
                match error.redirect_node().map(|(to, _)| to.to_owned()) {
                    Some(to) if kind == ServerErrorKind::Moved => Self::Moved { to },
                    Some(to) => Self::Ask { to },
                    None => Self::Unexpected,
                }
            }
            ErrorKind::Server(ServerErrorKind::NoPerm) => Self::Refused { code: "NOPERM".to_owned() },
            _ => match error.code() {
                Some("WRONGPASS" | "NOAUTH") => Self::Credentials,
                Some(code) if is_code(code) => Self::Refused { code: code.to_owned() },
                Some(_) | None => Self::Unexpected,
            },
        }
    }
}

impl From<RedisFault> for StoreError {
    fn from(fault: RedisFault) -> Self {
        Self::caused_by(fault.reason(), fault)
    }
}

/// What a code looks like. Anything else in its place is somebody's data.
fn is_code(text: &str) -> bool {
    (1..=16).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_uppercase())
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    fn answered(code: &str, detail: &str) -> RedisFault {
        redis::make_extension_error(code.to_owned(), Some(detail.to_owned())).into()
    }

    #[test]
    fn nothing_the_server_quotes_is_kept() {
        let fault = answered("ERR", "unknown command, with args beginning with: `sealed-secret`");
        assert!(!format!("{fault:?} {fault}").contains("sealed-secret"));
        let fault = answered("sealed-secret", "");
        assert!(!format!("{fault:?} {fault}").contains("sealed-secret"));
    }

    #[test]
    fn each_kind_of_answer_has_its_word() {
        let words = [
            ("OOM", "full"),
            ("READONLY", "read_only"),
            ("LOADING", "busy"),
            ("MISCONF", "disk"),
            ("NOPERM", "refused"),
            ("WRONGPASS", "refused"),
            ("ERR", "refused"),
        ];
        for (code, word) in words {
            assert_eq!(answered(code, "").reason(), word, "{code}");
        }
        let timed_out = RedisError::from(io::Error::from(io::ErrorKind::TimedOut));
        assert_eq!(RedisFault::from(timed_out).reason(), "timeout");
        let broken = RedisError::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!(RedisFault::from(broken).reason(), "connection");
    }
}
