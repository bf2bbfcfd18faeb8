//! What can go wrong on the way to PostgreSQL and back, without a word of what the server wrote.
//!
//! A server's error may quote the values it refused. So the code (SQLSTATE) is all that is kept of it. Faults of the
//! connection come from this machine and are kept whole.

use sqlx::Error;

use super::super::reason;
use crate::domain::ports::StoreError;

/// Why PostgreSQL did not do it.
#[derive(Debug, thiserror::Error)]
pub enum PostgresFault {
    /// There was no answer in time.
    #[error("postgres did not answer in time")]
    Silence,
    /// Every connection was in use for as long as a caller may wait for one.
    #[error("all connections to postgres are in use")]
    Busy,
    /// The connection could not be made, or broke.
    #[error("the connection to postgres failed")]
    Connection(#[source] Error),
    /// Connecting failed a moment ago, and was not tried again so soon.
    #[error("connecting to postgres failed a moment ago")]
    JustFailed,
    /// The server copies another one.
    #[error("postgres is a standby")]
    Standby,
    /// The server said no.
    #[error("postgres answered `{code}`{}", advice(code))]
    Refused {
        /// The SQLSTATE of its answer.
        code: String,
    },
    /// The answer is not one to the question.
    #[error("postgres answered something that was not asked")]
    Unexpected,
}

// === impl PostgresFault ===

impl PostgresFault {
    /// The word for it in the store's vocabulary.
    pub(super) fn reason(&self) -> &'static str {
        match self {
            Self::Silence => reason::TIMEOUT,
            Self::Busy => reason::BUSY,
            Self::Connection(_) | Self::JustFailed => reason::CONNECTION,
            Self::Standby => reason::READ_ONLY,
            Self::Refused { code } => reason_of(code),
            Self::Unexpected => reason::UNEXPECTED,
        }
    }

    /// Whether asking again cannot help until somebody changes something.
    pub(super) fn is_final(&self) -> bool {
        !reason::is_transient(self.reason())
    }

    /// Whether what happened to this connection has probably happened to the others too.
    pub(super) fn spoils_all(&self) -> bool {
        match self {
            Self::Silence | Self::Connection(_) | Self::Standby => true,
            Self::Refused { code } => matches!(reason_of(code), reason::CONNECTION | reason::READ_ONLY),
            Self::Busy | Self::JustFailed | Self::Unexpected => false,
        }
    }
}

impl From<Error> for PostgresFault {
    fn from(error: Error) -> Self {
        match error {
            Error::Io(_) | Error::Tls(_) | Error::Configuration(_) => Self::Connection(error),
            Error::Database(error) => match error.code() {
                Some(code) if is_code(&code) => Self::Refused { code: code.into_owned() },
                Some(_) | None => Self::Unexpected,
            },
            Error::PoolTimedOut => Self::Silence,
            _ => Self::Unexpected,
        }
    }
}

impl From<PostgresFault> for StoreError {
    fn from(fault: PostgresFault) -> Self {
        Self::caused_by(fault.reason(), fault)
    }
}

/// The classes of SQLSTATE, and the codes that differ from their class (PostgreSQL 15, appendix A).
fn reason_of(code: &str) -> &'static str {
    match code {
        // 55000: in recovery, some functions are not there.
        "25006" | "55000" => reason::READ_ONLY,
        "57014" | "55P03" => reason::TIMEOUT,
        "57P03" | "40001" | "40P01" => reason::BUSY,
        "53100" | "58030" => reason::DISK,
        "42501" => reason::REFUSED,
        _ => match code.get(..2) {
            Some("08" | "57") => reason::CONNECTION,
            Some("53") => reason::BUSY,
            Some("28" | "3D" | "3F" | "42" | "0A") => reason::REFUSED,
            _ => reason::UNEXPECTED,
        },
    }
}

fn advice(code: &str) -> &'static str {
    match code {
        "08P01" => ": a pooler on the way may not reach it, or not let this user or database through; see its log",
        "28P01" => ": it does not accept the username or the password",
        "28000" => ": it does not let this user in from here; see its pg_hba.conf",
        "3D000" => ": there is no such database",
        "42501" => ": this user has not the rights for it",
        "53300" => ": it has no connections left; raise its max_connections or lower those of the vaults",
        _ => "",
    }
}

/// What a code looks like. Anything else in its place is somebody's data.
fn is_code(text: &str) -> bool {
    text.len() == 5 && text.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    fn refused(code: &str) -> PostgresFault {
        PostgresFault::Refused { code: code.to_owned() }
    }

    #[test]
    fn each_kind_of_answer_has_its_word() {
        let words = [
            ("25006", "read_only"),
            ("57P01", "connection"),
            ("57P02", "connection"),
            ("57P03", "busy"),
            ("08006", "connection"),
            ("57014", "timeout"),
            ("40001", "busy"),
            ("53300", "busy"),
            ("53100", "disk"),
            ("58030", "disk"),
            ("28P01", "refused"),
            ("42501", "refused"),
            ("42P01", "refused"),
            ("22P02", "unexpected"),
        ];
        for (code, word) in words {
            assert_eq!(refused(code).reason(), word, "{code}");
        }
        let broken = Error::Io(io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!(PostgresFault::from(broken).reason(), "connection");
    }

    #[test]
    fn what_a_failover_answers_passes_by_itself() {
        for code in ["25006", "57P01", "57P02", "57P03", "08000", "08003", "08006", "08P01"] {
            assert!(!refused(code).is_final(), "{code}");
        }
        for code in ["28P01", "28000", "42501", "3D000"] {
            assert!(refused(code).is_final(), "{code}");
        }
    }

    #[test]
    fn a_refusal_says_what_to_look_at() {
        assert!(refused("28P01").to_string().contains("password"));
        assert!(refused("28000").to_string().contains("pg_hba.conf"));
    }
}
