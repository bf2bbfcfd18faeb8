//! How far a long command is: a bar on a terminal, a line now and then elsewhere. On standard error.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::Duration;

use tokio::time::Instant;

use super::output;

/// How far a command is.
pub(super) struct Progress {
    what: &'static str,
    /// Bytes to go through, where that is known.
    total: Option<u64>,
    began: Instant,
    shown: Option<Instant>,
    terminal: bool,
}

/// How often a bar moves.
const BAR: Duration = Duration::from_millis(100);
/// How often a line is written.
const LINE: Duration = Duration::from_secs(10);
const WIDTH: u64 = 24;

// === impl Progress ===

impl Progress {
    /// At the beginning of something.
    pub(super) fn of(what: &'static str, total: Option<u64>) -> Self {
        let began = Instant::now();
        Self { what, total, began, shown: None, terminal: io::stderr().is_terminal() }
    }

    /// So many records are done, and so many bytes.
    pub(super) fn at(&mut self, records: u64, bytes: u64) {
        if self.is_time() {
            self.show(&self.line(records, bytes));
        }
    }

    /// This far, in words; they are told how many seconds have passed.
    pub(super) fn tell(&mut self, words: impl FnOnce(u64) -> String) {
        if self.is_time() {
            self.show(&words(self.began.elapsed().as_secs()));
        }
    }

    fn is_time(&mut self) -> bool {
        let (now, pause) = (Instant::now(), if self.terminal { BAR } else { LINE });
        let is_time = now.duration_since(self.shown.unwrap_or(self.began)) >= pause;
        if is_time {
            self.shown = Some(now);
        }
        is_time
    }

    fn show(&self, line: &str) {
        if self.terminal {
            let _ = write!(io::stderr(), "\r\x1b[2K{line}");
            let _ = io::stderr().flush();
        } else {
            output::note(line);
        }
    }

    fn line(&self, records: u64, bytes: u64) -> String {
        let seconds = self.began.elapsed().as_secs().max(1);
        let counts = format!("{records} records, {}/s", records / seconds);
        let Some(total) = self.total.filter(|total| *total > 0) else { return format!("{}: {counts}", self.what) };
        let share = |of: u64| bytes.min(total).saturating_mul(of) / total;
        let bar = if self.terminal {
            let done = usize::try_from(share(WIDTH)).unwrap_or(0);
            let rest = usize::try_from(WIDTH).unwrap_or(0).saturating_sub(done);
            format!("[{}{}] ", "#".repeat(done), "-".repeat(rest))
        } else {
            String::new()
        };
        format!("{}: {bar}{} %, {counts}", self.what, share(100))
    }
}

impl Drop for Progress {
    /// Whatever comes next begins on a line of its own.
    fn drop(&mut self) {
        if self.terminal && self.shown.is_some() {
            let _ = write!(io::stderr(), "\r\x1b[2K");
        }
    }
}
