//! When an access token expires, whatever the platform did or did not say.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::profile::ExpiryRule;
use super::time::Timestamp;

/// The life assumed for a token whose platform states none and whose profile knows none. "Not stated" never means
/// "never renewed": an assumption that is too short costs a refresh, one that is too long costs a failed call.
pub const ASSUMED_LIFETIME: Duration = Duration::from_secs(3_600);

/// What a platform said about the life of an access token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Stated {
    /// Nothing.
    #[default]
    Nothing,
    /// That it lives this long from the moment the request was sent.
    Lifetime(Duration),
    /// That it expires then.
    At(Timestamp),
}

/// Decides when a token expires: what was stated, else the profile's default, else the token's own `exp` claim
/// (RFC 7519 section 4.1.4), else [`ASSUMED_LIFETIME`]. `None`: it does not expire.
///
/// Lifetimes count from `sent_at`, because time spent on the network is not life.
#[must_use]
pub fn expiry(
    stated: Stated,
    rule: &ExpiryRule,
    access_token: &str,
    refreshable: bool,
    sent_at: Timestamp,
) -> Option<Timestamp> {
    if rule.never {
        return None;
    }
    known(stated, rule, access_token, sent_at)
        // Without a refresh token an assumption could only make a good token look expired.
        .or_else(|| refreshable.then(|| sent_at + ASSUMED_LIFETIME))
}

/// Whether [`expiry`] had nothing to go by and assumed [`ASSUMED_LIFETIME`].
#[must_use]
pub fn is_assumed(stated: Stated, rule: &ExpiryRule, access_token: &str, refreshable: bool) -> bool {
    refreshable && !rule.never && known(stated, rule, access_token, Timestamp::EPOCH).is_none()
}

fn known(stated: Stated, rule: &ExpiryRule, access_token: &str, sent_at: Timestamp) -> Option<Timestamp> {
    let stated = match stated {
        Stated::Lifetime(lifetime) => Some(sent_at + lifetime),
        Stated::At(at) => Some(at),
        Stated::Nothing => None,
    };
    stated
        .or_else(|| rule.default.map(|lifetime| sent_at + lifetime))
        .or_else(|| if rule.from_jwt { jwt_expiry(access_token) } else { None })
}

/// The `exp` claim of a JWT. The signature is not checked: the token came from its issuer over TLS, and a wrong claim
/// can only make us refresh too early or too late.
fn jwt_expiry(token: &str) -> Option<Timestamp> {
    #[derive(serde::Deserialize)]
    struct Claims {
        exp: f64,
    }
    let mut parts = token.split('.');
    let (_header, payload, _signature) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    let claims: Claims = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok()?;
    // Truncation is meant: NumericDate may have a fraction, and `as` saturates.
    #[expect(clippy::cast_possible_truncation, reason = "saturates, and the range is bounded by Timestamp")]
    Some(Timestamp::from_unix_seconds(claims.exp as i64))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SENT: Timestamp = Timestamp::from_unix_seconds(1_000);

    fn jwt(exp: &str) -> String {
        format!("e30.{}.sig", URL_SAFE_NO_PAD.encode(format!(r#"{{"exp":{exp}}}"#)))
    }

    fn decided(stated: Stated, rule: &ExpiryRule, token: &str, refreshable: bool) -> Option<i64> {
        expiry(stated, rule, token, refreshable, SENT).map(Timestamp::unix_seconds)
    }

    #[test]
    fn a_stated_lifetime_counts_from_the_time_of_sending() {
        let hour = Stated::Lifetime(Duration::from_secs(3_600));
        assert_eq!(decided(hour, &ExpiryRule::default(), "t", true), Some(4_600));
    }

    #[test]
    fn the_sources_are_asked_in_order() {
        let rule = ExpiryRule { default: Some(Duration::from_secs(60)), from_jwt: true, ..ExpiryRule::default() };
        let jwt_only = ExpiryRule { default: None, ..rule.clone() };
        let never = ExpiryRule { never: true, ..rule.clone() };
        assert_eq!(decided(Stated::At(Timestamp::from_unix_seconds(5)), &rule, &jwt("9000"), true), Some(5));
        assert_eq!(decided(Stated::Nothing, &rule, &jwt("9000"), true), Some(1_060));
        assert_eq!(decided(Stated::Nothing, &jwt_only, &jwt("9000.5"), true), Some(9_000));
        assert_eq!(decided(Stated::Nothing, &jwt_only, "opaque", true), Some(4_600));
        assert_eq!(decided(Stated::Nothing, &never, "opaque", true), None);
    }

    #[test]
    fn only_an_expiry_that_nothing_tells_is_assumed() {
        let assumed = |stated, rule: &ExpiryRule, token: &str| is_assumed(stated, rule, token, true);
        let bare = ExpiryRule::default();
        let jwt_only = ExpiryRule { from_jwt: true, ..ExpiryRule::default() };
        assert!(assumed(Stated::Nothing, &bare, "opaque"));
        assert!(assumed(Stated::Nothing, &jwt_only, "opaque"));
        assert!(!assumed(Stated::Nothing, &jwt_only, &jwt("9000")));
        assert!(!assumed(Stated::Lifetime(Duration::from_secs(1)), &bare, "opaque"));
        assert!(!assumed(Stated::Nothing, &ExpiryRule { default: Some(ASSUMED_LIFETIME), ..bare.clone() }, "opaque"));
        assert!(!assumed(Stated::Nothing, &ExpiryRule { never: true, ..bare.clone() }, "opaque"));
        assert!(!is_assumed(Stated::Nothing, &bare, "opaque", false));
    }

    #[test]
    fn without_a_statement_and_without_a_refresh_token_nothing_is_assumed() {
        assert_eq!(decided(Stated::Nothing, &ExpiryRule::default(), "t", false), None);
    }
}
