//! The audit trail as a test reads it.

use std::path::Path;

use serde_json::Value;

/// All whole lines so far. A line that is none is a failure of its own.
pub(super) fn read(path: &Path) -> Vec<Value> {
    // Vaults that run beside each other write beside each other.
    let beside = (2..4).map(|number| path.with_extension(format!("{number}.jsonl")));
    let others = beside.filter(|path| path.exists()).flat_map(|path| lines(&path));
    lines(path).into_iter().chain(others).collect()
}

fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap();
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("no line: `{line}`"))).collect()
}
