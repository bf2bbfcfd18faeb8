//! What a platform says about time: how long a token lives, when to come back, what its clock shows.

use std::time::Duration;

use http::HeaderMap;
use http::header::{DATE, HeaderName, RETRY_AFTER};
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::{Rfc2822, Rfc3339};

use crate::domain::expiry::Stated;
use crate::domain::profile::ExpiryUnit;
use crate::domain::time::Timestamp;

/// A life beyond this is not a statement but a mistake: a date where a duration was promised, milliseconds where it was
/// seconds, or the largest number there is. Taking it at its word would mean never to renew the token.
const LONGEST_LIFE: Duration = Duration::from_hours(30 * 365 * 24);

/// Reads `expires_in` and its like: a number or a number in a text, in the unit of the profile, or a date in a text
/// (RFC 3339). What is not after `sent_at` states nothing: platforms write 0 and -1 for "does not say", and a token
/// that is born expired would be renewed at every call.
pub(super) fn stated(value: Option<&Value>, unit: ExpiryUnit, sent_at: Timestamp) -> Stated {
    let number = match value {
        Some(Value::Number(number)) => number.as_f64(),
        Some(Value::String(text)) => match text.trim().parse::<f64>() {
            Ok(number) => Some(number),
            Err(_) => return date(text).map_or(Stated::Nothing, |at| plausible_date(at, sent_at)),
        },
        Some(Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_)) | None => None,
    };
    // Negative, not a number and beyond all bounds are refused by the conversion.
    let seconds = |number: f64| Duration::try_from_secs_f64(number).ok();
    let Some(number) = number else { return Stated::Nothing };
    match unit {
        ExpiryUnit::Seconds => seconds(number).map_or(Stated::Nothing, plausible_life),
        ExpiryUnit::Milliseconds => seconds(number / 1_000.0).map_or(Stated::Nothing, plausible_life),
        ExpiryUnit::UnixSeconds => {
            seconds(number).map_or(Stated::Nothing, |at| plausible_date(Timestamp::EPOCH + at, sent_at))
        }
    }
}

/// The moment something stated falls on.
pub(super) fn moment(stated: Stated, sent_at: Timestamp) -> Option<Timestamp> {
    match stated {
        Stated::Nothing => None,
        Stated::Lifetime(lifetime) => Some(sent_at + lifetime),
        Stated::At(at) => Some(at),
    }
}

/// The platform's clock (RFC 9110 section 6.6.1).
pub(super) fn server_date(headers: &HeaderMap) -> Option<Timestamp> {
    http_date(text(headers, &DATE)?)
}

/// `Retry-After`, in seconds or as a date (RFC 9110 section 10.2.3). A date counts from the platform's own clock where
/// it tells that too.
pub(super) fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = text(headers, &RETRY_AFTER)?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    http_date(text).map(|at| at.since(server_date(headers).unwrap_or(now)))
}

fn plausible_life(life: Duration) -> Stated {
    if life.is_zero() || life > LONGEST_LIFE { Stated::Nothing } else { Stated::Lifetime(life) }
}

fn plausible_date(at: Timestamp, sent_at: Timestamp) -> Stated {
    let life = at.since(sent_at);
    if life.is_zero() || life > LONGEST_LIFE { Stated::Nothing } else { Stated::At(at) }
}

fn date(text: &str) -> Option<Timestamp> {
    OffsetDateTime::parse(text.trim(), &Rfc3339).ok().map(timestamp)
}

/// The one form of an HTTP date that senders may still write, `Sun, 06 Nov 1994 08:49:37 GMT`: also one of RFC 2822's.
fn http_date(text: &str) -> Option<Timestamp> {
    OffsetDateTime::parse(text.trim(), &Rfc2822).ok().map(timestamp)
}

fn timestamp(date: OffsetDateTime) -> Timestamp {
    Timestamp::from_unix_seconds(date.unix_timestamp())
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use serde_json::json;

    use super::*;

    const SENT: Timestamp = Timestamp::from_unix_seconds(1_700_000_000);

    fn seconds(value: &Value) -> Stated {
        stated(Some(value), ExpiryUnit::Seconds, SENT)
    }

    fn life(millis: u64) -> Stated {
        Stated::Lifetime(Duration::from_millis(millis))
    }

    #[test]
    fn a_life_may_be_a_number_or_a_text() {
        for value in [json!(3600), json!("3600"), json!(" 3600 "), json!(3600.0), json!("3.6e3")] {
            assert_eq!(seconds(&value), life(3_600_000), "{value}");
        }
        assert_eq!(seconds(&json!(3599.5)), life(3_599_500));
    }

    #[test]
    fn what_cannot_be_a_life_states_nothing() {
        let absurd = [
            json!(null),
            json!(true),
            json!([]),
            json!({}),
            json!(""),
            json!("soon"),
            json!("NaN"),
            json!("inf"),
            json!(0),
            json!(-1),
            json!("-3600"),
            json!(1_700_003_600),
            json!(i64::MAX),
            json!(9_223_372_036_854_775_808_u64),
            json!(u64::MAX),
            json!(1e308),
            json!("1e999"),
            json!(1e-300),
        ];
        for value in absurd {
            assert_eq!(seconds(&value), Stated::Nothing, "{value}");
        }
        assert_eq!(stated(None, ExpiryUnit::Seconds, SENT), Stated::Nothing);
    }

    #[test]
    fn a_life_is_read_in_the_unit_of_the_profile() {
        let read = |value, unit| stated(Some(&value), unit, SENT);
        assert_eq!(read(json!(1_500), ExpiryUnit::Milliseconds), life(1_500));
        let later = Timestamp::from_unix_seconds(1_700_003_600);
        assert_eq!(read(json!(1_700_003_600), ExpiryUnit::UnixSeconds), Stated::At(later));
        assert_eq!(read(json!("1700003600"), ExpiryUnit::UnixSeconds), Stated::At(later));
        assert_eq!(read(json!(1_700_000_000), ExpiryUnit::UnixSeconds), Stated::Nothing);
        assert_eq!(read(json!(1_700_003_600_000_i64), ExpiryUnit::UnixSeconds), Stated::Nothing);
    }

    #[test]
    fn a_date_in_a_text_is_a_date_in_any_unit() {
        let at = Stated::At(Timestamp::from_unix_seconds(1_700_003_600));
        assert_eq!(seconds(&json!("2023-11-14T23:13:20Z")), at);
        assert_eq!(seconds(&json!("2023-11-15T00:13:20.9+01:00")), at);
        assert_eq!(seconds(&json!("1999-01-01T00:00:00Z")), Stated::Nothing);
    }

    fn told(pairs: &[(HeaderName, &'static str)]) -> Option<Duration> {
        let headers = pairs.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect();
        retry_after(&headers, SENT)
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        assert_eq!(told(&[(RETRY_AFTER, "120")]), Some(Duration::from_mins(2)));
        assert_eq!(told(&[(RETRY_AFTER, "Tue, 14 Nov 2023 22:14:20 GMT")]), Some(Duration::from_mins(1)));
        assert_eq!(told(&[(RETRY_AFTER, "Tue, 14 Nov 2023 22:00:00 GMT")]), Some(Duration::ZERO));
        for nonsense in ["", "soon", "-1", "1.5", "99999999999999999999999"] {
            assert_eq!(told(&[(RETRY_AFTER, nonsense)]), None, "`{nonsense}`");
        }
    }

    #[test]
    fn a_date_to_come_back_at_counts_from_the_clock_of_the_platform() {
        let pair = [(RETRY_AFTER, "Sun, 06 Nov 1994 08:49:37 GMT"), (DATE, "Sun, 06 Nov 1994 08:49:07 GMT")];
        assert_eq!(told(&pair), Some(Duration::from_secs(30)));
    }
}
