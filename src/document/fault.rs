//! What is wrong with a document, where, and how to mend it. Deciding that something is wrong lives with its reader.

use std::cell::RefCell;
use std::fmt;
use std::path::PathBuf;

/// One fault of a document. Never holds a value of the document: it could be a secret in the wrong place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The file it is in.
    pub file: Option<PathBuf>,
    /// The line, counted from one.
    pub line: Option<usize>,
    /// The environment variable it comes from, instead of a file.
    pub variable: Option<String>,
    /// The field, as a path such as `errors[0].means`; empty where the document as a whole is meant.
    pub field: String,
    /// What is wrong.
    pub problem: String,
    /// What would be right; empty where the problem says it all.
    pub hint: String,
}

/// Why a value is not what was asked for, before anybody knows where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mismatch {
    /// What is wrong.
    pub problem: String,
    /// What would be right.
    pub hint: String,
}

/// Faults found so far. Shared by all readers of one document, so that none of them has to stop at its first.
#[derive(Debug, Default)]
pub(super) struct Faults(RefCell<Vec<Fault>>);

// === impl Fault ===

impl Fault {
    /// A fault of a file that could not even be read.
    #[must_use]
    pub fn of_file(file: impl Into<PathBuf>, problem: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { file: Some(file.into()), ..Self::of_field("", problem, hint) }
    }

    /// A fault of a field, wherever that may stand.
    #[must_use]
    pub fn of_field(field: impl Into<String>, problem: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { file: None, line: None, variable: None, field: field.into(), problem: problem.into(), hint: hint.into() }
    }
}

impl fmt::Display for Fault {
    /// `google.yaml:12: refresh.rotates: must be one of ... — write ...`; parts that are not known are left out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.variable, &self.file, self.line) {
            (Some(variable), _, _) => write!(f, "{variable}: ")?,
            (None, Some(file), Some(line)) => write!(f, "{}:{line}: ", file.display())?,
            (None, Some(file), None) => write!(f, "{}: ", file.display())?,
            (None, None, Some(line)) => write!(f, "line {line}: ")?,
            (None, None, None) => {}
        }
        if !self.field.is_empty() {
            write!(f, "{}: ", self.field)?;
        }
        f.write_str(&self.problem)?;
        if self.hint.is_empty() { Ok(()) } else { write!(f, " — {}", self.hint) }
    }
}

// === impl Mismatch ===

impl Mismatch {
    /// A value that is wrong, and what would be right.
    #[must_use]
    pub fn new(problem: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { problem: problem.into(), hint: hint.into() }
    }
}

impl From<Mismatch> for Fault {
    fn from(mismatch: Mismatch) -> Self {
        Self::of_field("", mismatch.problem, mismatch.hint)
    }
}

// === impl Faults ===

impl Faults {
    pub(super) fn add(&self, fault: Fault) {
        self.0.borrow_mut().push(fault);
    }

    /// The faults in the order of their lines, what has no line last.
    pub(super) fn into_sorted(self) -> Vec<Fault> {
        let mut faults = self.0.into_inner();
        faults.sort_by_key(|fault| fault.line.unwrap_or(usize::MAX));
        faults
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_says_where_what_and_how_to_mend_it() {
        let mut fault = Fault::of_field("refresh.rotates", "must be one of `yes`, `no`, `maybe`", "write `yes`");
        assert_eq!(fault.to_string(), "refresh.rotates: must be one of `yes`, `no`, `maybe` — write `yes`");
        fault.file = Some("google.yaml".into());
        fault.line = Some(12);
        assert!(fault.to_string().starts_with("google.yaml:12: refresh.rotates: must be"));
        fault.variable = Some("VAULT_ENGINE_LISTEN".into());
        assert!(fault.to_string().starts_with("VAULT_ENGINE_LISTEN: refresh.rotates: must be"));
        assert_eq!(Fault::of_file("a.yaml", "is empty", "").to_string(), "a.yaml: is empty");
    }
}
