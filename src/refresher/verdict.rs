//! What an answer of a token endpoint means: one pure function.

use std::time::Duration;

use serde_json::Value;

use crate::domain::cause::Cause;
use crate::domain::connection::Connection;
use crate::domain::ports::{Exchange, Granted, Refused, TransportFault};
use crate::domain::profile::{ErrorRule, Means, Profile, Rotates};
use crate::domain::time::Timestamp;

/// What to do about an exchange.
#[derive(Debug)]
pub(super) enum Verdict {
    /// Store the new tokens.
    Renewed(Box<Granted>),
    /// Try again later with the same token.
    Transient {
        cause: Cause,
        retry_after: Option<Duration>,
        /// Whether the platform may have consumed the refresh token.
        in_doubt: bool,
    },
    /// The grant is refused. The cause is known where a rule of the profile tells it.
    Dead(Option<Cause>),
    /// This installation's client is refused, not the user.
    AppMisconfigured,
}

/// Judges an exchange: the platform's own rules first, the standard ones after.
pub(super) fn judge(exchange: Exchange, rules: &[ErrorRule]) -> Verdict {
    match exchange {
        Exchange::Granted(granted) => Verdict::Renewed(granted),
        Exchange::NotSent(TransportFault::AddressRefused | TransportFault::Misconfigured) => Verdict::AppMisconfigured,
        Exchange::NotSent(_) => transient(Cause::ProviderOutage, None, false),
        Exchange::Lost(fault) => lost(fault),
        Exchange::Refused(refused) => {
            // A server that is in trouble says nothing definitive, whatever its error page looks like.
            let in_trouble = is_in_trouble(refused.status);
            let applies = |rule: &&ErrorRule| !in_trouble || rule.means == Means::Retry;
            let mut rules = rules.iter().filter(applies);
            rules.find(|rule| rule.matches(refused.status, &refused.body)).map_or_else(
                || standard(&refused),
                |rule| match rule.means {
                    Means::Reconnect => Verdict::Dead(rule.cause),
                    Means::Retry => transient(rule.cause.unwrap_or(Cause::ProviderOutage), refused.retry_after, false),
                    Means::App => Verdict::AppMisconfigured,
                },
            )
        }
    }
}

const fn is_in_trouble(status: u16) -> bool {
    matches!(status, 408 | 425 | 429 | 500..=599)
}

fn lost(fault: TransportFault) -> Verdict {
    match fault {
        // Whoever redirects has not redeemed anything.
        TransportFault::Redirect => transient(Cause::MalformedAnswer, None, false),
        TransportFault::TooLarge | TransportFault::Malformed => transient(Cause::MalformedAnswer, None, true),
        TransportFault::Dns
        | TransportFault::AddressRefused
        | TransportFault::Connect
        | TransportFault::Timeout
        | TransportFault::Broken
        | TransportFault::Misconfigured => transient(Cause::ProviderOutage, None, true),
    }
}

/// RFC 6749 section 5.2, and HTTP. The body's `error` counts whatever the status is, as long as the server is well.
fn standard(refused: &Refused) -> Verdict {
    let in_trouble = is_in_trouble(refused.status);
    let code = refused.body.get("error").and_then(Value::as_str).filter(|_| !in_trouble).unwrap_or_default();
    match (code, refused.status) {
        ("invalid_grant", _) => Verdict::Dead(None),
        ("invalid_client" | "unauthorized_client" | "unsupported_grant_type" | "invalid_scope", _) => {
            Verdict::AppMisconfigured
        }
        ("slow_down", _) | (_, 429) => transient(Cause::Throttled, refused.retry_after, false),
        // A gateway that lost its backend does not know whether the token was redeemed.
        (_, 502 | 504) => transient(Cause::ProviderOutage, refused.retry_after, true),
        // Everything else, known or not, is no definitive word about the grant.
        (_, _) => transient(Cause::ProviderOutage, refused.retry_after, false),
    }
}

const fn transient(cause: Cause, retry_after: Option<Duration>, in_doubt: bool) -> Verdict {
    Verdict::Transient { cause, retry_after, in_doubt }
}

/// Why a platform refused a grant, guessed from what is known about both, where the answer itself did not tell.
pub(super) fn guess_cause(connection: &Connection, profile: &Profile, now: Timestamp) -> Cause {
    const DAY: Duration = Duration::from_hours(24);
    let rule = &profile.refresh;
    let older_than = |since: Timestamp, days: Option<u32>| days.is_some_and(|days| now.since(since) >= DAY * days);
    if connection.doubt.is_some() && rule.rotates != Rotates::No {
        Cause::LostAnswer
    } else if older_than(connection.created_at, rule.max_days)
        || connection.grant.refresh_expires_at.is_some_and(|at| at <= now)
    {
        Cause::AbsoluteExpiry
    } else if older_than(connection.grant.issued_at, rule.idle_days) {
        Cause::IdleExpiry
    } else {
        Cause::GrantRefused
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::profile::BodyTest;
    use serde_json::json;

    fn refused(status: u16, body: Value) -> Exchange {
        Exchange::Refused(Refused { status, body, retry_after: None })
    }

    /// A verdict in a form that can be compared.
    fn word(verdict: &Verdict) -> String {
        match verdict {
            Verdict::Renewed(_) => "renewed".into(),
            Verdict::Dead(cause) => format!("dead {}", cause.map_or("?", Cause::as_str)),
            Verdict::AppMisconfigured => "app".into(),
            Verdict::Transient { cause, in_doubt, .. } => {
                format!("transient {}{}", cause.as_str(), if *in_doubt { " in doubt" } else { "" })
            }
        }
    }

    #[test]
    fn the_standard_rules() {
        let table = [
            (400, json!({"error": "invalid_grant"}), "dead ?"),
            (401, json!({"error": "invalid_grant"}), "dead ?"),
            (403, json!({"error": "invalid_grant"}), "dead ?"),
            (200, json!({"error": "invalid_grant"}), "dead ?"),
            (401, json!({"error": "invalid_client"}), "app"),
            (400, json!({"error": "unauthorized_client"}), "app"),
            (400, json!({"error": "unsupported_grant_type"}), "app"),
            (400, json!({"error": "invalid_scope"}), "app"),
            (400, json!({"error": "slow_down"}), "transient throttled"),
            (400, json!({"error": "temporarily_unavailable"}), "transient provider_outage"),
            (429, Value::Null, "transient throttled"),
            (429, json!({"error": "invalid_grant"}), "transient throttled"),
            (503, json!({"error": "invalid_grant"}), "transient provider_outage"),
            (502, json!({"error": "invalid_client"}), "transient provider_outage in doubt"),
            (503, json!({"error": "slow_down"}), "transient provider_outage"),
            (500, Value::Null, "transient provider_outage"),
            (503, json!({"error": "busy"}), "transient provider_outage"),
            (504, Value::Null, "transient provider_outage in doubt"),
            (400, json!({"error": {"code": "invalid_grant"}}), "transient provider_outage"),
            (404, json!("invalid_grant"), "transient provider_outage"),
            (403, Value::Null, "transient provider_outage"),
        ];
        for (status, body, expected) in table {
            assert_eq!(word(&judge(refused(status, body.clone()), &[])), expected, "{status} {body}");
        }
    }

    #[test]
    fn what_did_not_leave_leaves_no_doubt_and_what_was_not_answered_does() {
        use TransportFault as F;
        let table = [
            (Exchange::NotSent(F::Dns), "transient provider_outage"),
            (Exchange::NotSent(F::Connect), "transient provider_outage"),
            (Exchange::NotSent(F::AddressRefused), "app"),
            (Exchange::NotSent(F::Misconfigured), "app"),
            (Exchange::Lost(F::Timeout), "transient provider_outage in doubt"),
            (Exchange::Lost(F::Broken), "transient provider_outage in doubt"),
            (Exchange::Lost(F::Malformed), "transient malformed_answer in doubt"),
            (Exchange::Lost(F::TooLarge), "transient malformed_answer in doubt"),
            (Exchange::Lost(F::Redirect), "transient malformed_answer"),
        ];
        for (exchange, expected) in table {
            assert_eq!(word(&judge(exchange, &[])), expected);
        }
    }

    #[test]
    fn the_platform_s_rules_go_before_the_standard_ones() {
        let rule = |path: &str, equals: &str, means, cause| ErrorRule {
            status: None,
            body: Some(BodyTest { path: vec![path.into()], equals: vec![equals.into()], contains: None }),
            means,
            cause,
        };
        let rules = [
            rule("error_subtype", "invalid_rapt", Means::Reconnect, Some(Cause::SessionControl)),
            rule("error", "internal_error", Means::Retry, None),
            rule("error", "bad_client_secret", Means::App, None),
        ];
        let judged = |body| word(&judge(refused(200, body), &rules));
        assert_eq!(judged(json!({"error": "invalid_grant", "error_subtype": "invalid_rapt"})), "dead session_control");
        assert_eq!(judged(json!({"ok": false, "error": "internal_error"})), "transient provider_outage");
        assert_eq!(judged(json!({"ok": false, "error": "bad_client_secret"})), "app");
    }
}
