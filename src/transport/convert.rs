//! Wire messages to the guard's words and back: all of it. Every bound of the API is checked here.

use std::str::FromStr;
use std::time::Duration;

use tonic::metadata::MetadataMap;

use crate::access::{
    Caller, DeleteTokenAnswer, GetStatusQuery, GetTokenAnswer, GetTokenQuery, PlatformStatus, Refusal,
    StoreTokenAnswer, StoreTokenCommand,
};
use crate::domain::connection::{LastRefresh, RefreshOutcome};
use crate::domain::error::{Fault, InvalidArgument};
use crate::domain::id::{ConnectionKey, IdError, RequestId};
use crate::domain::secret::{AccessToken, RefreshToken};
use crate::domain::time::Timestamp;
use crate::pb::vault_v1 as pb;

const MAX_TOKEN_BYTES: usize = 32 * 1_024;
const MAX_SCOPES: usize = 128;
const MAX_SCOPE_BYTES: usize = 512;
const MAX_TOKEN_TYPE_BYTES: usize = 64;
const MAX_PLATFORMS: usize = 1_000;
const MAX_MIN_TTL_SECONDS: i64 = 86_400;
const MAX_UNIX_SECONDS: i64 = 253_402_300_799;

pub(super) fn store_token(caller: &Caller, request: pb::StoreTokenRequest) -> Result<StoreTokenCommand, Refusal> {
    let key = connection(caller, &request.tenant, &request.user_id, &request.platform)?;
    for (field, token) in [("access_token", &request.access_token), ("refresh_token", &request.refresh_token)] {
        if token.len() > MAX_TOKEN_BYTES {
            return invalid(field, Fault::TooLarge(MAX_TOKEN_BYTES));
        }
        // RFC 6749 appendix A.12: tokens are visible ASCII and space. Anything else is a mix-up, or an injection.
        if !token.bytes().all(|b| matches!(b, 0x20..=0x7e)) {
            return invalid(field, Fault::Characters("printable ASCII"));
        }
    }
    let Some(access) = AccessToken::new(request.access_token) else { return invalid("access_token", Fault::Missing) };
    if !(0..=MAX_UNIX_SECONDS).contains(&request.expires_at) {
        return invalid("expires_at", Fault::Range(0, MAX_UNIX_SECONDS));
    }
    if request.scopes.len() > MAX_SCOPES {
        return invalid("scopes", Fault::TooMany(MAX_SCOPES));
    }
    for scope in &request.scopes {
        if scope.len() > MAX_SCOPE_BYTES {
            return invalid("scopes", Fault::TooLarge(MAX_SCOPE_BYTES));
        }
        if scope.is_empty() || !scope.bytes().all(|b| b.is_ascii_graphic()) {
            return invalid("scopes", Fault::Characters("visible ASCII, and none may be empty"));
        }
    }
    if request.token_type.len() > MAX_TOKEN_TYPE_BYTES {
        return invalid("token_type", Fault::TooLarge(MAX_TOKEN_TYPE_BYTES));
    }
    if !request.token_type.bytes().all(|b| b.is_ascii_graphic()) {
        return invalid("token_type", Fault::Characters("visible ASCII"));
    }
    let bearer = request.token_type.is_empty() || request.token_type.eq_ignore_ascii_case("bearer");
    Ok(StoreTokenCommand {
        key,
        access,
        refresh: RefreshToken::new(request.refresh_token),
        expires_at: (request.expires_at > 0).then(|| Timestamp::from_unix_seconds(request.expires_at)),
        scopes: request.scopes,
        token_type: (!bearer).then_some(request.token_type),
        keep_refresh_token: request.keep_refresh_token,
    })
}

pub(super) fn store_token_answer(answer: StoreTokenAnswer) -> pb::StoreTokenResponse {
    pb::StoreTokenResponse { version: answer.version.0, replaced: answer.replaced, refreshable: answer.refreshable }
}

pub(super) fn get_token(
    caller: &Caller,
    request: &pb::GetTokenRequest,
    id: RequestId,
    patience: Duration,
) -> Result<GetTokenQuery, Refusal> {
    let key = connection(caller, &request.tenant, &request.user_id, &request.platform)?;
    let min_ttl =
        u64::try_from(request.min_ttl_seconds).ok().filter(|_| request.min_ttl_seconds <= MAX_MIN_TTL_SECONDS);
    let Some(min_ttl) = min_ttl else { return invalid("min_ttl_seconds", Fault::Range(0, MAX_MIN_TTL_SECONDS)) };
    Ok(GetTokenQuery {
        key,
        min_ttl: Duration::from_secs(min_ttl),
        force_refresh: request.force_refresh,
        patience,
        request: id,
    })
}

pub(super) fn get_token_answer(answer: GetTokenAnswer) -> pb::GetTokenResponse {
    pb::GetTokenResponse {
        access_token: answer.access.expose().to_owned(),
        expires_at: answer.expires_at.map_or(0, Timestamp::unix_seconds),
        scopes: answer.scopes,
        token_type: answer.token_type.unwrap_or_else(|| "Bearer".to_owned()),
        refreshed: answer.refreshed,
        refresh_in_progress: answer.refresh_in_progress,
        warning: answer.warning.unwrap_or_default().to_owned(),
        version: answer.version.0,
    }
}

pub(super) fn get_status(caller: &Caller, request: &pb::GetStatusRequest) -> Result<GetStatusQuery, Refusal> {
    let tenant = caller.tenant(&request.tenant)?;
    let user = id("user_id", &request.user_id)?;
    if request.platforms.len() > MAX_PLATFORMS {
        return invalid("platforms", Fault::TooMany(MAX_PLATFORMS));
    }
    let platforms = request.platforms.iter().map(|platform| id("platforms", platform));
    Ok(GetStatusQuery { tenant, user, platforms: platforms.collect::<Result<_, _>>()? })
}

pub(super) fn get_status_answer(statuses: Vec<PlatformStatus>) -> pb::GetStatusResponse {
    let platform = |status: PlatformStatus| pb::PlatformStatus {
        platform: status.platform.to_string(),
        status: status.status.as_str().to_owned(),
        reason: status.reason.map_or_else(String::new, |cause| cause.as_str().to_owned()),
        expires_at: status.expires_at.map_or(0, Timestamp::unix_seconds),
        last_refresh: status.last_refresh.as_ref().map(last_refresh),
        suggested_action: status.suggested_action().to_owned(),
        display_name: status.display_name,
        scopes: status.scopes,
    };
    pb::GetStatusResponse { connected_platforms: statuses.into_iter().map(platform).collect() }
}

pub(super) fn delete_token(caller: &Caller, request: &pb::DeleteTokenRequest) -> Result<ConnectionKey, Refusal> {
    connection(caller, &request.tenant, &request.user_id, &request.platform)
}

pub(super) fn delete_token_answer(answer: DeleteTokenAnswer) -> pb::DeleteTokenResponse {
    pb::DeleteTokenResponse { deleted: answer.version.is_some() }
}

/// How long the caller waits, as the `grpc-timeout` header says.
pub(super) fn time_limit(headers: &MetadataMap) -> Option<Duration> {
    headers.get("grpc-timeout").and_then(|value| value.to_str().ok()).and_then(grpc_timeout)
}

/// The `grpc-timeout` of the gRPC protocol: at most eight digits and a unit.
fn grpc_timeout(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let amount: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(amount * 3_600)),
        "M" => Some(Duration::from_secs(amount * 60)),
        "S" => Some(Duration::from_secs(amount)),
        "m" => Some(Duration::from_millis(amount)),
        "u" => Some(Duration::from_micros(amount)),
        "n" => Some(Duration::from_nanos(amount)),
        _ => None,
    }
}

fn last_refresh(last: &LastRefresh) -> pb::LastRefresh {
    let (outcome, cause) = match last.outcome {
        RefreshOutcome::Renewed => ("renewed", ""),
        RefreshOutcome::Failed(cause) => ("failed", cause.as_str()),
        RefreshOutcome::Dead(cause) => ("dead", cause.as_str()),
    };
    pb::LastRefresh { at: last.at.unix_seconds(), outcome: outcome.to_owned(), cause: cause.to_owned() }
}

fn connection(caller: &Caller, tenant: &str, user: &str, platform: &str) -> Result<ConnectionKey, Refusal> {
    Ok(ConnectionKey {
        tenant: caller.tenant(tenant)?,
        user: id("user_id", user)?,
        platform: id("platform", platform)?,
    })
}

fn id<T: FromStr<Err = IdError>>(field: &'static str, text: &str) -> Result<T, InvalidArgument> {
    text.parse().map_err(|error: IdError| InvalidArgument { field, fault: error.into() })
}

fn invalid<T>(field: &'static str, fault: Fault) -> Result<T, Refusal> {
    Err(InvalidArgument { field, fault }.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_limit_of_a_call_is_read_as_the_protocol_writes_it() {
        assert_eq!(grpc_timeout("250m"), Some(Duration::from_millis(250)));
        assert_eq!(grpc_timeout("99999999H"), Some(Duration::from_secs(99_999_999 * 3_600)));
        for odd in ["", "S", "1", "123456789S", "-1S", "1.5S", "1s", "é"] {
            assert_eq!(grpc_timeout(odd), None, "`{odd}`");
        }
    }
}
