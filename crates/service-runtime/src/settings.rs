//! Configuration by reading: one YAML file, environment overrides, and every problem reported at once.
//!
//! A component takes its configuration out of a [`Section`] key by key, giving the default and a sentence of documentation
//! where it reads. So the default stands once, a key cannot be documented without being read, and the same reading code
//! produces the reference page ([`Reference`]).
//!
//! Rules:
//! - A wrong value never stops the reading: the problem is noted, the default (or the example) is used, and
//!   [`Settings::finish`] refuses the whole with the list of all problems.
//! - The environment wins over the file: with prefix `EDGE`, `EDGE__KAFKA__BROKERS=a:1,b:2` sets `kafka.brokers`. A list is
//!   separated by commas, a map is `name=value,name=value`. Only leaves can be set.
//! - Two listeners ([`Section::listener`]) that cannot both have their address are a problem.
//! - A key or variable that nothing reads is a problem, with the nearest known name as remedy.
//! - A secret comes from the environment or from a file whose path is given by `<key>_file`; its text in the YAML file is
//!   refused, since that file ends up in version control and in config maps.

mod listeners;
mod problem;
mod reference;
mod section;
mod suggest;
#[cfg(test)]
mod tests;
mod value;

use std::{collections::BTreeMap, path::Path};

use serde_json::{Map, Value};

use listeners::Listeners;
pub use problem::{Problem, Problems};
pub use reference::Reference;
pub use section::Section;
pub use value::{ByteSize, Setting, choice};

/// The configuration tree of one process, and what has been read and found wrong so far.
#[derive(Debug)]
pub struct Settings {
    source: Source,
    log: ReadLog,
}

/// Where values come from; unchanged while reading.
#[derive(Debug)]
struct Source {
    env_prefix: String,
    tree: Map<String, Value>,
    /// Only the variables that begin with `<prefix>__`.
    env: BTreeMap<String, String>,
}

/// What reading has met: every key with its documentation, in reading order, and every problem.
#[derive(Debug, Default)]
struct ReadLog {
    entries: Vec<Entry>,
    problems: Vec<Problem>,
    /// What is allowed and probably not meant.
    warnings: Vec<Problem>,
    listeners: Listeners,
    /// The file could not be read at all: what is missing in it is then not worth a line.
    file_is_unusable: bool,
}

/// One key that a component reads.
#[derive(Debug)]
struct Entry {
    path: String,
    doc: &'static str,
    kind: EntryKind,
}

#[derive(Debug)]
enum EntryKind {
    Section,
    Value { expected: String, default: DefaultText },
}

/// The default column of the reference.
#[derive(Debug)]
enum DefaultText {
    Value(String),
    Unset,
    Required,
}

impl Settings {
    /// Reads `file` (when one is given) and the environment of this process. A file that cannot be read is a problem like any
    /// other and comes out of [`Settings::finish`].
    pub fn load(env_prefix: &str, file: Option<&Path>) -> Self {
        let (env, not_text) = variables_of_process(env_prefix);
        let yaml = file.map_or(Ok(String::new()), std::fs::read_to_string);
        let mut settings = Self::from_yaml(env_prefix, yaml.as_deref().unwrap_or_default(), env);
        if let (Some(path), Err(error)) = (file, yaml) {
            settings.log.file_is_unusable = true;
            settings.log.problem(
                path.display().to_string(),
                format!("cannot read the configuration file: {error}"),
                "give the path of a readable YAML file with --config",
            );
        }
        for name in not_text {
            settings.log.problem(name, "holds bytes that are not UTF-8", "give text");
        }
        settings
    }

    /// The same from text, with the environment given: for tests and for tools.
    pub fn from_yaml(env_prefix: &str, yaml: &str, env: impl IntoIterator<Item = (String, String)>) -> Self {
        let mut log = ReadLog::default();
        let tree = match parse_yaml(yaml) {
            Ok(tree) => tree,
            Err(what) => {
                log.file_is_unusable = true;
                log.problem("configuration", what, "give a YAML mapping in which every key stands once");
                Map::new()
            }
        };
        let wanted = format!("{env_prefix}__");
        let env = env.into_iter().filter(|(name, _)| name.starts_with(&wanted)).collect();
        Self { source: Source { env_prefix: env_prefix.to_owned(), tree, env }, log }
    }

    /// The top of the tree, where reading begins.
    pub fn root(&mut self) -> Section<'_> {
        Section::root(&self.source, &mut self.log)
    }

    /// What was read, is allowed, and is probably not what was meant.
    pub fn take_warnings(&mut self) -> Vec<Problem> {
        std::mem::take(&mut self.log.warnings)
    }

    /// Ends the reading: `Err` with every problem met, also keys and variables that nothing has read.
    pub fn finish(mut self) -> Result<(), Problems> {
        self.note_unread_keys();
        self.note_unread_variables();
        Problems::from_list(self.log.problems)
    }

    fn note_unread_keys(&mut self) {
        let mut unread = Vec::new();
        collect_unread("", &self.source.tree, &self.log, &mut unread);
        for path in unread {
            let (parent, key) = path.rsplit_once('.').unwrap_or(("", &path));
            let remedy = suggest::remedy(key, self.log.children_of(parent));
            self.log.problem(path, "unknown key", remedy);
        }
    }

    fn note_unread_variables(&mut self) {
        let known: Vec<String> = self.log.value_paths().map(|path| self.source.env_name(path)).collect();
        let unread: Vec<&String> = self.source.env.keys().filter(|name| !known.contains(name)).collect();
        for name in unread {
            let remedy = suggest::remedy_from_many(name, known.iter().map(String::as_str));
            self.log.problem(name.as_str(), "environment variable sets no known key", remedy);
        }
    }
}

impl Source {
    fn env_name(&self, path: &str) -> String {
        format!("{}__{}", self.env_prefix, path.replace('.', "__").to_uppercase())
    }

    fn env(&self, path: &str) -> Option<&str> {
        self.env.get(&self.env_name(path)).map(String::as_str)
    }
}

impl ReadLog {
    fn problem(&mut self, path: impl Into<String>, what: impl Into<String>, remedy: impl Into<String>) {
        self.problems.push(Problem { path: path.into(), what: what.into(), remedy: remedy.into() });
    }

    fn note(&mut self, path: &str, doc: &'static str, kind: EntryKind) {
        if !self.entries.iter().any(|entry| entry.path == path) {
            self.entries.push(Entry { path: path.to_owned(), doc, kind });
        }
    }

    fn find(&self, path: &str) -> Option<&EntryKind> {
        self.entries.iter().find(|entry| entry.path == path).map(|entry| &entry.kind)
    }

    fn children_of<'a>(&'a self, parent: &'a str) -> impl Iterator<Item = &'a str> {
        self.entries.iter().filter_map(move |entry| {
            let (above, key) = entry.path.rsplit_once('.').unwrap_or(("", &entry.path));
            (above == parent).then_some(key)
        })
    }

    fn value_paths(&self) -> impl Iterator<Item = &str> {
        self.entries
            .iter()
            .filter(|entry| matches!(entry.kind, EntryKind::Value { .. }))
            .map(|entry| entry.path.as_str())
    }
}

fn collect_unread(parent: &str, node: &Map<String, Value>, log: &ReadLog, unread: &mut Vec<String>) {
    for (key, child) in node {
        let path = join(parent, key);
        match log.find(&path) {
            None => unread.push(path),
            Some(EntryKind::Value { .. }) => {}
            // A section that is no mapping has been noted where it was read.
            Some(EntryKind::Section) => {
                if let Value::Object(inner) = child {
                    collect_unread(&path, inner, log, unread);
                }
            }
        }
    }
}

fn join(parent: &str, key: &str) -> String {
    if parent.is_empty() { key.to_owned() } else { format!("{parent}.{key}") }
}

/// Our variables of this process, and the names of those whose value is no text.
fn variables_of_process(env_prefix: &str) -> (Vec<(String, String)>, Vec<String>) {
    let (mut env, mut not_text) = (Vec::new(), Vec::new());
    for (name, value) in std::env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        match value.into_string() {
            Ok(value) => env.push((name, value)),
            Err(_) if name.starts_with(&format!("{env_prefix}__")) => not_text.push(name),
            Err(_) => {}
        }
    }
    (env, not_text)
}

fn parse_yaml(yaml: &str) -> Result<Map<String, Value>, String> {
    // Comments alone, or nothing: a configuration of defaults.
    if yaml.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#')) {
        return Ok(Map::new());
    }
    // Without the snippet: a problem must never print a line of the file, which may hold a secret put there by mistake.
    let options = serde_saphyr::options! { with_snippet: false };
    match serde_saphyr::from_str_with_options::<Value>(yaml, options) {
        Ok(Value::Object(tree)) => Ok(tree),
        Ok(Value::Null) => Ok(Map::new()),
        Ok(other) => Err(format!("the file holds {}, not a mapping", value::describe(&other))),
        Err(error) => Err(format!("not valid YAML: {error}")),
    }
}
