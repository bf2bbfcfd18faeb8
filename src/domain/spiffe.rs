//! The names of workloads in SPIFFE: `spiffe://<trust domain>/<path>`.
//!
//! Byte-exact like every other identifier here: what the specification lets a reader fold, clean or decode is refused, so
//! that one workload has one name.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::id::IdError;

/// Who issues names: `prod.example` of `spiffe://prod.example/ns/sync`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TrustDomain(Arc<str>);

/// A workload.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpiffeId(Arc<str>);

const SCHEME: &str = "spiffe://";
/// The specification's own bounds.
const MAX_DOMAIN: usize = 255;
const MAX_ID: usize = 2_048;

// === impl TrustDomain ===

impl TrustDomain {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn check(text: &str) -> Result<(), IdError> {
        if text.is_empty() {
            return Err(IdError::Empty);
        }
        if text.len() > MAX_DOMAIN {
            return Err(IdError::TooLong { max: MAX_DOMAIN });
        }
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'_');
        if text.bytes().all(plain) { Ok(()) } else { Err(IdError::Alphabet { allowed: "a-z 0-9 . - _" }) }
    }
}

impl FromStr for TrustDomain {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        Self::check(text).map(|()| Self(text.into()))
    }
}

impl Borrow<str> for TrustDomain {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

// === impl SpiffeId ===

impl SpiffeId {
    /// The whole name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Who issues it.
    #[must_use]
    pub fn trust_domain(&self) -> &str {
        let rest = self.0.strip_prefix(SCHEME).unwrap_or_default();
        rest.split_once('/').map_or(rest, |(domain, _)| domain)
    }
}

impl FromStr for SpiffeId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        const SHAPE: IdError = IdError::Alphabet {
            allowed: "`spiffe://`, a trust domain and a path of names made of A-Z a-z 0-9 . - _, without a `/` at its end",
        };
        if text.is_empty() {
            return Err(IdError::Empty);
        }
        if text.len() > MAX_ID {
            return Err(IdError::TooLong { max: MAX_ID });
        }
        // A name without a path is the trust domain's own, and no workload's.
        let (domain, path) = text.strip_prefix(SCHEME).and_then(|rest| rest.split_once('/')).ok_or(SHAPE)?;
        TrustDomain::check(domain).map_err(|_| SHAPE)?;
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
        let named = |part: &str| !matches!(part, "" | "." | "..") && part.bytes().all(plain);
        if path.split('/').all(named) { Ok(Self(text.into())) } else { Err(SHAPE) }
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workload_has_a_trust_domain_and_a_path() {
        let id: SpiffeId = "spiffe://prod.example/ns/sync/sa/Engine_1".parse().unwrap();
        assert_eq!((id.as_str(), id.trust_domain()), ("spiffe://prod.example/ns/sync/sa/Engine_1", "prod.example"));
    }

    #[test]
    fn whatever_could_be_read_in_two_ways_is_refused() {
        let long = format!("spiffe://a/{}", "x".repeat(MAX_ID));
        for odd in [
            "",
            "spiffe://",
            "spiffe:///a",
            "spiffe://prod.example",
            "spiffe://prod.example/",
            "spiffe://prod.example/a/",
            "spiffe://prod.example//a",
            "spiffe://prod.example/a/../b",
            "spiffe://prod.example/./a",
            "spiffe://prod.example/%61",
            "spiffe://prod.example/a b",
            "spiffe://prod.example/a?b=c",
            "spiffe://prod.example/a#b",
            "spiffe://prod.example:443/a",
            "spiffe://user@prod.example/a",
            "spiffe://Prod.example/a",
            "SPIFFE://prod.example/a",
            "https://prod.example/a",
            "spiffe://prod.example/ä",
            "spiffe://prod.example/a\0",
            &long,
        ] {
            assert!(odd.parse::<SpiffeId>().is_err(), "{odd}");
        }
    }

    #[test]
    fn a_trust_domain_is_a_plain_name() {
        assert!("prod-1.example_x".parse::<TrustDomain>().is_ok());
        for odd in ["", "Prod", "a/b", "a:1", "a b", &"x".repeat(256)] {
            assert!(odd.parse::<TrustDomain>().is_err(), "{odd}");
        }
    }
}
