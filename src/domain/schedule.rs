//! When somebody should look at a connection although nobody asks for it: one pure decision, written down beside every
//! record so that what is due can be found.

use std::time::Duration;

use super::catalog::Platform;
use super::connection::{Connection, Entry, Grant, Health, Renewal};
use super::freshness::{expired_at, spread, stale_at};
use super::id::ConnectionKey;
use super::ports::{Hints, StateHint};
use super::profile::{RefreshRule, Rotates};
use super::time::Timestamp;

/// What is to be done about a connection, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appointment {
    /// From when on.
    pub at: Timestamp,
    /// What.
    pub work: Work,
}

/// What may be due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// A refresh.
    Renew,
    /// The access token ends and nothing can renew it: to be written down, so that whoever watches learns of it.
    Lapse,
}

/// No connection is refreshed again sooner without being asked for, however short-lived its tokens are.
const SHORTEST_ROUND: Duration = Duration::from_mins(1);

/// A refresh token that lives for less than this is not kept alive for its own sake.
const WORTH_KEEPING: Duration = Duration::from_hours(24);

/// What an entry can be found by, written at `now`.
///
/// `platform` is the one it belongs to, if it is enabled here: without it nothing is ever due.
#[must_use]
pub fn hints(entry: &Entry, platform: Option<&Platform>, key: &ConnectionKey, now: Timestamp) -> Hints {
    let Entry::Live(connection) = entry else {
        return Hints { state: StateHint::Deleted, ..Hints::default() };
    };
    let expires_at = connection.grant.expires_at;
    let lapsed = |due: &Appointment| due.work == Work::Lapse && due.at <= now;
    let (state, due_at) = match (connection.health, next(connection, platform, key)) {
        (Health::Dead { .. }, _) => (StateHint::Dead, None),
        (Health::Alive, Some(due)) if lapsed(&due) => (StateHint::Dead, None),
        // Hints are kept to the second; one that came early would be looked at in vain.
        (Health::Alive, due) => (StateHint::Alive, due.map(|due| due.at.next_second())),
    };
    Hints { state, expires_at, due_at }
}

/// What is due next about a connection; `None`: nothing will be, unless somebody writes to it.
#[must_use]
pub fn next(connection: &Connection, platform: Option<&Platform>, key: &ConnectionKey) -> Option<Appointment> {
    let platform = platform?;
    appointment(connection, key, &platform.profile.refresh, platform.app.is_some())
}

fn appointment(
    connection: &Connection,
    key: &ConnectionKey,
    rule: &RefreshRule,
    has_client: bool,
) -> Option<Appointment> {
    if let Health::Dead { .. } = connection.health {
        return None;
    }
    if let Renewal::Claimed(claim) = connection.renewal {
        // Should its owner have died, somebody has to find that out.
        return Some(Appointment { at: claim.deadline, work: Work::Renew });
    }
    let grant = &connection.grant;
    if grant.refresh.is_none() || !rule.supported || !has_client {
        return expired_at(grant).map(|at| Appointment { at, work: Work::Lapse });
    }
    // Tokens as a user brought them may have expired on the way; those of a refresh have not.
    let earliest = connection.last_refresh.map_or(Timestamp::EPOCH, |_| grant.issued_at + SHORTEST_ROUND);
    let stale = stale_at(grant, key, rule.margin).map(|at| at.max(earliest));
    let wanted = [stale, fading_at(grant, key, rule)].into_iter().flatten().min()?;
    let rested = connection.backoff.map_or(wanted, |backoff| wanted.max(backoff.next_at));
    let at = match connection.doubt {
        Some(doubt) if rule.rotates != Rotates::No && rested >= doubt.since + rule.reuse_window => {
            // Left alone for as long as there is something to lose by trying.
            rested.max(expired_at(grant)?)
        }
        Some(_) | None => rested,
    };
    Some(Appointment { at, work: Work::Renew })
}

/// When a refresh token that dies unused, or of age, has to be used to stay alive: after about three quarters of its
/// time, spread like everything else.
fn fading_at(grant: &Grant, key: &ConnectionKey, rule: &RefreshRule) -> Option<Timestamp> {
    let idle = rule.idle_days.map(|days| Duration::from_hours(24) * days);
    let stated = grant.refresh_expires_at.filter(|_| rule.rotates != Rotates::No);
    let life = idle.into_iter().chain(stated.map(|at| at.since(grant.issued_at))).min()?;
    (life >= WORTH_KEEPING).then(|| grant.issued_at + life.saturating_sub(spread(life / 4, key)))
}

#[cfg(test)]
mod tests;
