//! A clock that does not believe every step of the machine's wall clock, and learns from the `Date` of platforms'
//! answers which of the two is right.
//!
//! Beside the wall clock runs one that cannot step. Where the two part, nobody knows at first which time it is: the
//! later of the two counts, because a token that is renewed too early costs a request and one that is handed out too
//! late fails its user. The first answers of platforms decide. If there are none, after a while the wall clock is
//! believed: somebody may have put it right.
//!
//! A wall clock that was wrong from the start is overruled only when two platforms agree on the time and hardly any
//! disagrees: one platform must not be able to move the clock that the tokens of the others are judged by.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::domain::id::PlatformId;
use crate::domain::ports::Clock;
use crate::domain::time::Timestamp;

/// The machine's clock, steadied.
pub struct SteadyClock {
    machine: Arc<dyn Clock>,
    state: Mutex<State>,
}

struct State {
    /// What is believed, as milliseconds ahead of the clock that does not step.
    believed: i64,
    standing: Standing,
    witnesses: Vec<Witness>,
}

/// What the wall clock is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// It is believed.
    Trusted,
    /// It stepped then, and nobody has said yet whether it was right to.
    Doubted { since: Duration },
    /// It is wrong.
    Overruled,
}

/// What a platform said last.
struct Witness {
    platform: PlatformId,
    /// Its clock, as milliseconds ahead of the clock that does not step.
    ahead: i64,
    at: Duration,
}

/// A wall clock is slewed by less between two looks, and a `Date` is in whole seconds.
const STEADY: i64 = 2_000;
/// Two clocks that differ by less show the same time: the tolerance tokens are judged with.
const SAME: i64 = 30_000;
/// Beyond this nobody's word is taken: platforms send dates of another year, too.
const PLAUSIBLE: i64 = 24 * 3_600 * 1_000;
/// How long a step is doubted.
const DOUBT: Duration = Duration::from_mins(10);
/// How long the word of a platform counts.
const MEMORY: Duration = Duration::from_hours(1);
/// Platforms whose word is remembered.
const MOST_WITNESSES: usize = 64;

// === impl SteadyClock ===

impl SteadyClock {
    /// Around a machine's clock, whose wall clock is believed for a start.
    #[must_use]
    pub fn around(machine: Arc<dyn Clock>) -> Self {
        let believed = machine.now().unix_millis() - millis(machine.monotonic());
        let state = State { believed, standing: Standing::Trusted, witnesses: Vec::new() };
        Self { machine, state: Mutex::new(state) }
    }

    /// The wall clock as milliseconds ahead of the other one, and the other one.
    fn look(&self) -> (i64, Duration) {
        let (wall, monotonic) = (self.machine.now(), self.machine.monotonic());
        (wall.unix_millis() - millis(monotonic), monotonic)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clock for SteadyClock {
    fn now(&self) -> Timestamp {
        let (wall, monotonic) = self.look();
        let ahead = self.lock().ahead(wall, monotonic);
        Timestamp::from_unix_millis(ahead.saturating_add(millis(monotonic)))
    }

    fn monotonic(&self) -> Duration {
        self.machine.monotonic()
    }

    fn hear(&self, platform: &PlatformId, date: Timestamp) {
        let (wall, monotonic) = self.look();
        // Half a second on the average is cut off a `Date`.
        let ahead = date.unix_millis() + 500 - millis(monotonic);
        let mut state = self.lock();
        state.ahead(wall, monotonic);
        state.hear(Witness { platform: platform.clone(), ahead, at: monotonic }, wall);
    }
}

// === impl State ===

impl State {
    /// What is to be believed now.
    fn ahead(&mut self, wall: i64, now: Duration) -> i64 {
        let step = wall - self.believed;
        if step.abs() <= STEADY {
            if self.standing != Standing::Trusted {
                tracing::info!("the clock of this machine is right again");
            }
            self.standing = Standing::Trusted;
            self.believed = wall;
            return wall;
        }
        if self.standing == Standing::Trusted {
            let (wall_clock, expected) = (shown(wall, now), shown(self.believed, now));
            tracing::error!(alarm = "clock_step", %wall_clock, %expected, "the clock of this machine was set; until platforms tell the time, the later of the two counts");
            self.standing = Standing::Doubted { since: now };
        }
        self.weigh(wall, now);
        match self.standing {
            Standing::Trusted | Standing::Overruled => self.believed,
            Standing::Doubted { .. } => self.believed.max(wall),
        }
    }

    /// Lets the witnesses decide between the wall clock and what was believed.
    fn weigh(&mut self, wall: i64, now: Duration) {
        self.forget(now);
        let (for_wall, for_belief) = (self.agreeing(wall), self.agreeing(self.believed));
        let outlived = matches!(self.standing, Standing::Doubted { since } if now.saturating_sub(since) > DOUBT);
        if for_wall > for_belief || (for_wall == for_belief && outlived) {
            tracing::warn!(witnesses = for_wall, "the clock of this machine is believed as it is now");
            self.believed = wall;
            self.standing = Standing::Trusted;
        } else if for_belief > for_wall && self.standing != Standing::Overruled {
            tracing::error!(alarm = "clock_skew", ours = %shown(wall, now), platforms = %shown(self.believed, now), "the clock of this machine is wrong, and not used until it is right again");
            self.standing = Standing::Overruled;
        }
    }

    fn hear(&mut self, witness: Witness, wall: i64) {
        let (ahead, now) = (witness.ahead, witness.at);
        self.forget(now);
        let before = self.witnesses.iter().position(|known| known.platform == witness.platform);
        let known = before.map(|place| self.witnesses.swap_remove(place).ahead);
        if self.witnesses.len() < MOST_WITNESSES {
            self.witnesses.push(witness);
        }
        if same(ahead, self.believed) || same(ahead, wall) {
            if self.standing != Standing::Trusted {
                self.weigh(wall, now);
            }
            return;
        }
        let plausible = (ahead - wall).abs() <= PLAUSIBLE;
        let (for_it, against) = (self.agreeing(ahead), self.agreeing(wall).max(self.agreeing(self.believed)));
        let (ours, platforms) = (shown(self.believed, now), shown(ahead, now));
        if plausible && for_it >= 2 && for_it > against {
            tracing::error!(alarm = "clock_skew", %ours, %platforms, witnesses = for_it, "the clock of this machine is wrong, and not used until it is right again");
            self.believed = ahead;
            self.standing = Standing::Overruled;
        } else if known.is_none_or(|known| !same(known, ahead)) {
            tracing::warn!(alarm = "clock_skew", %ours, %platforms, "a platform's clock differs from ours");
        }
    }

    /// Forgets whom nobody has heard for long.
    fn forget(&mut self, now: Duration) {
        self.witnesses.retain(|witness| now.saturating_sub(witness.at) <= MEMORY);
    }

    fn agreeing(&self, ahead: i64) -> usize {
        self.witnesses.iter().filter(|witness| same(witness.ahead, ahead)).count()
    }
}

fn same(a: i64, b: i64) -> bool {
    (a - b).abs() <= SAME
}

fn shown(ahead: i64, now: Duration) -> Timestamp {
    Timestamp::from_unix_millis(ahead.saturating_add(millis(now)))
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
