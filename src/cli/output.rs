//! Words for people: where they are written and how errors read. Nothing here may ever see a token, except what a
//! command was asked to print.

use std::error::Error;
use std::io::{self, IsTerminal as _, Write as _};

/// Writes one line to standard output. A reader that went away (`| head`) is no failure.
pub(super) fn say(line: impl AsRef<str>) {
    let _ = writeln!(io::stdout(), "{}", line.as_ref());
}

/// Writes one line to standard error.
pub(super) fn note(line: impl AsRef<str>) {
    let _ = writeln!(io::stderr(), "{}", line.as_ref());
}

/// Writes an error and everything underneath it.
pub(super) fn failure(error: &dyn Error) {
    note(format!("error: {error}"));
    let mut cause = error.source();
    while let Some(error) = cause {
        note(format!("  because {error}"));
        cause = error.source();
    }
}

/// Bold, on a terminal.
pub(super) fn bold(text: &str) -> String {
    painted(text, "1")
}

/// Green, on a terminal.
pub(super) fn green(text: &str) -> String {
    painted(text, "32")
}

/// Grey, on a terminal.
pub(super) fn dim(text: &str) -> String {
    painted(text, "2")
}

fn painted(text: &str, code: &str) -> String {
    let plain = std::env::var_os("NO_COLOR").is_some() || !io::stdout().is_terminal();
    if plain { text.to_owned() } else { format!("\x1b[{code}m{text}\x1b[0m") }
}

/// Prints rows in columns as wide as their widest cell.
pub(super) fn table(head: &[&str], rows: &[Vec<String>]) {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain(head.get(column).map(|cell| cell.chars().count())).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let padded: Vec<String> = cells.zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        padded.join("  ").trim_end().to_owned()
    };
    say(bold(&line(&mut head.iter().copied())));
    for row in rows {
        say(line(&mut row.iter().map(String::as_str)));
    }
}
