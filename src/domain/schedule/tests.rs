//! What is due when.

use super::*;
use crate::domain::cause::Cause;
use crate::domain::connection::{
    Backoff, Doubt, Generation, InstanceId, LastRefresh, OriginFingerprint, RefreshOutcome, Sight,
};
use crate::domain::secret::{AccessToken, RefreshToken};

const HOUR: i64 = 3_600;
const DAY: i64 = 24 * HOUR;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_unix_seconds(seconds)
}

fn key() -> ConnectionKey {
    ConnectionKey { tenant: "t".parse().unwrap(), user: "u".parse().unwrap(), platform: "p".parse().unwrap() }
}

/// Issued at 0.
fn connection(expires: Option<i64>) -> Connection {
    let grant = Grant {
        access: AccessToken::new("a".into()).unwrap(),
        refresh: RefreshToken::new("r".into()),
        previous_refresh: None,
        expires_at: expires.map(at),
        issued_at: at(0),
        scopes: Vec::new(),
        token_type: None,
        refresh_expires_at: None,
        origin: OriginFingerprint::default(),
    };
    Connection::stored(grant, Generation(1), at(0))
}

fn rule() -> RefreshRule {
    RefreshRule::default()
}

fn due(connection: &Connection, rule: &RefreshRule) -> Option<(i64, Work)> {
    appointment(connection, &key(), rule, true).map(|due| (due.at.unix_seconds(), due.work))
}

fn renewal_at(connection: &Connection, rule: &RefreshRule) -> i64 {
    let (at, work) = due(connection, rule).unwrap();
    assert_eq!(work, Work::Renew);
    at
}

#[test]
fn a_token_is_due_when_it_becomes_stale() {
    let hour = connection(Some(HOUR));
    let stale = stale_at(&hour.grant, &key(), rule().margin).unwrap();
    assert_eq!(renewal_at(&hour, &rule()), stale.unix_seconds());
    assert!((HOUR - 300..=HOUR - 240).contains(&stale.unix_seconds()));
}

#[test]
fn a_token_of_seconds_is_not_renewed_all_the_time() {
    let mut refreshed = connection(Some(2));
    refreshed.last_refresh = Some(LastRefresh { at: at(0), outcome: RefreshOutcome::Renewed });
    assert_eq!(renewal_at(&refreshed, &rule()), 60);
}

#[test]
fn a_token_that_was_stored_when_it_had_expired_is_due_at_once() {
    assert_eq!(renewal_at(&connection(Some(0)), &rule()), 0);
}

#[test]
fn a_refresh_token_that_dies_idle_is_used_before_it_does() {
    let idle = RefreshRule { idle_days: Some(30), ..rule() };
    let kept = renewal_at(&connection(None), &idle);
    assert!((30 * DAY * 3 / 4..=30 * DAY * 4 / 5).contains(&kept), "{kept}");
    assert_eq!(renewal_at(&connection(Some(60 * DAY)), &idle), kept);
    assert!(renewal_at(&connection(Some(HOUR)), &idle) < HOUR);
}

#[test]
fn a_refresh_token_with_an_end_of_its_own_is_used_before_it_where_that_gives_a_new_one() {
    let mut ending = connection(None);
    ending.grant.refresh_expires_at = Some(at(10 * DAY));
    assert!((7 * DAY..=8 * DAY).contains(&renewal_at(&ending, &rule())));
    assert_eq!(due(&ending, &RefreshRule { rotates: Rotates::No, ..rule() }), None);
    ending.grant.refresh_expires_at = Some(at(HOUR));
    assert_eq!(due(&ending, &rule()), None, "an end that does not move would be run after for ever");
}

#[test]
fn what_never_expires_and_what_is_dead_is_never_due() {
    assert_eq!(due(&connection(None), &rule()), None);
    let mut dead = connection(Some(HOUR));
    dead.health = Health::Dead { at: at(1), cause: Cause::UserRevoked };
    assert_eq!(due(&dead, &rule()), None);
    assert_eq!(next(&connection(Some(HOUR)), None, &key()), None, "nor what belongs to no platform");
}

#[test]
fn while_refreshes_fail_the_rest_is_respected() {
    let mut failing = connection(Some(HOUR));
    let backoff = |next_at| Backoff { failures: 1, first_at: at(0), next_at: at(next_at), cause: Cause::Throttled };
    failing.backoff = Some(backoff(HOUR + 7));
    assert_eq!(renewal_at(&failing, &rule()), HOUR + 7);
    failing.backoff = Some(backoff(1));
    assert!(renewal_at(&failing, &rule()) > 1, "a rest makes nothing due earlier");
}

#[test]
fn a_claim_is_looked_at_when_it_ends() {
    let sight = Sight { now: at(50), watched: Duration::ZERO };
    let claimed = connection(Some(HOUR)).claim(InstanceId(1), 2, sight, Duration::from_secs(20)).unwrap().0;
    assert_eq!(renewal_at(&claimed, &rule()), 70);
}

#[test]
fn after_a_lost_answer_the_token_is_left_alone_while_there_is_something_to_lose() {
    let mut lost = connection(Some(HOUR));
    lost.doubt = Some(Doubt { since: at(100), attempted: false });
    let expired = expired_at(&lost.grant).unwrap().unix_seconds();
    assert_eq!(renewal_at(&lost, &rule()), expired);
    assert!(renewal_at(&lost, &RefreshRule { rotates: Rotates::No, ..rule() }) < expired);
    let window = RefreshRule { reuse_window: Duration::from_hours(2), ..rule() };
    assert!(renewal_at(&lost, &window) < expired, "within the window a second use is safe");
    lost.grant.expires_at = None;
    assert_eq!(due(&lost, &RefreshRule { idle_days: Some(30), ..rule() }), None);
}

#[test]
fn the_end_of_a_token_that_nothing_renews_is_an_appointment_too() {
    let mut bare = connection(Some(HOUR));
    bare.grant.refresh = None;
    let expired = expired_at(&bare.grant).unwrap().unix_seconds();
    assert_eq!(due(&bare, &rule()), Some((expired, Work::Lapse)));
    let without_client = appointment(&connection(Some(HOUR)), &key(), &rule(), false).unwrap();
    assert_eq!(without_client.work, Work::Lapse);
    let unsupported = RefreshRule { supported: false, ..rule() };
    assert_eq!(due(&connection(Some(HOUR)), &unsupported), Some((expired, Work::Lapse)));
}
