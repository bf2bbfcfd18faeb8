//! Judges an answer and, where it grants tokens, brings it into the one form that the `oauth2` crate reads.
//!
//! Not wiped: the canonical JSON, which the crate takes as a plain `Vec`, and what the crate reads out of it.

use std::time::Duration;

use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response};
use oauth2::HttpResponse;
use serde::Serialize;
use serde_json::Value;

use super::lifetime::{moment, retry_after, server_date, stated};
use super::outbound::Answer;
use super::said::Said;
use crate::domain::expiry::Stated;
use crate::domain::ports::{Exchange, Refused, TransportFault};
use crate::domain::profile::{ErrorRule, ExpiryUnit, Profile};
use crate::domain::time::Timestamp;

/// A token larger than this is no token: engines could not even put it into a header.
const MAX_TOKEN: usize = 32 * 1024;

/// A token type is a word.
const MAX_TOKEN_TYPE: usize = 64;

/// An answer that grants tokens.
pub(super) struct Tokens {
    /// The answer as RFC 6749 section 5.1 wants it.
    pub(super) canonical: HttpResponse,
    /// What that form has no place for.
    pub(super) aside: Aside,
}

/// What is known of an answer beside its tokens.
#[derive(Debug, Clone, Copy)]
pub(super) struct Aside {
    pub(super) sent_at: Timestamp,
    pub(super) server_date: Option<Timestamp>,
    /// The life of the access token: the crate's `expires_in` can hold neither dates nor fractions.
    pub(super) stated: Stated,
    pub(super) refresh_expires_at: Option<Timestamp>,
}

/// The successful answer of RFC 6749 section 5.1.
#[derive(Serialize)]
struct Canonical<'a> {
    access_token: &'a str,
    token_type: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<String>,
}

/// The answer of RFC 7662 section 2.2, as far as it is of interest.
#[derive(Serialize)]
struct Introspection {
    active: bool,
    exp: i64,
}

/// Tells tokens from errors from nothing of use.
///
/// A status of 400 and more is an error whatever the body says, and even if the body never came. At 2xx, in this order:
/// what the profile calls an error is one; a usable access token is a grant, whatever else is there, because RFC 6749
/// section 5.1 has us ignore names we do not expect, and because mistaking a grant for an error would throw a rotated
/// refresh token away; `error` is an error. The rest is a lost answer.
pub(super) fn judge(answer: Answer, profile: &Profile, sent_at: Timestamp, now: Timestamp) -> Result<Tokens, Exchange> {
    let (status, headers) = (answer.status, answer.headers);
    let refused = |body: Value, retry_after: Option<Duration>| Exchange::Refused(Refused { status, body, retry_after });
    let wait = retry_after(&headers, now);
    match status {
        400.. => {
            let said = answer.body.ok().and_then(|body| Said::read(&body));
            return Err(refused(said.map_or(Value::Null, Said::into_value), wait));
        }
        300..400 => return Err(Exchange::Lost(TransportFault::Redirect)),
        200..300 => {}
        0..200 => return Err(Exchange::Lost(TransportFault::Malformed)),
    }
    let body = answer.body.map_err(Exchange::Lost)?;
    let said = Said::read(&body).ok_or(Exchange::Lost(TransportFault::Malformed))?;
    drop(body);
    if is_declared_error(&said, status, &profile.errors) {
        return Err(refused(said.into_value(), wait));
    }
    match canonical(&said, profile) {
        Ok(Some(canonical)) => {
            let life = |paths| stated(said.first(paths), profile.expiry.unit, sent_at);
            let aside = Aside {
                sent_at,
                server_date: server_date(&headers),
                stated: life(&profile.response.expires_in),
                refresh_expires_at: moment(life(&profile.response.refresh_expires_in), sent_at),
            };
            Ok(Tokens { canonical, aside })
        }
        Ok(None) if names_error(&said) => Err(refused(said.into_value(), wait)),
        Ok(None) => Err(Exchange::Lost(TransportFault::Malformed)),
        Err(fault) => Err(Exchange::Lost(fault)),
    }
}

/// What an introspection answer says about expiry (RFC 7662 section 2.2), written anew for the crate; `None` when it
/// says nothing of use.
pub(super) fn introspected(answer: Answer, now: Timestamp) -> Option<HttpResponse> {
    if answer.status != 200 {
        return None;
    }
    let said = Said::read(&answer.body.ok()?)?;
    let exp = moment(stated(said.value().get("exp"), ExpiryUnit::UnixSeconds, now), now)?.unix_seconds();
    let active = said.value().get("active")?.as_bool()?;
    canonical_response(&Introspection { active, exp })
}

/// Whether a success is called an error by the profile, or by Slack's `ok`. A rule without a test of the body says
/// something about a status, and about no body at 2xx.
fn is_declared_error(said: &Said, status: u16, rules: &[ErrorRule]) -> bool {
    let not_ok = said.value().get("ok") == Some(&Value::Bool(false));
    not_ok || rules.iter().any(|rule| rule.body.is_some() && rule.matches(status, said.value()))
}

fn names_error(said: &Said) -> bool {
    match said.value().get("error") {
        None | Some(Value::Null | Value::Bool(false)) => false,
        Some(Value::String(text)) => !text.is_empty(),
        Some(Value::Bool(true) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => true,
    }
}

/// `None`: there is no access token. A refresh token that could not be kept makes the whole answer useless, because
/// the one it replaces may be gone.
fn canonical(said: &Said, profile: &Profile) -> Result<Option<HttpResponse>, TransportFault> {
    let paths = &profile.response;
    let Some(access_token) = said.text(&paths.access_token) else { return Ok(None) };
    let refresh_token = said.text(&paths.refresh_token);
    for token in [Some(access_token), refresh_token].into_iter().flatten() {
        check_token(token)?;
    }
    let word = |text: &&str| text.len() <= MAX_TOKEN_TYPE && text.bytes().all(|b| b.is_ascii_graphic());
    let canonical = Canonical {
        access_token,
        token_type: said.text(&paths.token_type).filter(word).unwrap_or("bearer"),
        refresh_token,
        scope: said.first(&paths.scope).and_then(|scope| scopes(scope, profile.scopes.separator)),
    };
    canonical_response(&canonical).map(Some).ok_or(TransportFault::Malformed)
}

fn canonical_response(canonical: &impl Serialize) -> Option<HttpResponse> {
    let mut response = Response::new(serde_json::to_vec(canonical).ok()?);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Some(response)
}

/// Tokens are made of visible ASCII (RFC 6749 appendix A.12). Others are let through, since a platform may know better,
/// but not what would end a header line or was broken on the way.
fn check_token(token: &str) -> Result<(), TransportFault> {
    if token.len() > MAX_TOKEN {
        Err(TransportFault::TooLarge)
    } else if token.chars().any(|c| c.is_control() || c == char::REPLACEMENT_CHARACTER) {
        Err(TransportFault::Malformed)
    } else {
        Ok(())
    }
}

/// Scopes with a space between them, from a list or from a text with any separator in use; `None` when there are none.
fn scopes(value: &Value, separator: char) -> Option<String> {
    let between = |c: char| c == separator || c == ',' || c.is_whitespace();
    let words: Vec<&str> = match value {
        Value::String(text) => text.split(between).collect(),
        Value::Array(items) => items.iter().filter_map(Value::as_str).flat_map(|item| item.split(between)).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => Vec::new(),
    };
    let words: Vec<&str> = words.into_iter().filter(|word| !word.is_empty()).collect();
    (!words.is_empty()).then(|| words.join(" "))
}
