//! How thoroughly to measure.

use std::time::Duration;

use crate::load::Plan;

/// How thoroughly to measure.
pub(crate) struct Effort {
    warm_up: Duration,
    measured: Duration,
    rounds: usize,
    rounds_at_target: usize,
    /// Calls of a primitive in one run of it.
    pub(crate) primitive_calls: u32,
    /// How often a crowd asks.
    pub(crate) crowds: usize,
    /// How long the platform takes: in one run, and in another.
    pub(crate) latencies: [Duration; 2],
}

/// The level the targets are set at: calls in flight.
pub(crate) const TARGET_LEVEL: usize = 64;

// === impl Effort ===

impl Effort {
    pub(crate) fn thorough() -> Self {
        Self {
            warm_up: Duration::from_millis(200),
            measured: Duration::from_secs(1),
            rounds: 5,
            rounds_at_target: 9,
            primitive_calls: 20_000,
            crowds: 3,
            latencies: [Duration::from_millis(250), Duration::from_secs(1)],
        }
    }

    pub(crate) fn quick() -> Self {
        Self {
            warm_up: Duration::from_millis(50),
            measured: Duration::from_millis(150),
            rounds: 2,
            rounds_at_target: 5,
            primitive_calls: 2_000,
            crowds: 1,
            latencies: [Duration::from_millis(100), Duration::from_millis(400)],
        }
    }

    /// What every contestant does in one round.
    pub(crate) fn plan(&self, in_flight: usize) -> Plan {
        Plan { in_flight, warm_up: self.warm_up, measured: self.measured }
    }

    /// How many rounds there are.
    pub(crate) fn rounds(&self, in_flight: usize) -> usize {
        if in_flight == TARGET_LEVEL { self.rounds_at_target } else { self.rounds }
    }
}
