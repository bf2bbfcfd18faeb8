//! Identifiers, checked once where they enter. Inside, an id is an id.
//!
//! Byte-exact: no case folding, no Unicode normalisation, no trimming. Whatever is outside the alphabet is refused,
//! because every cleaning rule is a way to make two names one. `:` and `/` are in no alphabet, so that
//! `<tenant>/<user>:<platform>` parses one way only.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// Why a text is not an identifier. Never holds the text itself: it came from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// Nothing was given.
    #[error("must not be empty")]
    Empty,
    /// Longer than `max` bytes.
    #[error("must be at most {max} bytes")]
    TooLong {
        /// The bound, in bytes.
        max: usize,
    },
    /// A character outside the alphabet.
    #[error("may contain only {allowed}")]
    Alphabet {
        /// The alphabet, in words.
        allowed: &'static str,
    },
    /// A name the vault keeps for itself.
    #[error("is reserved")]
    Reserved,
}

macro_rules! identifier {
    ($(#[$doc:meta])* $name:ident, max $max:literal, $allowed:literal, first $first:expr, rest $rest:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The identifier as it was given.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }

            fn check(text: &str) -> Result<(), IdError> {
                let (first, rest): (fn(u8) -> bool, fn(u8) -> bool) = ($first, $rest);
                let mut bytes = text.bytes();
                let head = bytes.next().ok_or(IdError::Empty)?;
                if text.len() > $max {
                    return Err(IdError::TooLong { max: $max });
                }
                if first(head) && bytes.all(rest) {
                    Ok(())
                } else {
                    Err(IdError::Alphabet { allowed: $allowed })
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }
    };
}

macro_rules! from_text {
    ($name:ident) => {
        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                Self::check(text).map(|()| Self(text.into()))
            }
        }
    };
}

const fn is_user_byte(b: u8) -> bool {
    b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'@' | b'+' | b'|' | b'=' | b'~' | b'-')
}

const fn is_name_byte(b: u8) -> bool {
    b.is_ascii_lowercase() || b.is_ascii_digit()
}

identifier!(
    /// A user of the calling product.
    UserId, max 128, "A-Z a-z 0-9 . _ @ + | = ~ -", first is_user_byte, rest is_user_byte
);
identifier!(
    /// A third-party platform: the id of its profile.
    PlatformId, max 63, "a-z 0-9 _ - and must begin with a letter or digit",
    first is_name_byte, rest |b| is_name_byte(b) || matches!(b, b'_' | b'-')
);
identifier!(
    /// A tenant of this installation.
    TenantId, max 63, "a-z 0-9 - and must begin with a letter or digit",
    first is_name_byte, rest |b| is_name_byte(b) || b == b'-'
);
identifier!(
    /// A service that calls the vault.
    EngineId, max 63, "a-z 0-9 _ - and must begin with a letter or digit",
    first is_name_byte, rest |b| is_name_byte(b) || matches!(b, b'_' | b'-')
);
identifier!(
    /// The environment an installation belongs to, such as `prod`: bound into every sealed record.
    Environment, max 31, "a-z 0-9 - and must begin with a letter or digit",
    first is_name_byte, rest |b| is_name_byte(b) || b == b'-'
);
identifier!(
    /// One call, across all logs.
    RequestId, max 64, "A-Z a-z 0-9 . _ -",
    first |b| b.is_ascii_alphanumeric(), rest |b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-')
);
from_text!(PlatformId);
from_text!(EngineId);
from_text!(Environment);
from_text!(RequestId);

impl FromStr for UserId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        // Somewhere on the way something will clean up a path.
        if matches!(text, "." | "..") {
            return Err(IdError::Reserved);
        }
        Self::check(text).map(|()| Self(text.into()))
    }
}

/// The tenant that holds the installation's own keys. No caller can name it.
const SYSTEM_TENANT: &str = "system";

impl TenantId {
    /// The tenant of single-tenant installations.
    #[must_use]
    pub fn default_tenant() -> Self {
        Self("default".into())
    }

    /// The tenant that holds the installation's own keys.
    #[must_use]
    pub fn system() -> Self {
        Self(SYSTEM_TENANT.into())
    }
}

impl FromStr for TenantId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        if text == SYSTEM_TENANT {
            return Err(IdError::Reserved);
        }
        Self::check(text).map(|()| Self(text.into()))
    }
}

/// One connection: a user of a tenant at a platform.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ConnectionKey {
    /// The tenant the user belongs to.
    pub tenant: TenantId,
    /// The user.
    pub user: UserId,
    /// The platform the user connected.
    pub platform: PlatformId,
}

// === impl ConnectionKey ===

impl ConnectionKey {
    /// A number that is the same for this key on every instance, spread evenly: FNV-1a over the parts.
    ///
    /// For jitter only, where a collision costs nothing.
    #[must_use]
    pub fn stable_hash(&self) -> u64 {
        let parts = [self.tenant.as_str(), self.user.as_str(), self.platform.as_str()];
        parts
            .iter()
            .flat_map(|part| part.bytes().chain(std::iter::once(b':')))
            .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
    }
}

impl fmt::Display for ConnectionKey {
    /// `<user>:<platform>`, prefixed `<tenant>/` for every tenant but `default`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.tenant.as_str() != "default" {
            write!(f, "{}/", self.tenant)?;
        }
        write!(f, "{}:{}", self.user, self.platform)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identifier_keeps_every_byte_it_was_given() {
        assert_eq!("Ann@Example.com".parse::<UserId>().unwrap().as_str(), "Ann@Example.com");
        assert_ne!("Ann".parse::<UserId>(), "ann".parse::<UserId>());
    }

    #[test]
    fn hostile_identifiers_are_refused() {
        for text in
            ["", " ", ".", "..", "a b", "a:b", "a/b", "../x", "a\0b", "\u{202e}x", "аnn", "*", "a*", "{x}", "a\n"]
        {
            assert!(text.parse::<UserId>().is_err(), "`{text:?}` became a user id");
            assert!(text.parse::<PlatformId>().is_err(), "`{text:?}` became a platform id");
            assert!(text.parse::<TenantId>().is_err(), "`{text:?}` became a tenant id");
        }
        assert_eq!("x".repeat(129).parse::<UserId>(), Err(IdError::TooLong { max: 128 }));
        assert_eq!("Google".parse::<PlatformId>().ok(), None);
        assert_eq!("-x".parse::<TenantId>().ok(), None);
    }

    #[test]
    fn no_caller_can_name_the_system_tenant() {
        assert_eq!("system".parse::<TenantId>(), Err(IdError::Reserved));
    }

    #[test]
    fn the_default_tenant_is_silent_in_a_key() {
        let mut key = ConnectionKey {
            tenant: TenantId::default_tenant(),
            user: "u1".parse().unwrap(),
            platform: "gmail".parse().unwrap(),
        };
        assert_eq!(key.to_string(), "u1:gmail");
        key.tenant = "acme".parse().unwrap();
        assert_eq!(key.to_string(), "acme/u1:gmail");
    }
}
