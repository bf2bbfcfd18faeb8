//! What came out of a case, and the table of it all.

use std::time::Duration;

use crate::say;
use crate::world::Lost;

/// What came out of one case over one store.
#[derive(Debug, Default)]
pub(crate) struct Report {
    /// What was done, in a few words with numbers.
    pub(crate) done: String,
    /// Calls to the vault.
    pub(crate) calls: usize,
    /// Refreshes the provider saw.
    pub(crate) refreshes: Option<usize>,
    /// Grants that are alive at the end, of so many.
    pub(crate) alive: Option<(usize, usize)>,
    /// Grants that are lost through no fault of the vault's, and why; they are among the dead.
    pub(crate) excused: Vec<(usize, &'static str)>,
    /// The longest time until an instance served again.
    pub(crate) recovery: Option<Duration>,
    /// The promises that were not kept.
    pub(crate) broken: Vec<String>,
}

/// A line of the table.
pub(crate) struct Row {
    pub(crate) case: String,
    pub(crate) store: &'static str,
    pub(crate) took: Duration,
    pub(crate) report: Report,
}

const HEADINGS: [&str; 10] =
    ["case", "store", "calls", "refreshes", "alive", "lost", "recovery", "took", "verdict", "what was done"];
/// How many broken promises of one case are told.
const MOST_BROKEN: usize = 20;
/// From this column on, text stands at the left again.
const NUMBERS: std::ops::Range<usize> = 2..8;

// === impl Report ===

impl Report {
    /// Notes a promise that was not kept.
    pub(crate) fn must(&mut self, kept: bool, promise: impl FnOnce() -> String) {
        if !kept {
            self.broken.push(promise());
        }
    }

    /// Notes how many grants are alive, and that none may be lost.
    pub(crate) fn all_alive(&mut self, alive: usize, of: usize) {
        self.alive = Some((alive, of));
        self.must(alive == of, || format!("{} of {of} grants are lost", of - alive));
    }

    /// The same where it is known which are lost.
    pub(crate) fn none_lost(&mut self, lost: &[Lost], of: usize) {
        self.alive = Some((of - lost.len(), of));
        self.must(lost.is_empty(), || format!("{} of {of} grants are lost: {lost:?}", lost.len()));
    }

    /// Notes how long it took to serve again.
    pub(crate) fn recovered(&mut self, took: Duration, bound: Duration) {
        self.recovery = Some(took);
        self.must(took <= bound, || format!("served again after {took:.1?}, not within {bound:?}"));
    }

    fn lost(&self) -> Option<usize> {
        self.alive.map(|(alive, of)| of - alive)
    }
}

// === impl Row ===

impl Row {
    fn cells(&self) -> [String; 10] {
        let Report { done, calls, refreshes, alive, recovery, broken, excused, .. } = &self.report;
        let seconds = |duration: Duration| format!("{:.1} s", duration.as_secs_f64());
        let known = |value: Option<String>| value.unwrap_or_default();
        let excused: Vec<String> =
            excused.iter().filter(|(count, _)| *count > 0).map(|(count, why)| format!("{count} {why}")).collect();
        let lost = self.report.lost().map(|lost| match &*excused {
            [] => lost.to_string(),
            _ => format!("{lost} ({})", excused.join(", ")),
        });
        [
            self.case.clone(),
            self.store.to_owned(),
            calls.to_string(),
            known(refreshes.map(|refreshes| refreshes.to_string())),
            known(alive.map(|(alive, of)| format!("{alive}/{of}"))),
            known(lost),
            known(recovery.map(seconds)),
            seconds(self.took),
            if broken.is_empty() { "kept".to_owned() } else { "BROKEN".to_owned() },
            done.clone(),
        ]
    }
}

/// Prints the table and what was broken; whether nothing was.
pub(crate) fn print(rows: &[Row]) -> bool {
    let cells: Vec<[String; 10]> = rows.iter().map(Row::cells).collect();
    let widths: Vec<usize> = HEADINGS
        .iter()
        .enumerate()
        .map(|(column, heading)| {
            cells.iter().map(|row| row[column].chars().count()).max().unwrap_or(0).max(heading.len())
        })
        .collect();
    let line = |row: &[String; 10]| {
        let aligned = row.iter().zip(&widths).enumerate().map(|(column, (cell, width))| {
            if NUMBERS.contains(&column) { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
        });
        aligned.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    say("");
    say(line(&HEADINGS.map(str::to_owned)));
    for row in &cells {
        say(line(row));
    }
    let broken: Vec<&Row> = rows.iter().filter(|row| !row.report.broken.is_empty()).collect();
    for row in &broken {
        say(format!("\n{} over {}:", row.case, row.store));
        for promise in row.report.broken.iter().take(MOST_BROKEN) {
            say(format!("  - {promise}"));
        }
        if let more @ 1.. = row.report.broken.len().saturating_sub(MOST_BROKEN) {
            say(format!("  - and {more} more"));
        }
    }
    // In the words of cargo's own tests, so that whoever counts those counts these.
    let word = if broken.is_empty() { "ok" } else { "FAILED" };
    say(format!("\ntest result: {word}. {} passed; {} failed; 0 ignored", rows.len() - broken.len(), broken.len()));
    broken.is_empty()
}
