//! The users whose tokens one engine received within the last hour: exact on this instance, and never more of them in
//! memory than the limit.

use std::collections::{BTreeSet, HashMap};
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::Exceeded;
use crate::domain::id::{TenantId, UserId};

/// The users of the last hour, each with when it was last.
#[derive(Default)]
pub(super) struct DistinctUsers {
    hashers: [RandomState; 2],
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    last: HashMap<u128, Duration>,
    order: BTreeSet<(Duration, u128)>,
    is_exceeded: bool,
}

const WINDOW: Duration = Duration::from_secs(3_600);

// === impl DistinctUsers ===

impl DistinctUsers {
    pub(super) fn admit(&self, most: usize, user: (&TenantId, &UserId), now: Duration) -> Result<(), Exceeded> {
        // 128 bits under secret keys: nobody finds two users that count as one.
        let [high, low] = [&self.hashers[0], &self.hashers[1]].map(|hasher| u128::from(hasher.hash_one(user)));
        let user = high << 64 | low;
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.forget(now);
        if let Some(before) = state.last.get(&user).copied() {
            state.order.remove(&(before, user));
        } else if state.last.len() >= most {
            let oldest = state.order.first().map_or(now, |(at, _)| *at);
            let is_news = !std::mem::replace(&mut state.is_exceeded, true);
            return Err(Exceeded { retry_after: (oldest + WINDOW).saturating_sub(now), is_news });
        } else {
            state.is_exceeded = false;
        }
        state.last.insert(user, now);
        state.order.insert((now, user));
        Ok(())
    }
}

impl std::fmt::Debug for DistinctUsers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DistinctUsers")
    }
}

// === impl State ===

impl State {
    /// Whoever was last an hour ago or earlier does not count any more.
    fn forget(&mut self, now: Duration) {
        while let Some((at, user)) = self.order.first().copied()
            && at + WINDOW <= now
        {
            self.order.pop_first();
            self.last.remove(&user);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn admitted(users: &DistinctUsers, most: usize, tenant: &str, user: &str, second: u64) -> bool {
        let (tenant, user) = (tenant.parse().unwrap(), user.parse().unwrap());
        users.admit(most, (&tenant, &user), Duration::from_secs(second)).is_ok()
    }

    #[test]
    fn one_user_more_than_the_limit_is_refused_until_another_is_an_hour_back() {
        let users = DistinctUsers::default();
        for user in 0..5_000 {
            assert!(admitted(&users, 5_000, "default", &format!("u{user}"), 0));
        }
        assert!(!admitted(&users, 5_000, "default", "one-more", 0));
        let users = DistinctUsers::default();
        assert!(admitted(&users, 2, "default", "u1", 0) && admitted(&users, 2, "default", "u2", 10));
        assert!(!admitted(&users, 2, "default", "u3", 20) && admitted(&users, 2, "default", "u1", 20));
        // The second user is the oldest now.
        assert!(!admitted(&users, 2, "default", "u3", 3_609) && admitted(&users, 2, "default", "u3", 3_610));
        assert!(!admitted(&users, 2, "default", "u2", 3_611));
    }

    #[test]
    fn one_user_id_in_two_tenants_is_two_users() {
        let users = DistinctUsers::default();
        assert!(admitted(&users, 1, "acme", "u1", 0) && !admitted(&users, 1, "globex", "u1", 0));
    }

    proptest! {
        #[test]
        fn within_no_hour_are_there_more_users_than_allowed(
            calls in proptest::collection::vec((0_u64..1_200, 0_usize..12), 1..80), most in 1_usize..6
        ) {
            let (users, mut now, mut let_in) = (DistinctUsers::default(), 0, Vec::new());
            for (pause, user) in calls {
                now += pause;
                let of_the_hour = |let_in: &[(u64, usize)]| {
                    let hour = let_in.iter().filter(|(at, _)| at + 3_600 > now);
                    hour.map(|(_, user)| *user).collect::<std::collections::BTreeSet<_>>()
                };
                let before = of_the_hour(&let_in);
                let expected = before.contains(&user) || before.len() < most;
                prop_assert_eq!(admitted(&users, most, "default", &format!("u{user}"), now), expected);
                if expected {
                    let_in.push((now, user));
                }
                prop_assert!(of_the_hour(&let_in).len() <= most);
                prop_assert!(users.state.lock().unwrap().last.len() <= most);
            }
        }
    }
}
