//! What is inside a sealed record, as bytes: protobuf, so that fields can be added and old records still open.

use std::time::Duration;

use prost::Message as _;
use zeroize::{Zeroize as _, Zeroizing};

use crate::domain::cause::Cause;
use crate::domain::connection::{
    Backoff, Claim, Connection, Doubt, Entry, Generation, Grant, Health, InstanceId, LastRefresh, OriginFingerprint,
    RefreshOutcome, Renewal, Tombstone,
};
use crate::domain::error::CorruptRecord;
use crate::domain::secret::{AccessToken, RefreshToken};
use crate::domain::time::Timestamp;
use crate::pb::store_v1 as pb;

/// The bytes of an entry. Wiped when dropped.
#[must_use]
pub fn encode(entry: &Entry) -> Zeroizing<Vec<u8>> {
    let mut message = match entry {
        Entry::Live(connection) => of_connection(connection),
        Entry::Deleted(tombstone) => pb::ConnectionRecord {
            generation: tombstone.generation.0,
            deleted_at: Some(tombstone.at.unix_seconds()),
            ..Default::default()
        },
    };
    let bytes = Zeroizing::new(message.encode_to_vec());
    if let Some(grant) = &mut message.grant {
        grant.access_token.zeroize();
        grant.refresh_token.zeroize();
        grant.previous_refresh_token.zeroize();
    }
    bytes
}

/// The entry in these bytes.
///
/// # Errors
///
/// [`CorruptRecord::Content`] if they hold none.
pub fn decode(bytes: &[u8]) -> Result<Entry, CorruptRecord> {
    let message = pb::ConnectionRecord::decode(bytes).map_err(|_| CorruptRecord::Content)?;
    if let Some(at) = message.deleted_at {
        let generation = Generation(message.generation);
        return Ok(Entry::Deleted(Tombstone { generation, at: seconds(at) }));
    }
    let grant = message.grant.and_then(to_grant).ok_or(CorruptRecord::Content)?;
    let last_refresh = message.last_refresh.map(to_last_refresh).transpose()?;
    let health = match message.death {
        Some(death) => Health::Dead { at: seconds(death.at), cause: cause(death.cause)? },
        None => Health::Alive,
    };
    let backoff = match message.backoff {
        Some(backoff) => Some(Backoff {
            failures: backoff.failures,
            first_at: seconds(backoff.first_at),
            next_at: seconds(backoff.next_at),
            cause: cause(backoff.cause)?,
        }),
        None => None,
    };
    Ok(Entry::Live(Box::new(Connection {
        generation: Generation(message.generation),
        grant,
        renewal: message.claim.map_or(Renewal::Idle, |claim| Renewal::Claimed(to_claim(&claim))),
        doubt: message.doubt.map(|doubt| Doubt { since: seconds(doubt.since), attempted: doubt.attempted }),
        health,
        last_refresh,
        backoff,
        created_at: seconds(message.created_at),
    })))
}

fn of_connection(connection: &Connection) -> pb::ConnectionRecord {
    let grant = &connection.grant;
    let text =
        |token: &Option<RefreshToken>| token.as_ref().map_or_else(String::new, |token| token.expose().to_owned());
    pb::ConnectionRecord {
        generation: connection.generation.0,
        grant: Some(pb::TokenGrant {
            access_token: grant.access.expose().to_owned(),
            refresh_token: text(&grant.refresh),
            previous_refresh_token: text(&grant.previous_refresh),
            expires_at: grant.expires_at.map_or(0, Timestamp::unix_seconds),
            issued_at: grant.issued_at.unix_seconds(),
            scopes: grant.scopes.clone(),
            token_type: grant.token_type.clone().unwrap_or_default(),
            refresh_expires_at: grant.refresh_expires_at.map_or(0, Timestamp::unix_seconds),
            origin: grant.origin.0,
        }),
        claim: match connection.renewal {
            Renewal::Idle => None,
            Renewal::Claimed(claim) => Some(pb::RefreshClaim {
                owner: claim.owner.0,
                fence: claim.fence,
                deadline_ms: claim.deadline.unix_millis(),
                lease_ms: u64::try_from(claim.lease.as_millis()).unwrap_or(u64::MAX),
                generation: claim.generation.0,
            }),
        },
        doubt: connection
            .doubt
            .map(|doubt| pb::Doubt { since: doubt.since.unix_seconds(), attempted: doubt.attempted }),
        death: match connection.health {
            Health::Alive => None,
            Health::Dead { at, cause } => Some(pb::Death { at: at.unix_seconds(), cause: cause.code() }),
        },
        last_refresh: connection.last_refresh.as_ref().map(of_last_refresh),
        backoff: connection.backoff.map(|backoff| pb::Backoff {
            failures: backoff.failures,
            first_at: backoff.first_at.unix_seconds(),
            next_at: not_before(backoff.next_at),
            cause: backoff.cause.code(),
        }),
        created_at: connection.created_at.unix_seconds(),
        deleted_at: None,
    }
}

fn to_grant(grant: pb::TokenGrant) -> Option<Grant> {
    let known = |at: i64| (at != 0).then(|| seconds(at));
    Some(Grant {
        access: AccessToken::new(grant.access_token)?,
        refresh: RefreshToken::new(grant.refresh_token),
        previous_refresh: RefreshToken::new(grant.previous_refresh_token),
        expires_at: known(grant.expires_at),
        issued_at: seconds(grant.issued_at),
        scopes: grant.scopes,
        token_type: (!grant.token_type.is_empty()).then_some(grant.token_type),
        refresh_expires_at: known(grant.refresh_expires_at),
        origin: OriginFingerprint(grant.origin),
    })
}

const fn to_claim(claim: &pb::RefreshClaim) -> Claim {
    Claim {
        owner: InstanceId(claim.owner),
        fence: claim.fence,
        deadline: Timestamp::from_unix_millis(claim.deadline_ms),
        // Records from before it was written down: what it was then.
        lease: if claim.lease_ms == 0 { Duration::from_secs(20) } else { Duration::from_millis(claim.lease_ms) },
        generation: Generation(claim.generation),
    }
}

const RENEWED: u32 = 1;
const FAILED: u32 = 2;
const DEAD: u32 = 3;

fn of_last_refresh(last: &LastRefresh) -> pb::LastRefresh {
    let (outcome, cause) = match last.outcome {
        RefreshOutcome::Renewed => (RENEWED, 0),
        RefreshOutcome::Failed(cause) => (FAILED, cause.code()),
        RefreshOutcome::Dead(cause) => (DEAD, cause.code()),
    };
    pb::LastRefresh { at: last.at.unix_seconds(), outcome, cause }
}

fn to_last_refresh(last: pb::LastRefresh) -> Result<LastRefresh, CorruptRecord> {
    let outcome = match last.outcome {
        RENEWED => RefreshOutcome::Renewed,
        FAILED => RefreshOutcome::Failed(cause(last.cause)?),
        DEAD => RefreshOutcome::Dead(cause(last.cause)?),
        _ => return Err(CorruptRecord::Content),
    };
    Ok(LastRefresh { at: seconds(last.at), outcome })
}

/// A cause this version does not know was written by a later one: it reads as the most general of them.
fn cause(code: u32) -> Result<Cause, CorruptRecord> {
    if code == 0 { Err(CorruptRecord::Content) } else { Ok(Cause::from_code(code).unwrap_or(Cause::GrantRefused)) }
}

/// Whole seconds, rounded up: of a moment before which something must not happen.
const fn not_before(at: Timestamp) -> i64 {
    let whole = at.unix_seconds();
    if at.unix_millis() % 1_000 == 0 { whole } else { whole + 1 }
}

const fn seconds(at: i64) -> Timestamp {
    Timestamp::from_unix_seconds(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(s: i64) -> Timestamp {
        seconds(s)
    }

    fn full() -> Connection {
        Connection {
            generation: Generation(3),
            grant: Grant {
                access: AccessToken::new("a".into()).unwrap(),
                refresh: RefreshToken::new("r".into()),
                previous_refresh: RefreshToken::new("p".into()),
                expires_at: Some(at(1)),
                issued_at: at(2),
                scopes: vec!["s".into()],
                token_type: Some("mac".into()),
                refresh_expires_at: Some(at(3)),
                origin: OriginFingerprint(4),
            },
            renewal: Renewal::Claimed(Claim {
                owner: InstanceId(5),
                fence: 6,
                deadline: Timestamp::from_unix_millis(7_001),
                lease: Duration::from_millis(7_002),
                generation: Generation(2),
            }),
            doubt: Some(Doubt { since: at(8), attempted: true }),
            health: Health::Dead { at: at(9), cause: Cause::UserRevoked },
            last_refresh: Some(LastRefresh { at: at(10), outcome: RefreshOutcome::Failed(Cause::Throttled) }),
            backoff: Some(Backoff { failures: 11, first_at: at(12), next_at: at(13), cause: Cause::ProviderOutage }),
            created_at: at(14),
        }
    }

    #[test]
    fn a_pause_is_never_shorter_than_a_platform_asked_for() {
        for (asked, kept) in [(13_000, 13), (13_001, 14), (13_999, 14)] {
            let next_at = Timestamp::from_unix_millis(asked);
            let backoff = full().backoff.map(|backoff| Backoff { next_at, ..backoff });
            let record = encode(&Entry::Live(Box::new(Connection { backoff, ..full() })));
            let Entry::Live(back) = decode(&record).unwrap() else { panic!("deleted") };
            assert_eq!(back.backoff.unwrap().next_at, at(kept), "{asked}");
        }
    }

    #[test]
    fn everything_a_connection_knows_survives_encoding() {
        let Entry::Live(back) = decode(&encode(&Entry::Live(Box::new(full())))).unwrap() else { panic!("deleted") };
        // Secrets have no `==`, and the Debug of everything else shows every field.
        assert_eq!(format!("{back:?}"), format!("{:?}", full()));
        assert_eq!(back.grant.access.expose(), "a");
        assert_eq!(back.grant.refresh.unwrap().expose(), "r");
        assert_eq!(back.grant.previous_refresh.unwrap().expose(), "p");
    }

    #[test]
    fn a_tombstone_survives_encoding() {
        let tombstone = Tombstone { generation: Generation(9), at: at(10) };
        let Entry::Deleted(back) = decode(&encode(&Entry::Deleted(tombstone))).unwrap() else { panic!("live") };
        assert_eq!(back, tombstone);
    }

    #[test]
    fn bytes_that_hold_no_connection_are_corrupt() {
        for bytes in [&b""[..], b"\xff\xff", b"\x08\x01"] {
            assert_eq!(decode(bytes).unwrap_err(), CorruptRecord::Content);
        }
    }
}
