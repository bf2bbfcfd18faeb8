//! What was not imported: by number and reason, into a file or, the first of them, for whoever watches.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use super::super::output;

/// Lines that were not imported.
pub(super) struct Report {
    file: Option<BufWriter<File>>,
    shown: u64,
}

/// How many are shown where no file is named.
const SHOWN: u64 = 20;

// === impl Report ===

impl Report {
    /// Into this file, which is made anew, or onto standard error.
    pub(super) fn begin(file: Option<&Path>) -> io::Result<Self> {
        let Some(path) = file else { return Ok(Self { file: None, shown: 0 }) };
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        Ok(Self { file: Some(BufWriter::new(file)), shown: 0 })
    }

    /// Adds a line: `{"line":3,"result":"rejected","reason":"..."}`.
    pub(super) fn add(&mut self, line: u64, result: &str, reason: &str) -> io::Result<()> {
        if let Some(file) = &mut self.file {
            let entry = serde_json::json!({ "line": line, "result": result, "reason": reason });
            return writeln!(file, "{entry}");
        }
        self.shown += 1;
        if self.shown <= SHOWN {
            output::note(format!("line {line} {result}: {reason}"));
        } else if self.shown == SHOWN + 1 {
            output::note("and more: --rejects FILE lists them all");
        }
        Ok(())
    }

    /// Writes what is not written yet.
    pub(super) fn finish(mut self) -> io::Result<()> {
        self.file.as_mut().map_or(Ok(()), io::Write::flush)
    }
}
