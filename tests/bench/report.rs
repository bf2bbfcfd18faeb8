//! What was measured, as tables, and beside each target whether it is met.

use std::time::Duration;

use crate::contest::{Level, Ratio, Results, Round};
use crate::say;

/// A promise with a number in it.
pub(crate) struct Target {
    what: String,
    wanted: Bound,
    measured: f64,
    /// Where that comes from, where it is one of two.
    note: String,
}

/// What a figure must be.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Bound {
    AtLeast(f64),
    AtMost(f64, &'static str),
    Below(f64, &'static str),
}

// === impl Target ===

impl Target {
    pub(crate) fn new(what: impl Into<String>, wanted: Bound, measured: f64) -> Self {
        Self { what: what.into(), wanted, measured, note: String::new() }
    }

    /// At least so many times as much, by either measure.
    pub(crate) fn at_least(least: f64, ratio: Ratio, what: impl Into<String>) -> Self {
        Self { note: note(ratio), ..Self::new(what, Bound::AtLeast(least), ratio.lesser()) }
    }

    /// At most so many times as much, by either measure.
    pub(crate) fn at_most(most: f64, ratio: Ratio, what: impl Into<String>) -> Self {
        Self { note: note(ratio), ..Self::new(what, Bound::AtMost(most, ""), ratio.greater()) }
    }

    fn print(&self) {
        let Self { what, wanted, measured, note } = self;
        let (bound, figure, met) = match *wanted {
            Bound::AtLeast(least) => (format!(">= {least:.2}"), format!("{measured:.2}"), *measured >= least),
            Bound::AtMost(most, "") => (format!("<= {most:.2}"), format!("{measured:.2}"), *measured <= most),
            Bound::AtMost(most, unit) => {
                (format!("<= {most} {unit}"), format!("{measured:.1} {unit}"), *measured <= most)
            }
            Bound::Below(most, unit) => (format!("< {most} {unit}"), format!("{measured:.1} {unit}"), *measured < most),
        };
        let verdict = if met { "ok" } else { "MISSED" };
        say(format!("{what:<70} {bound:>10}  {figure:>9}  {verdict:<6}  {note}").trim_end());
    }
}

fn note(ratio: Ratio) -> String {
    format!("{:.2} by calls/s, {:.2} by CPU", ratio.per_second, ratio.per_cpu_second)
}

/// Prints every target.
pub(crate) fn print_targets(targets: &[Target]) {
    say(format!("{:<70} {:>10}  {:>9}", "", "target", "measured"));
    targets.iter().for_each(Target::print);
}

// === impl Level ===

impl Level {
    /// Prints one line per contestant.
    pub(crate) fn print(&self) {
        let title = format!("{} in flight", self.in_flight);
        let columns = format!("{:>9}  {:>8}  {:>8}  {:>8}", "calls/s", "p50 us", "p99 us", "CPU us");
        say(format!("{title:<34} {columns}  ratio by calls/s, by CPU"));
        self.results.iter().for_each(|results| self.print_line(results));
        say("");
    }

    fn print_line(&self, results: &Results) {
        let micros = |about: fn(&Round) -> Duration| results.median(|round| about(round).as_secs_f64() * 1e6);
        let compared = results.compared_with.iter().filter_map(|other| {
            let ratio = self.ratio(results.name, other).ok()?;
            Some(format!("{:.2}, {:.2} of {other}", ratio.per_second, ratio.per_cpu_second))
        });
        let line = format!(
            "  {:<32} {:>9.0}  {:>8.0}  {:>8.0}  {:>8.1}  {}",
            results.name,
            results.median(|round| round.calls_per_second),
            micros(|round| round.median),
            micros(|round| round.slowest_hundredth),
            micros(|round| round.cpu_per_call),
            compared.collect::<Vec<_>>().join("; "),
        );
        say(line.trim_end());
    }
}
