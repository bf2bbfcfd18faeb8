//! A bounded YAML document whose every fault has a place: file, line and field.
//!
//! What a document may hold is decided by whoever reads it; here it is only kept small, flat and unambiguous: no
//! anchors, tags, directives or second documents, no key twice. The parser's values carry no positions, so an outline of
//! the text is made first; it also finds what must never reach the parser.

mod cursor;
mod fault;
mod node;
mod outline;
mod section;
mod suggest;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use serde_yaml::{Mapping, Value};

pub use fault::{Fault, Mismatch};
pub use node::Node;
pub use section::Section;

use fault::Faults;
use outline::Outline;

/// How large a document may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Its size in bytes.
    pub bytes: usize,
    /// How deep its lists and mappings may be nested.
    pub depth: usize,
}

/// A document that was parsed, and where its parts stand.
#[derive(Debug)]
pub struct Document {
    root: Value,
    file: Option<PathBuf>,
    outline: Outline,
    /// Path of a field -> the environment variable it was set by.
    overlays: BTreeMap<String, Overlay>,
}

#[derive(Debug)]
struct Overlay {
    variable: String,
    text: String,
}

// === impl Document ===

impl Document {
    /// A document that says nothing.
    #[must_use]
    pub fn empty() -> Self {
        let root = Value::Mapping(Mapping::new());
        Self { root, file: None, outline: Outline::default(), overlays: BTreeMap::new() }
    }

    /// Parses a text. `file` is where it came from, for the faults.
    ///
    /// # Errors
    ///
    /// When it is too large, too deep, not YAML, or uses a part of YAML that has no place here.
    pub fn parse(text: &str, file: Option<&Path>, limits: Limits) -> Result<Self, Vec<Fault>> {
        let placed = |line: Option<usize>, fault: Fault| Fault { file: file.map(Path::to_owned), line, ..fault };
        if text.len() > limits.bytes {
            return Err(vec![placed(None, too_large(limits.bytes).into())]);
        }
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let outline = Outline::of(text, limits.depth)
            .map_err(|faults| faults.into_iter().map(|fault| placed(fault.line, fault)).collect::<Vec<_>>())?;
        let root = serde_yaml::from_str(text).map_err(|error| {
            let line = error.location().map(|location| location.line());
            vec![placed(line, syntax_fault(&error))]
        })?;
        let root = match root {
            Value::Null => Value::Mapping(Mapping::new()),
            mapping @ Value::Mapping(_) => mapping,
            Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Sequence(_) | Value::Tagged(_) => {
                let fault = Fault::of_field("", "must be keys with values", "write `key: value`, one per line");
                return Err(vec![placed(None, fault)]);
            }
        };
        Ok(Self { root, file: file.map(Path::to_owned), outline, overlays: BTreeMap::new() })
    }

    /// Reads and parses a file.
    ///
    /// # Errors
    ///
    /// As [`Document::parse`], and when the file cannot be read or anybody may write to it.
    pub fn load(file: &Path, limits: Limits) -> Result<Self, Vec<Fault>> {
        let text = read_text(file, limits.bytes, Readers::Anybody)
            .map_err(|mismatch| vec![Fault::of_file(file, mismatch.problem, mismatch.hint)])?;
        Self::parse(&text, Some(file), limits)
    }

    /// Sets a field from an environment variable, whatever the text says. What is not YAML counts as plain text.
    pub fn set(&mut self, path: &[&str], variable: &str, text: &str) {
        let limits = Limits { bytes: text.len(), depth: 8 };
        let parsed = Outline::of(text, limits.depth).ok().and_then(|_| serde_yaml::from_str(text).ok());
        let value = parsed.unwrap_or_else(|| Value::String(text.to_owned()));
        let mut place = &mut self.root;
        for key in path {
            if !place.is_mapping() {
                *place = Value::Mapping(Mapping::new());
            }
            let Value::Mapping(mapping) = place else { return };
            place = mapping.entry(Value::String((*key).to_owned())).or_insert(Value::Null);
        }
        *place = value;
        let overlay = Overlay { variable: variable.to_owned(), text: text.to_owned() };
        self.overlays.insert(path.join("."), overlay);
    }

    /// Reads the document, collecting all faults. A field nobody asked for is one.
    ///
    /// # Errors
    ///
    /// All faults that were found.
    pub fn read<T>(&self, read: impl FnOnce(&mut Section<'_>) -> Option<T>) -> Result<T, Vec<Fault>> {
        let faults = Faults::default();
        let value = Section::enter(self, &faults, String::new(), Some(&self.root), read);
        let mut faults = faults.into_sorted();
        match value.flatten() {
            Some(value) if faults.is_empty() => Ok(value),
            Some(_) | None => {
                if faults.is_empty() {
                    faults.push(self.fault("", Mismatch::new("could not be read", "")));
                }
                Err(faults)
            }
        }
    }

    /// A fault of the field at `path`, with its place.
    fn fault(&self, path: &str, mismatch: Mismatch) -> Fault {
        let fault = Fault::of_field(path, mismatch.problem, mismatch.hint);
        match self.overlay(path) {
            Some(overlay) => Fault { variable: Some(overlay.variable.clone()), ..fault },
            None => Fault { file: self.file.clone(), line: self.outline.line_of(path), ..fault },
        }
    }

    /// What set the field at `path`, or the section it is in, or a field of a section that only overlays made.
    fn overlay(&self, path: &str) -> Option<&Overlay> {
        let above = outline::ancestors(path).find_map(|ancestor| self.overlays.get(ancestor));
        let is_inside = |field: &str| field.strip_prefix(path).is_some_and(|rest| rest.starts_with('.'));
        let inside = || self.overlays.iter().find(|(field, _)| is_inside(field)).map(|(_, overlay)| overlay);
        above.or_else(|| if self.outline.has(path) { None } else { inside() })
    }
}

/// Who may read a file that is about to be trusted. Written by others it is never trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readers {
    /// Anybody: nothing in it is secret.
    Anybody,
    /// Its owner and group: it is a secret. The group is needed where an orchestrator hands a secret to a process that
    /// is not root, as Kubernetes does with `fsGroup`.
    OwnerAndGroup,
}

/// Reads a text file of at most `limit` bytes.
///
/// # Errors
///
/// When it is not such a file, or more people have access to it than should.
pub fn read_text(file: &Path, limit: usize, readers: Readers) -> Result<String, Mismatch> {
    check_access(file, readers)?;
    let mut bytes = Vec::new();
    let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    File::open(file).map_err(unreadable)?.take(most).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() > limit {
        return Err(too_large(limit));
    }
    String::from_utf8(bytes).map_err(|_| Mismatch::new("is not UTF-8 text", ""))
}

/// Looks at who has access to a file that somebody else will read.
///
/// # Errors
///
/// When it is not a file, or more people have access to it than should.
pub fn check_access(file: &Path, readers: Readers) -> Result<(), Mismatch> {
    use std::os::unix::fs::PermissionsExt as _;

    let about = std::fs::metadata(file).map_err(unreadable)?;
    if !about.is_file() {
        return Err(Mismatch::new("is not a file", "name a regular file"));
    }
    let mode = about.permissions().mode();
    match readers {
        Readers::Anybody if mode & 0o002 != 0 => {
            Err(Mismatch::new("may be written by anybody", "take that right away, as with `chmod 644`"))
        }
        Readers::OwnerAndGroup if mode & 0o037 != 0 => {
            let hint = "at most the owner may write and the group may read: `chmod 600`, or `chmod 640`";
            Err(Mismatch::new(format!("has mode {:03o}, too open for a secret", mode & 0o777), hint))
        }
        Readers::Anybody | Readers::OwnerAndGroup => Ok(()),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it is what `map_err` hands over")]
fn unreadable(error: std::io::Error) -> Mismatch {
    Mismatch::new(format!("cannot be read: {}", error.kind()), "")
}

fn too_large(limit: usize) -> Mismatch {
    Mismatch::new(format!("is larger than {} KiB", limit / 1_024), "split it, or remove what is not needed")
}

/// The parser's message, without the position it repeats.
fn syntax_fault(error: &serde_yaml::Error) -> Fault {
    let message = error.to_string();
    if message.contains("more than one document") {
        return Fault::of_field("", "holds more than one document", "remove everything from the second `---` on");
    }
    let said = message.split(" at line ").next().unwrap_or_default();
    Fault::of_field("", format!("is not valid YAML: {said}"), "check indentation, quotes and brackets around here")
}

#[cfg(test)]
mod tests;
