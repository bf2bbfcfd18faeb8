//! Whether a token is still good enough: one pure decision.

use std::time::Duration;

use super::connection::Grant;
use super::id::ConnectionKey;
use super::time::Timestamp;

/// How good an access token is right now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// Hand it out.
    Fresh,
    /// Hand it out and renew it in the background.
    Stale,
    /// Still valid, but for less than the caller asked for: wait for the renewal, fall back on this one.
    TooShort,
    /// Do not hand it out.
    Expired,
}

/// Clocks of a platform and ours may differ by this much, so a token is treated as expired this much earlier.
pub const CLOCK_SKEW: Duration = Duration::from_secs(30);

/// Judges a token at `now`.
///
/// `margin` is the profile's; it never takes more than half of the token's life, so that a short-lived token is not
/// renewed at every call, and it is spread by up to a fifth per connection, so that a million tokens do not fall due in
/// one second. `min_ttl` is the caller's wish, honoured up to four fifths of the token's life for the same reason.
#[must_use]
pub fn judge(grant: &Grant, key: &ConnectionKey, margin: Duration, min_ttl: Duration, now: Timestamp) -> Freshness {
    let Some(expires_at) = grant.expires_at else {
        return Freshness::Fresh;
    };
    let lifetime = expires_at.since(grant.issued_at);
    let remaining = expires_at.since(now);
    if remaining <= tolerance(lifetime) {
        Freshness::Expired
    } else if remaining <= min_ttl.min(lifetime / 5 * 4) {
        Freshness::TooShort
    } else if remaining <= spread(margin.min(lifetime / 2), key) {
        Freshness::Stale
    } else {
        Freshness::Fresh
    }
}

/// When [`judge`] begins to find a token stale; `None`: never.
#[must_use]
pub fn stale_at(grant: &Grant, key: &ConnectionKey, margin: Duration) -> Option<Timestamp> {
    let expires_at = grant.expires_at?;
    Some(expires_at - spread(margin.min(expires_at.since(grant.issued_at) / 2), key))
}

/// When [`judge`] begins to find a token expired; `None`: never.
#[must_use]
pub fn expired_at(grant: &Grant) -> Option<Timestamp> {
    let expires_at = grant.expires_at?;
    Some(expires_at - tolerance(expires_at.since(grant.issued_at)))
}

/// A token that never lived longer than the tolerance would otherwise be born expired.
fn tolerance(lifetime: Duration) -> Duration {
    CLOCK_SKEW.min(lifetime / 10)
}

/// Between four fifths and the whole of `margin`, always the same for one connection.
pub(super) fn spread(margin: Duration, key: &ConnectionKey) -> Duration {
    let part = u32::try_from(key.stable_hash() % 1_000).unwrap_or(0);
    margin / 5 * 4 + margin / 5 * part / 1_000
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::connection::OriginFingerprint;
    use crate::domain::secret::AccessToken;

    fn grant(issued: i64, expires: Option<i64>) -> Grant {
        Grant {
            access: AccessToken::new("a".into()).unwrap(),
            refresh: None,
            previous_refresh: None,
            expires_at: expires.map(Timestamp::from_unix_seconds),
            issued_at: Timestamp::from_unix_seconds(issued),
            scopes: Vec::new(),
            token_type: None,
            refresh_expires_at: None,
            origin: OriginFingerprint::default(),
        }
    }

    fn judged(grant: &Grant, min_ttl: u64, now: i64) -> Freshness {
        let key =
            ConnectionKey { tenant: "t".parse().unwrap(), user: "u".parse().unwrap(), platform: "p".parse().unwrap() };
        let margin = Duration::from_secs(300);
        judge(grant, &key, margin, Duration::from_secs(min_ttl), Timestamp::from_unix_seconds(now))
    }

    #[test]
    fn the_four_answers_of_an_hour_long_token() {
        let hour = grant(0, Some(3_600));
        assert_eq!(judged(&hour, 0, 3_200), Freshness::Fresh);
        assert_eq!(judged(&hour, 0, 3_400), Freshness::Stale);
        assert_eq!(judged(&hour, 600, 3_200), Freshness::TooShort);
        assert_eq!(judged(&hour, 0, 3_570), Freshness::Expired);
        assert_eq!(judged(&hour, 0, 9_999), Freshness::Expired);
    }

    #[test]
    fn a_short_lived_token_is_not_renewed_at_every_call() {
        let minute = grant(0, Some(60));
        assert_eq!(judged(&minute, 0, 0), Freshness::Fresh);
        assert_eq!(judged(&minute, 0, 29), Freshness::Fresh);
        assert_eq!(judged(&minute, 0, 40), Freshness::Stale);
        assert_eq!(judged(&minute, 0, 54), Freshness::Expired);
    }

    #[test]
    fn no_wish_of_a_caller_can_make_a_new_token_too_short() {
        assert_eq!(judged(&grant(0, Some(3_600)), 86_400, 1), Freshness::Fresh);
        assert_eq!(judged(&grant(0, Some(3_600)), 86_400, 721), Freshness::TooShort);
    }

    #[test]
    fn the_moments_at_which_the_answer_changes_are_the_ones_that_are_told() {
        let key =
            ConnectionKey { tenant: "t".parse().unwrap(), user: "u".parse().unwrap(), platform: "p".parse().unwrap() };
        let margin = Duration::from_secs(300);
        let (hour, moment) = (grant(0, Some(3_600)), Duration::from_millis(1));
        let at = |now| judge(&hour, &key, margin, Duration::ZERO, now);
        let (stale, expired) = (stale_at(&hour, &key, margin).unwrap(), expired_at(&hour).unwrap());
        assert_eq!((at(stale - moment), at(stale)), (Freshness::Fresh, Freshness::Stale));
        assert_eq!((at(expired - moment), at(expired)), (Freshness::Stale, Freshness::Expired));
    }

    #[test]
    fn a_token_that_never_expires_is_always_fresh() {
        assert_eq!(judged(&grant(0, None), 86_400, i64::from(u32::MAX)), Freshness::Fresh);
    }
}
