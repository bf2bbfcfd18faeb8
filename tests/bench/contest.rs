//! Contestants that take turns, round after round, and how much more one does than another.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use crate::effort::Effort;
use crate::load::{Load, Plan};
use crate::server::Server;

/// One load on one server.
pub(crate) struct Contestant<'a> {
    pub(crate) name: &'static str,
    pub(crate) server: &'a Server,
    pub(crate) load: Arc<Load>,
    /// The names of those it is compared with.
    pub(crate) compared_with: &'static [&'static str],
}

/// The rounds of all contestants at one number of calls in flight.
pub(crate) struct Level {
    pub(crate) in_flight: usize,
    pub(crate) results: Vec<Results>,
}

/// The rounds of one contestant.
pub(crate) struct Results {
    pub(crate) name: &'static str,
    pub(crate) compared_with: &'static [&'static str],
    rounds: Vec<Round>,
}

/// What a contestant did in one round.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Round {
    pub(crate) calls_per_second: f64,
    pub(crate) median: Duration,
    pub(crate) slowest_hundredth: Duration,
    /// Processor time of the server.
    pub(crate) cpu_per_call: Duration,
}

/// How much more one contestant does than another: the median over the rounds, each compared within itself, because the
/// machine is not the same from one round to the next.
///
/// Calls per second count everything, also what else runs on the machine, and stop telling servers apart where the load
/// or the store is at its limit. Calls per processor time of the server know nothing of either.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ratio {
    pub(crate) per_second: f64,
    pub(crate) per_cpu_second: f64,
}

/// Lets the contestants take turns. Each asks once before anything counts, so that nobody begins cold.
pub(crate) fn hold(
    contestants: &[Contestant<'_>],
    levels: &[usize],
    effort: &Effort,
) -> Result<Vec<Level>, Box<dyn Error>> {
    for contestant in contestants {
        contestant.load.run(effort.plan(64))?;
    }
    levels.iter().map(|in_flight| level(contestants, *in_flight, effort)).collect()
}

fn level(contestants: &[Contestant<'_>], in_flight: usize, effort: &Effort) -> Result<Level, Box<dyn Error>> {
    let results = |contestant: &Contestant<'_>| {
        let (name, compared_with) = (contestant.name, contestant.compared_with);
        Results { name, compared_with, rounds: Vec::new() }
    };
    let mut level = Level { in_flight, results: contestants.iter().map(results).collect() };
    for _ in 0..effort.rounds(in_flight) {
        for (contestant, results) in contestants.iter().zip(&mut level.results) {
            results.rounds.push(contestant.round(effort.plan(in_flight))?);
        }
    }
    level.print();
    Ok(level)
}

// === impl Contestant ===

impl Contestant<'_> {
    fn round(&self, plan: Plan) -> Result<Round, Box<dyn Error>> {
        let before = self.server.cpu_time()?;
        let mut outcome = self.load.run(plan).map_err(|error| format!("{}: {error}", self.name))?;
        let used = self.server.cpu_time()?.since(before);
        outcome.latencies.sort_unstable();
        let counted = outcome.latencies.len();
        let at = |index: usize| outcome.latencies.get(index).copied().ok_or("no call was answered");
        let calls = u32::try_from(outcome.calls)?;
        Ok(Round {
            calls_per_second: f64::from(u32::try_from(counted)?) / plan.measured.as_secs_f64(),
            median: at(counted / 2)?,
            slowest_hundredth: at(counted * 99 / 100)?,
            cpu_per_call: used / calls.max(1),
        })
    }
}

// === impl Level ===

impl Level {
    /// How much more one does than another.
    pub(crate) fn ratio(&self, one: &str, other: &str) -> Result<Ratio, Box<dyn Error>> {
        let of = |name: &str| {
            let found = self.results.iter().find(|results| results.name == name);
            found.ok_or_else(|| format!("`{name}` takes no part"))
        };
        let (one, other) = (of(one)?, of(other)?);
        let over = |about: fn(&Round) -> f64| {
            median(one.rounds.iter().zip(&other.rounds).map(|(one, other)| about(one) / about(other)))
        };
        Ok(Ratio {
            per_second: over(|round| round.calls_per_second),
            per_cpu_second: over(|round| 1.0 / round.cpu_per_call.as_secs_f64()),
        })
    }
}

// === impl Results ===

impl Results {
    /// The median over the rounds of something about them.
    pub(crate) fn median(&self, about: impl Fn(&Round) -> f64) -> f64 {
        median(self.rounds.iter().map(about))
    }
}

// === impl Ratio ===

impl Ratio {
    /// What it surely is.
    pub(crate) fn lesser(self) -> f64 {
        self.per_second.min(self.per_cpu_second)
    }

    /// The other way round.
    pub(crate) fn inverse(self) -> Self {
        Self { per_second: 1.0 / self.per_second, per_cpu_second: 1.0 / self.per_cpu_second }
    }

    /// What it is at most.
    pub(crate) fn greater(self) -> f64 {
        self.per_second.max(self.per_cpu_second)
    }
}

/// The value in the middle; of an even number of values, the upper of the two.
pub(crate) fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
