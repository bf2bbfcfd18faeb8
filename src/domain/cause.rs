//! Why a refresh failed, in one closed vocabulary.

/// The cause of a failed or impossible refresh. The numbers are stored and never change meaning.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[repr(u32)]
pub enum Cause {
    /// The platform refused the grant and nothing says why.
    GrantRefused = 1,
    /// The user, or an administrator, took the consent back.
    UserRevoked = 2,
    /// The refresh token was not used for longer than the platform allows.
    IdleExpiry = 3,
    /// The grant reached the age beyond which no refresh extends it.
    AbsoluteExpiry = 4,
    /// The app is in testing mode, where grants live seven days.
    TestingMode7Days = 5,
    /// The platform dropped this token because the user has too many live ones.
    LiveTokenLimit = 6,
    /// The user's password was changed.
    PasswordChanged = 7,
    /// The organisation's session policy asks for a new sign-in.
    SessionControl = 8,
    /// The platform's answer to an earlier refresh never arrived, and the old token was consumed by it.
    LostAnswer = 9,
    /// The refresh token was used somewhere else before.
    Replayed = 10,
    /// The platform refuses this installation's client, not the user.
    AppMisconfigured = 11,
    /// The platform could not be reached or answered with a fault of its own.
    ProviderOutage = 12,
    /// The platform asked to slow down.
    Throttled = 13,
    /// The token expired and there is no refresh token.
    NotRefreshable = 14,
    /// The platform answered with something that is not a token response.
    MalformedAnswer = 15,
    /// The platform's address is not one this installation may call.
    AddressRefused = 16,
}

const ALL: [Cause; 16] = [
    Cause::GrantRefused,
    Cause::UserRevoked,
    Cause::IdleExpiry,
    Cause::AbsoluteExpiry,
    Cause::TestingMode7Days,
    Cause::LiveTokenLimit,
    Cause::PasswordChanged,
    Cause::SessionControl,
    Cause::LostAnswer,
    Cause::Replayed,
    Cause::AppMisconfigured,
    Cause::ProviderOutage,
    Cause::Throttled,
    Cause::NotRefreshable,
    Cause::MalformedAnswer,
    Cause::AddressRefused,
];

// === impl Cause ===

impl Cause {
    /// The word for it in answers, audit lines and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::GrantRefused => "grant_refused",
            Self::UserRevoked => "user_revoked",
            Self::IdleExpiry => "idle_expiry",
            Self::AbsoluteExpiry => "absolute_expiry",
            Self::TestingMode7Days => "testing_mode_7_days",
            Self::LiveTokenLimit => "live_token_limit",
            Self::PasswordChanged => "password_changed",
            Self::SessionControl => "session_control",
            Self::LostAnswer => "lost_answer",
            Self::Replayed => "replayed",
            Self::AppMisconfigured => "app_misconfigured",
            Self::ProviderOutage => "provider_outage",
            Self::Throttled => "throttled",
            Self::NotRefreshable => "not_refreshable",
            Self::MalformedAnswer => "malformed_answer",
            Self::AddressRefused => "address_refused",
        }
    }

    /// The cause this word stands for.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        ALL.into_iter().find(|cause| cause.as_str() == word)
    }

    /// The number under which it is stored.
    #[must_use]
    pub const fn code(self) -> u32 {
        self as u32
    }

    /// The cause stored under this number.
    #[must_use]
    pub fn from_code(code: u32) -> Option<Self> {
        ALL.into_iter().find(|cause| cause.code() == code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cause_comes_back_from_its_number_and_from_its_word() {
        for cause in ALL {
            assert_eq!(Cause::from_word(cause.as_str()), Some(cause));
            assert_eq!(Cause::from_code(cause.code()), Some(cause));
        }
        assert_eq!(Cause::from_code(0), None);
    }
}
