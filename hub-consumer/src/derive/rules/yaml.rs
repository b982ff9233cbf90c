//! A view of one mapping of a rule file: every field that is read is known, every other is a problem, and a wrong one never
//! stops the reading.
//!
//! The settings' own reader knows its keys when it is compiled and has no lists of mappings; this one has the same values and
//! the same words.

use std::cell::RefCell;

use serde_json::{Map, Value};
use service_runtime::{
    Setting,
    settings::{Problem, choice},
};

/// What was found wrong so far.
pub(super) type Found = RefCell<Vec<Problem>>;

/// One mapping and where it stands.
#[derive(Debug)]
pub(super) struct Mapping<'v> {
    path: String,
    entries: &'v Map<String, Value>,
    known: Vec<&'static str>,
    found: &'v Found,
}

/// Notes a problem.
pub(super) fn problem(found: &Found, path: &str, what: impl Into<String>, remedy: impl Into<String>) {
    found.borrow_mut().push(Problem { path: path.to_owned(), what: what.into(), remedy: remedy.into() });
}

impl<'v> Mapping<'v> {
    /// The mapping that `value` is; a problem, when it is none.
    pub(super) fn of(path: String, value: &'v Value, found: &'v Found) -> Option<Mapping<'v>> {
        match value {
            Value::Object(entries) => Some(Mapping { path, entries, known: Vec::new(), found }),
            _ => {
                problem(found, &path, "is not a mapping", "give a mapping of fields");
                None
            }
        }
    }

    /// Where a field stands.
    pub(super) fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// The field as it stands there.
    pub(super) fn raw(&mut self, key: &'static str) -> Option<&'v Value> {
        self.known.push(key);
        self.entries.get(key).filter(|value| !value.is_null())
    }

    /// Whether the field is there.
    pub(super) fn has(&self, key: &str) -> bool {
        self.entries.get(key).is_some_and(|value| !value.is_null())
    }

    /// The field's value, if it is there and right.
    pub(super) fn optional<T: Setting>(&mut self, key: &'static str) -> Option<T> {
        let value = self.raw(key)?;
        match T::from_value(value) {
            Ok(value) => Some(value),
            Err(what) => {
                self.problem(key, what, format!("give {}", T::expected()));
                None
            }
        }
    }

    /// The same of a field that has to be there.
    pub(super) fn required<T: Setting>(&mut self, key: &'static str, remedy: &str) -> Option<T> {
        if !self.has(key) {
            self.known.push(key);
            self.problem(key, "is required and missing", remedy);
            return None;
        }
        self.optional(key)
    }

    /// One of some names.
    pub(super) fn named<T: Copy>(&mut self, key: &'static str, names: &[(&'static str, T)]) -> Option<T> {
        let text: String = self.optional(key)?;
        match choice(&text, names) {
            Ok(value) => Some(value),
            Err(what) => {
                let all: Vec<&str> = names.iter().map(|(name, _)| *name).collect();
                self.problem(key, what, format!("give one of {}", all.join(", ")));
                None
            }
        }
    }

    /// The mapping under a field, if it is there.
    pub(super) fn section(&mut self, key: &'static str) -> Option<Mapping<'v>> {
        let value = self.raw(key)?;
        Mapping::of(self.path_of(key), value, self.found)
    }

    /// The list under a field, each item with where it stands; empty when there is none.
    pub(super) fn list(&mut self, key: &'static str) -> Vec<(String, &'v Value)> {
        match self.raw(key) {
            None => Vec::new(),
            Some(Value::Array(items)) => {
                let path = self.path_of(key);
                items.iter().enumerate().map(|(index, item)| (format!("{path}[{index}]"), item)).collect()
            }
            Some(_) => {
                self.problem(key, "is not a list", "give a list");
                Vec::new()
            }
        }
    }

    /// Every field with where it stands, whatever its name.
    pub(super) fn all(&self) -> impl Iterator<Item = (String, &'v str, &'v Value)> {
        self.entries.iter().map(|(key, value)| (self.path_of(key), key.as_str(), value))
    }

    /// Which of these fields are there.
    pub(super) fn present(&self, keys: &[&'static str]) -> Vec<&'static str> {
        keys.iter().filter(|key| self.has(key)).copied().collect()
    }

    /// Notes a problem of a field.
    pub(super) fn problem(&self, key: &str, what: impl Into<String>, remedy: impl Into<String>) {
        problem(self.found, &self.path_of(key), what, remedy);
    }

    /// Notes a problem of the mapping itself.
    pub(super) fn problem_here(&self, what: impl Into<String>, remedy: impl Into<String>) {
        problem(self.found, &self.path, what, remedy);
    }

    /// Where problems go.
    pub(super) fn found(&self) -> &'v Found {
        self.found
    }

    /// Ends the reading: what was not read is unknown.
    pub(super) fn finish(self) {
        let known: Vec<(&'static str, ())> = self.known.iter().map(|key| (*key, ())).collect();
        for key in self.entries.keys() {
            // The error names the nearest field, or all of them.
            if let Err(what) = choice(key, &known) {
                let remedy = what.split_once("; ").map_or("remove it", |(_, remedy)| remedy);
                self.problem(key, "is an unknown field", remedy);
            }
        }
    }
}
