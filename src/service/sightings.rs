//! Since when this instance has seen each claim. A claim may be taken over once somebody has watched it for as long as
//! it holds: that needs no two clocks to agree, and no clock to be right.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::domain::connection::{Claim, InstanceId};
use crate::domain::id::ConnectionKey;

/// The claims seen of late, each with the moment it was first seen at, by a clock that does not step.
#[derive(Default)]
pub(super) struct Sightings(Mutex<HashMap<ConnectionKey, Sighting>>);

struct Sighting {
    claim: (InstanceId, u64),
    at: Duration,
}

/// About as many as an instance can meet within a lease; some megabytes.
const MOST: usize = 16_384;

/// A claim that has been forgotten is watched from the beginning. None is of interest for longer than this.
const KEPT: Duration = Duration::from_mins(30);

// === impl Sightings ===

impl Sightings {
    /// Notes that a claim is there, and says for how long it has been seen.
    pub(super) fn note(&self, key: &ConnectionKey, claim: &Claim, now: Duration) -> Duration {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let claim = (claim.owner, claim.fence);
        if let Some(sighting) = seen.get(key)
            && sighting.claim == claim
        {
            return now.saturating_sub(sighting.at);
        }
        if seen.len() >= MOST {
            seen.retain(|_, sighting| now.saturating_sub(sighting.at) < KEPT);
        }
        if seen.len() >= MOST {
            // Any one may go: the map's order is keyed at random, so nobody can choose which.
            let victim = seen.keys().next().cloned();
            victim.and_then(|victim| seen.remove(&victim));
        }
        seen.insert(key.clone(), Sighting { claim, at: now });
        Duration::ZERO
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::connection::Generation;
    use crate::domain::time::Timestamp;

    fn key(user: &str) -> ConnectionKey {
        ConnectionKey { tenant: "t".parse().unwrap(), user: user.parse().unwrap(), platform: "p".parse().unwrap() }
    }

    fn claim(fence: u64) -> Claim {
        let lease = Duration::from_secs(20);
        Claim { owner: InstanceId(1), fence, deadline: Timestamp::EPOCH, lease, generation: Generation(1) }
    }

    const fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_claim_is_watched_from_the_moment_it_is_first_seen() {
        let sightings = Sightings::default();
        assert_eq!(sightings.note(&key("u"), &claim(1), at(100)), at(0));
        assert_eq!(sightings.note(&key("u"), &claim(1), at(107)), at(7));
        assert_eq!(sightings.note(&key("v"), &claim(1), at(107)), at(0));
        assert_eq!(sightings.note(&key("u"), &claim(2), at(108)), at(0), "another claim is watched anew");
    }

    #[test]
    fn memory_is_bounded() {
        let sightings = Sightings::default();
        for user in 0..MOST + 10 {
            sightings.note(&key(&format!("u{user}")), &claim(1), at(0));
        }
        assert_eq!(sightings.0.lock().unwrap().len(), MOST);
        sightings.note(&key("late"), &claim(1), KEPT);
        assert_eq!(sightings.0.lock().unwrap().len(), 1);
    }
}
