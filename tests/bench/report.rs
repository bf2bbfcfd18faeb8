//! The figures as a table, and beside each target whether it is met.

use std::time::Duration;

use crate::say;

/// What one server did in one round.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Figure {
    pub(crate) calls_per_second: f64,
    pub(crate) median: Duration,
    pub(crate) slowest_hundredth: Duration,
    /// Processor time of the server.
    pub(crate) cpu_per_call: Duration,
}

/// The rounds of every server at one number of calls in flight; in each round the servers took turns.
pub(crate) struct Level {
    pub(crate) in_flight: usize,
    pub(crate) rounds: Vec<Vec<Figure>>,
}

/// A promise with a number in it.
pub(crate) struct Target {
    pub(crate) what: &'static str,
    pub(crate) wanted: Bound,
    pub(crate) measured: f64,
}

/// What a figure must be.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Bound {
    AtLeast(f64),
    Below(f64, &'static str),
}

// === impl Level ===

impl Level {
    /// The median over the rounds of something about one server.
    fn of(&self, server: usize, about: impl Fn(&Figure) -> f64) -> f64 {
        median(self.rounds.iter().filter_map(|round| round.get(server)).map(about))
    }

    /// How much more one server does than another: the median of the rounds, each compared within itself, because the
    /// machine is not the same from one round to the next.
    pub(crate) fn ratio(&self, server: usize, to: usize) -> f64 {
        let pairs = self.rounds.iter().filter_map(|round| round.get(server).zip(round.get(to)));
        median(pairs.map(|(one, other)| one.calls_per_second / other.calls_per_second))
    }

    /// Prints one line per server; `compared` says which two others it is compared with.
    pub(crate) fn print(&self, names: &[&str], compared: &[(usize, &[usize])]) {
        say(format!(
            "{:>4} in flight            {:>9}  {:>8}  {:>8}  {:>8}",
            self.in_flight, "calls/s", "p50 us", "p99 us", "CPU us"
        ));
        for (server, name) in names.iter().enumerate() {
            let micros = |about: fn(&Figure) -> Duration| self.of(server, |figure| about(figure).as_secs_f64() * 1e6);
            let to = compared.iter().filter(|(one, _)| *one == server).flat_map(|(_, others)| others.iter());
            let ratios: Vec<String> = to
                .map(|other| format!("{:.2} of {}", self.ratio(server, *other), names.get(*other).unwrap_or(&"")))
                .collect();
            let line = format!(
                "  {name:<22} {:>10.0}  {:>8.0}  {:>8.0}  {:>8.1}  {}",
                self.of(server, |figure| figure.calls_per_second),
                micros(|figure| figure.median),
                micros(|figure| figure.slowest_hundredth),
                micros(|figure| figure.cpu_per_call),
                ratios.join(", "),
            );
            say(line.trim_end());
        }
        say("");
    }
}

/// Prints every target.
pub(crate) fn print_targets(targets: &[Target]) {
    say(format!("{:<68} {:>12}  {:>10}", "", "target", "measured"));
    for Target { what, wanted, measured } in targets {
        let (bound, figure, met) = match *wanted {
            Bound::AtLeast(least) => (format!(">= {least:.2}"), format!("{measured:.2}"), *measured >= least),
            Bound::Below(most, unit) => (format!("< {most} {unit}"), format!("{measured:.1} {unit}"), *measured < most),
        };
        say(format!("{what:<68} {bound:>12}  {figure:>10}  {}", if met { "ok" } else { "below" }));
    }
}

/// The value in the middle; of an even number of values, the upper of the two.
pub(crate) fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
