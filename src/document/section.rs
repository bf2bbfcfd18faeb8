//! A group of keys, read field by field. Faults are collected, so that one run shows them all.

use std::collections::{BTreeMap, BTreeSet};

use serde_yaml::{Mapping, Value};

use super::fault::Faults;
use super::{Document, Mismatch, Node, outline, suggest};

/// A group of keys of a document. Asking for a key makes it known; keys that nobody asked for are reported when the
/// section is left.
pub struct Section<'d> {
    document: &'d Document,
    faults: &'d Faults,
    path: String,
    entries: Option<&'d Mapping>,
    known: BTreeSet<String>,
}

// === impl Section ===

impl<'d> Section<'d> {
    /// Reads the group of keys at `path`; an absent one reads like an empty one. `None` if it is something else.
    pub(super) fn enter<T>(
        document: &'d Document,
        faults: &'d Faults,
        path: String,
        value: Option<&'d Value>,
        read: impl FnOnce(&mut Section<'d>) -> T,
    ) -> Option<T> {
        let entries = match value {
            None | Some(Value::Null) => None,
            Some(Value::Mapping(entries)) => Some(entries),
            Some(Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Sequence(_) | Value::Tagged(_)) => {
                let wrong = Mismatch::new("must be a group of keys", "write `key: value` below it, indented");
                faults.add(document.fault(&path, wrong));
                return None;
            }
        };
        let mut section = Section { document, faults, path, entries, known: BTreeSet::new() };
        let value = read(&mut section);
        section.finish();
        Some(value)
    }

    /// A key that must be there.
    pub fn required<T>(&mut self, key: &str, read: impl FnOnce(Node<'d>) -> Result<T, Mismatch>) -> Option<T> {
        if self.value(key).is_none() {
            self.fault(key, "must be given", "");
            return None;
        }
        self.optional(key, read)
    }

    /// A key that may be absent; an empty one is absent.
    pub fn optional<T>(&mut self, key: &str, read: impl FnOnce(Node<'d>) -> Result<T, Mismatch>) -> Option<T> {
        let value = self.value(key)?;
        let path = outline::join(&self.path, key);
        self.checked(&path, read(self.node(&path, value)))
    }

    /// A key whose value is a list; `None` when it is absent. Items that are wrong are reported and left out.
    pub fn list<T>(&mut self, key: &str, mut read: impl FnMut(Node<'d>) -> Result<T, Mismatch>) -> Option<Vec<T>> {
        let items = self.items(key)?;
        let list = items.iter().enumerate().filter_map(|(index, item)| {
            let path = outline::item(&outline::join(&self.path, key), index);
            self.checked(&path, read(self.node(&path, item)))
        });
        Some(list.collect())
    }

    /// A key whose value is a list of groups of keys; empty when it is absent.
    pub fn sections<T>(&mut self, key: &str, mut read: impl FnMut(&mut Section<'d>) -> Option<T>) -> Vec<T> {
        let items = self.items(key).unwrap_or_default();
        let list = items.iter().enumerate().filter_map(|(index, item)| {
            let path = outline::item(&outline::join(&self.path, key), index);
            Self::enter(self.document, self.faults, path, Some(item), &mut read).flatten()
        });
        list.collect()
    }

    /// A key whose value is one group of keys. When it is absent it is read as if it were empty, so that defaults are
    /// written once.
    pub fn section<T>(&mut self, key: &str, read: impl FnOnce(&mut Section<'d>) -> T) -> Option<T> {
        let value = self.value(key);
        Self::enter(self.document, self.faults, outline::join(&self.path, key), value, read)
    }

    /// A key whose value maps names to values, which may be `null`; empty when it is absent.
    pub fn map<T>(
        &mut self,
        key: &str,
        mut read: impl FnMut(&str, Node<'d>) -> Result<T, Mismatch>,
    ) -> BTreeMap<String, T> {
        self.section(key, |section| {
            let names = section.names();
            let entries = names.into_iter().filter_map(|name| {
                section.known.insert(name.clone());
                let value = section.entries?.get(name.as_str())?;
                let path = outline::join(&section.path, &name);
                let value = section.checked(&path, read(&name, section.node(&path, value)))?;
                Some((name, value))
            });
            entries.collect()
        })
        .unwrap_or_default()
    }

    /// A key whose value maps names to groups of keys; empty when it is absent.
    pub fn section_map<K: Ord, T>(
        &mut self,
        key: &str,
        name_of: impl Fn(&str) -> Result<K, Mismatch>,
        mut read: impl FnMut(&mut Section<'d>) -> Option<T>,
    ) -> BTreeMap<K, T> {
        self.section(key, |section| {
            let names = section.names();
            let entries = names.into_iter().filter_map(|name| {
                let id = section.checked(&outline::join(&section.path, &name), name_of(&name));
                let value = section.section(&name, &mut read).flatten();
                Some((id?, value?))
            });
            entries.collect()
        })
        .unwrap_or_default()
    }

    /// Whether the key is there with a value.
    #[must_use]
    pub fn has(&self, key: &str) -> bool {
        self.entries.is_some_and(|entries| entries.get(key).is_some_and(|value| !value.is_null()))
    }

    /// A key that belongs elsewhere: a fault if it is there.
    pub fn forbid(&mut self, key: &str, problem: &str, hint: &str) {
        self.known.insert(key.to_owned());
        if self.entries.is_some_and(|entries| entries.contains_key(key)) {
            self.fault(key, problem, hint);
        }
    }

    /// Reports a fault of one of the keys; an empty key means the section.
    pub fn fault(&self, key: &str, problem: impl Into<String>, hint: impl Into<String>) {
        let path = if key.is_empty() { self.path.clone() } else { outline::join(&self.path, key) };
        self.add(&path, Mismatch::new(problem, hint));
    }

    fn add(&self, path: &str, mismatch: Mismatch) {
        self.faults.add(self.document.fault(path, mismatch));
    }

    fn checked<T>(&self, path: &str, outcome: Result<T, Mismatch>) -> Option<T> {
        outcome.map_err(|mismatch| self.add(path, mismatch)).ok()
    }

    fn node(&self, path: &str, value: &'d Value) -> Node<'d> {
        Node::new(value, self.document.overlays.get(path).map(|overlay| overlay.text.as_str()))
    }

    fn value(&mut self, key: &str) -> Option<&'d Value> {
        self.known.insert(key.to_owned());
        self.entries?.get(key).filter(|value| !value.is_null())
    }

    fn items(&mut self, key: &str) -> Option<&'d [Value]> {
        match self.value(key)? {
            Value::Sequence(items) => Some(items),
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Mapping(_)
            | Value::Tagged(_) => {
                self.fault(key, "must be a list", "write `- item` lines below it, or `[item, item]`");
                None
            }
        }
    }

    /// The keys that are texts.
    fn names(&self) -> Vec<String> {
        let keys = self.entries.into_iter().flat_map(Mapping::keys);
        keys.filter_map(|key| key.as_str().map(str::to_owned)).collect()
    }

    fn finish(self) {
        for key in self.entries.into_iter().flat_map(Mapping::keys) {
            let Some(key) = key.as_str() else {
                self.fault("", "has a key that is not text", "put the key in quotes");
                continue;
            };
            if !self.known.contains(key) {
                let meant = suggest::nearest(key, self.known.iter().map(String::as_str));
                let hint = meant.map_or_else(|| self.alternatives(), |word| format!("did you mean `{word}`?"));
                self.fault(key, "is not a known key", hint);
            }
        }
    }

    fn alternatives(&self) -> String {
        let known: Vec<&str> = self.known.iter().map(String::as_str).collect();
        if known.is_empty() { String::new() } else { format!("known here: {}", known.join(", ")) }
    }
}
