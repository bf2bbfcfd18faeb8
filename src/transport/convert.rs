//! Wire messages to the guard's words and back: all of it. Every bound of the API is checked here.

use std::collections::BTreeSet;
use std::str::FromStr;
use std::time::Duration;

use tokio::time::Instant;
use tonic::metadata::MetadataMap;

use super::status;
use crate::access::{
    BatchGetStatusQuery, Caller, ConnectionStatus, DeleteTokenAnswer, GetStatusQuery, GetTokenAnswer, GetTokenQuery,
    ListTokensAnswer, ListTokensQuery, NoStatus, NotPermitted, PlatformStatus, Refusal, StoreTokenAnswer,
    StoreTokenCommand, TokenInfo, UserStatus, WatchEvent, WatchMessage, WatchQuery,
};
use crate::domain::connection::{LastRefresh, RefreshOutcome};
use crate::domain::error::{Fault, InvalidArgument};
use crate::domain::id::{ConnectionKey, IdError, PlatformId, RequestId, TenantId, UserId};
use crate::domain::secret::{AccessToken, RefreshToken};
use crate::domain::time::Timestamp;
use crate::pb::vault_v1 as pb;

const MAX_TOKEN_BYTES: usize = 32 * 1_024;
const MAX_SCOPES: usize = 128;
const MAX_SCOPE_BYTES: usize = 512;
const MAX_TOKEN_TYPE_BYTES: usize = 64;
const MAX_PLATFORMS: usize = 1_000;
const MAX_USERS: usize = 100;
const MAX_FILTER_PLATFORMS: usize = 100;
const MAX_FILTER_STATUSES: usize = 16;
const PAGE_SIZE: i32 = 50;
const MAX_PAGE_SIZE: i32 = 1_000;
const MAX_MIN_TTL_SECONDS: i64 = 86_400;
const MAX_UNIX_SECONDS: i64 = 253_402_300_799;

pub(super) fn store_token(caller: &Caller, request: pb::StoreTokenRequest) -> Result<StoreTokenCommand, Refusal> {
    let tenant = caller.tenant(&request.tenant)?;
    Ok(store_token_for(tenant, request)?)
}

/// A request to store tokens, whoever makes it, for a tenant that is decided.
///
/// # Errors
///
/// When a field is out of bounds.
pub fn store_token_for(tenant: TenantId, request: pb::StoreTokenRequest) -> Result<StoreTokenCommand, InvalidArgument> {
    let (user, platform) = (id("user_id", &request.user_id)?, id("platform", &request.platform)?);
    let key = ConnectionKey { tenant, user, platform };
    let invalid = |field, fault| Err(InvalidArgument { field, fault });
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
    Ok(GetStatusQuery { tenant, user, platforms: platforms(&request.platforms, MAX_PLATFORMS)? })
}

pub(super) fn get_status_answer(statuses: Vec<PlatformStatus>) -> pb::GetStatusResponse {
    pb::GetStatusResponse { connected_platforms: statuses.into_iter().map(platform_status).collect() }
}

pub(super) fn batch_get_status(
    caller: &Caller,
    request: &pb::BatchGetStatusRequest,
) -> Result<BatchGetStatusQuery, Refusal> {
    let tenant = caller.tenant(&request.tenant)?;
    let users = users(&request.user_ids)?;
    if users.is_empty() {
        return invalid("user_ids", Fault::Missing);
    }
    Ok(BatchGetStatusQuery { tenant, users, platforms: platforms(&request.platforms, MAX_PLATFORMS)? })
}

pub(super) fn batch_get_status_answer(users: Vec<UserStatus>) -> pb::BatchGetStatusResponse {
    let user = |UserStatus { user, platforms }: UserStatus| match platforms {
        Ok(statuses) => pb::UserStatus {
            user_id: user.to_string(),
            connected_platforms: statuses.into_iter().map(platform_status).collect(),
            ..pb::UserStatus::default()
        },
        Err(none) => {
            let refusal = match none {
                NoStatus::Corrupt(corrupt) => Refusal::Failed(corrupt.into()),
                NoStatus::NotPermitted => Refusal::NotPermitted(NotPermitted::Policy),
            };
            let (error_code, suggested_action) = status::words(&refusal);
            let suggested_action = suggested_action.to_owned();
            pb::UserStatus { user_id: user.to_string(), connected_platforms: Vec::new(), error_code, suggested_action }
        }
    };
    pb::BatchGetStatusResponse { users: users.into_iter().map(user).collect() }
}

pub(super) fn list_tokens(
    caller: &Caller,
    request: pb::ListTokensRequest,
    patience: Duration,
) -> Result<ListTokensQuery, Refusal> {
    let tenant = caller.tenant(&request.tenant)?;
    if request.statuses.len() > MAX_FILTER_STATUSES {
        return invalid("statuses", Fault::TooMany(MAX_FILTER_STATUSES));
    }
    let known = |word: &String| ConnectionStatus::LISTED.into_iter().find(|known| known == word);
    let statuses: Option<BTreeSet<_>> = request.statuses.iter().map(known).collect();
    let Some(statuses) = statuses else {
        return invalid("statuses", Fault::NoneOf("`active`, `expired`, `disabled`, `unreadable`"));
    };
    let size = if request.page_size == 0 { PAGE_SIZE } else { request.page_size };
    let page_size = usize::try_from(size).ok().filter(|_| size <= MAX_PAGE_SIZE);
    let Some(page_size) = page_size else {
        return invalid("page_size", Fault::Range(0, MAX_PAGE_SIZE.into()));
    };
    Ok(ListTokensQuery {
        tenant,
        platforms: platforms(&request.platforms, MAX_FILTER_PLATFORMS)?.into_iter().collect(),
        statuses,
        page_size,
        page_token: request.page_token,
        patience,
    })
}

pub(super) fn list_tokens_answer(answer: ListTokensAnswer) -> pb::ListTokensResponse {
    let token = |info: TokenInfo| pb::TokenInfo {
        user_id: info.user.to_string(),
        platform: info.platform.to_string(),
        status: info.status.as_str().to_owned(),
        reason: info.status.reason().to_owned(),
        expires_at: info.expires_at.map_or(0, Timestamp::unix_seconds),
        scopes: info.scopes,
        last_refresh: info.last_refresh.as_ref().map(last_refresh),
        version: info.known.map_or(0, |(version, _)| version.0),
        created_at: info.known.map_or(0, |(_, at)| at.unix_seconds()),
        suggested_action: info.status.suggested_action().to_owned(),
    };
    pb::ListTokensResponse {
        tokens: answer.tokens.into_iter().map(token).collect(),
        next_page_token: answer.next_page_token,
    }
}

pub(super) fn watch_status(
    caller: &Caller,
    request: pb::WatchStatusRequest,
    until: Option<Instant>,
) -> Result<WatchQuery, Refusal> {
    let tenant = caller.tenant(&request.tenant)?;
    Ok(WatchQuery {
        engine: caller.principal(),
        tenant,
        users: users(&request.user_ids)?.into_iter().collect(),
        platforms: platforms(&request.platforms, MAX_FILTER_PLATFORMS)?.into_iter().collect(),
        resume_token: request.resume_token,
        until,
    })
}

pub(super) fn watch_message(message: WatchMessage) -> pb::WatchStatusResponse {
    use pb::watch_status_response::Event;
    let event = match message.event {
        WatchEvent::SnapshotStart { reset } => Event::SnapshotStart(pb::SnapshotStart { reset }),
        WatchEvent::Connection { user, version, status } => Event::Connection(pb::ConnectionStatus {
            user_id: user.to_string(),
            version: version.0,
            status: Some(platform_status(status)),
        }),
        WatchEvent::SnapshotEnd => Event::SnapshotEnd(pb::SnapshotEnd {}),
        WatchEvent::Heartbeat => Event::Heartbeat(pb::Heartbeat {}),
    };
    pb::WatchStatusResponse { event: Some(event), resume_token: message.resume_token }
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

fn platform_status(status: PlatformStatus) -> pb::PlatformStatus {
    pb::PlatformStatus {
        platform: status.platform.to_string(),
        status: status.status.as_str().to_owned(),
        reason: status.status.reason().to_owned(),
        expires_at: status.expires_at.map_or(0, Timestamp::unix_seconds),
        last_refresh: status.last_refresh.as_ref().map(last_refresh),
        display_name: status.display_name,
        suggested_action: status.status.suggested_action().to_owned(),
        scopes: status.scopes.to_vec(),
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

fn users(named: &[String]) -> Result<Vec<UserId>, Refusal> {
    if named.len() > MAX_USERS {
        return invalid("user_ids", Fault::TooMany(MAX_USERS));
    }
    let users = named.iter().map(|user| id("user_ids", user)).collect::<Result<Vec<UserId>, _>>()?;
    if users.iter().collect::<BTreeSet<_>>().len() < users.len() {
        return invalid("user_ids", Fault::Repeated);
    }
    Ok(users)
}

fn platforms(named: &[String], most: usize) -> Result<Vec<PlatformId>, Refusal> {
    if named.len() > most {
        return invalid("platforms", Fault::TooMany(most));
    }
    Ok(named.iter().map(|platform| id("platforms", platform)).collect::<Result<_, _>>()?)
}

pub(super) fn id<T: FromStr<Err = IdError>>(field: &'static str, text: &str) -> Result<T, InvalidArgument> {
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
