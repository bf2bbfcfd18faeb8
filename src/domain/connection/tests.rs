//! What may happen to a connection, and what is refused.

use super::*;

const LEASE: Duration = Duration::from_secs(20);
const A: InstanceId = InstanceId(1);
const B: InstanceId = InstanceId(2);

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_unix_seconds(seconds)
}

/// Somebody who has watched since 100, when every first claim here is made.
fn watching(seconds: i64) -> Sight {
    Sight { now: at(seconds), watched: at(seconds).since(at(100)) }
}

fn connection() -> Connection {
    let grant = Grant {
        access: AccessToken::new("a0".into()).unwrap(),
        refresh: RefreshToken::new("r0".into()),
        previous_refresh: None,
        expires_at: Some(at(100)),
        issued_at: at(0),
        scopes: vec!["email".into()],
        token_type: None,
        refresh_expires_at: None,
        origin: OriginFingerprint(7),
    };
    Connection::stored(grant, Generation(1), at(0))
}

fn renewed(refresh: &str) -> Renewed {
    Renewed {
        access: AccessToken::new("a1".into()).unwrap(),
        refresh: RefreshToken::new(refresh.into()),
        expires_at: Some(at(200)),
        sent_at: at(100),
        scopes: None,
        token_type: None,
        refresh_expires_at: None,
    }
}

fn refresh_of(connection: &Connection) -> &str {
    connection.grant.refresh.as_ref().unwrap().expose()
}

#[test]
fn a_rotated_refresh_token_replaces_the_old_one_which_is_kept_as_previous() {
    let (claimed, claim) = connection().claim(A, 1, watching(100), LEASE).unwrap();
    let next = claimed.renew(&claim, renewed("r1")).unwrap();
    assert_eq!(refresh_of(&next), "r1");
    assert_eq!(next.grant.previous_refresh.as_ref().unwrap().expose(), "r0");
    assert_eq!((next.generation, next.renewal), (Generation(2), Renewal::Idle));
    assert_eq!(next.grant.scopes, ["email"]);
}

#[test]
fn without_a_new_refresh_token_the_old_one_is_kept() {
    let (claimed, claim) = connection().claim(A, 1, watching(100), LEASE).unwrap();
    assert_eq!(refresh_of(&claimed.renew(&claim, renewed("")).unwrap()), "r0");
}

#[test]
fn a_claim_is_exclusive_until_its_deadline() {
    let (claimed, claim) = connection().claim(A, 1, watching(100), LEASE).unwrap();
    assert_eq!(claimed.clone().claim(B, 2, watching(119), LEASE).unwrap_err(), ClaimRefused::Held(claim));
    let (taken, _) = claimed.claim(B, 2, watching(120), LEASE).unwrap();
    assert_eq!(taken.doubt, Some(Doubt { since: at(100), attempted: true }));
}

#[test]
fn a_late_owner_with_the_newer_answer_still_counts() {
    let (claimed, first) = connection().claim(A, 1, watching(100), LEASE).unwrap();
    let (taken, second) = claimed.claim(B, 2, watching(130), LEASE).unwrap();
    let saved = taken.renew(&first, renewed("r1")).unwrap();
    assert_eq!(refresh_of(&saved), "r1");
    assert_eq!(saved.clone().die(&second, Cause::LostAnswer, at(131)).unwrap_err(), Superseded);
    assert_eq!(saved.renew(&second, renewed("r2")).unwrap_err(), Superseded);
}

#[test]
fn a_late_answer_revives_a_connection_that_was_declared_dead_meanwhile() {
    let (claimed, first) = connection().claim(A, 1, watching(100), LEASE).unwrap();
    let (taken, second) = claimed.claim(B, 2, watching(130), LEASE).unwrap();
    let dead = taken.die(&second, Cause::LostAnswer, at(131)).unwrap();
    assert_eq!(dead.renew(&first, renewed("r1")).unwrap().health, Health::Alive);
}

#[test]
fn an_answer_for_an_older_generation_is_dropped() {
    let (_, claim) = connection().claim(A, 1, watching(100), LEASE).unwrap();
    let reconsented = Connection::stored(connection().grant, Generation(2), at(101));
    assert_eq!(reconsented.renew(&claim, renewed("r1")).unwrap_err(), Superseded);
}

#[test]
fn what_was_kept_of_an_answer_counts_if_nothing_newer_is_here() {
    let (claimed, first) = connection().claim(A, 1, watching(100), LEASE).unwrap();
    let kept = claimed.clone().renew(&first, renewed("r1")).unwrap();
    let (taken, second) = claimed.claim(B, 2, watching(130), LEASE).unwrap();
    assert_eq!(refresh_of(&taken.clone().catch_up(kept.clone()).unwrap()), "r1");
    let dead = taken.clone().die(&second, Cause::LostAnswer, at(131)).unwrap();
    assert_eq!(dead.catch_up(kept.clone()).unwrap().health, Health::Alive);
    let theirs = taken.renew(&second, renewed("r2")).unwrap();
    assert_eq!(theirs.catch_up(kept).unwrap_err(), Superseded);
}

#[test]
fn failures_are_counted_from_the_first_one() {
    let (claimed, claim) = connection().claim(A, 1, watching(100), LEASE).unwrap();
    let failure = |s| Failure { at: at(s), cause: Cause::ProviderOutage, next_at: Some(at(s + 30)), lost: None };
    let once = claimed.release(&claim, failure(101)).unwrap();
    let (again, claim) = once.claim(A, 2, watching(140), LEASE).unwrap();
    let twice = again.release(&claim, failure(141)).unwrap().backoff.unwrap();
    assert_eq!((twice.failures, twice.first_at, twice.next_at), (2, at(101), at(171)));
}

#[test]
fn a_dead_grant_cannot_be_claimed() {
    let (claimed, claim) = connection().claim(A, 1, watching(100), LEASE).unwrap();
    let dead = claimed.die(&claim, Cause::UserRevoked, at(101)).unwrap();
    assert_eq!(dead.claim(A, 2, watching(200), LEASE).unwrap_err(), ClaimRefused::Dead(Cause::UserRevoked));
}

#[test]
fn a_claim_is_not_over_by_what_a_clock_shows_but_by_having_been_watched() {
    let (claimed, claim) = connection().claim(A, 1, watching(100), LEASE).unwrap();
    let hour_ahead = Sight { now: at(3_700), watched: Duration::from_millis(19_999) };
    assert_eq!(claimed.clone().claim(B, 2, hour_ahead, LEASE).unwrap_err(), ClaimRefused::Held(claim));
    let hour_behind = Sight { now: at(0), watched: LEASE };
    assert!(claimed.clone().claim(B, 2, hour_behind, LEASE).is_ok());
    let next_day = Sight { now: at(86_400), watched: Duration::ZERO };
    assert!(claimed.claim(B, 2, next_day, LEASE).is_ok(), "no clock is that wrong");
}

#[test]
fn what_was_claimed_in_the_future_is_in_no_window_of_reuse() {
    let rule = RefreshRule { reuse_window: Duration::from_secs(600), ..RefreshRule::default() };
    let (claimed, _) = connection().claim(A, 1, watching(100), LEASE).unwrap();
    let at_risk = |now| claimed.is_at_risk(&rule, Sight { now: at(now), watched: LEASE });
    assert_eq!((at_risk(99), at_risk(100), at_risk(699), at_risk(700)), (true, false, false, true));
}
