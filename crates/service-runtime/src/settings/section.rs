//! A view of one mapping of the tree, from which a component reads its own keys.

use std::{
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use serde_json::{Map, Value};

use super::{DefaultText, EntryKind, Problem, ReadLog, Setting, Source, join, value::describe};
use crate::Secret;

/// One mapping of the configuration. Every method that reads notes the key, its default and its documentation.
#[derive(Debug)]
pub struct Section<'a> {
    path: String,
    node: Option<&'a Map<String, Value>>,
    source: &'a Source,
    log: &'a mut ReadLog,
}

/// What stands under a key.
enum Lookup<T> {
    Absent,
    /// A problem has been noted.
    Invalid,
    Value(T),
}

impl<'a> Section<'a> {
    pub(super) fn root(source: &'a Source, log: &'a mut ReadLog) -> Self {
        Self { path: String::new(), node: Some(&source.tree), source, log }
    }

    /// The mapping under `key`; an absent one reads as all defaults.
    pub fn section(&mut self, key: &'static str, doc: &'static str) -> Section<'_> {
        let path = join(&self.path, key);
        self.log.note(&path, doc, EntryKind::Section);
        let node = match self.node.and_then(|node| node.get(key)) {
            None | Some(Value::Null) => None,
            Some(Value::Object(inner)) => Some(inner),
            Some(other) => {
                let what = format!("is {}, not a section", describe(other));
                self.log.problem(&path, what, "give a mapping of keys");
                None
            }
        };
        Section { path, node, source: self.source, log: self.log }
    }

    /// The value under `key`, or `default`.
    pub fn value<T: Setting>(&mut self, key: &'static str, default: T, doc: &'static str) -> T {
        match self.lookup(key, DefaultText::Value(default.to_text()), doc) {
            Lookup::Value(value) => value,
            Lookup::Absent | Lookup::Invalid => default,
        }
    }

    /// The address under `key`, or `default`, where the process will listen; a problem when another of its listeners leaves no
    /// room for it.
    pub fn listener(&mut self, key: &'static str, default: SocketAddr, doc: &'static str) -> SocketAddr {
        let address = self.value(key, default, doc);
        let path = join(&self.path, key);
        if let Some(other) = self.log.listeners.note(&path, address).map(str::to_owned) {
            let what = format!("{address} is taken by {other}");
            self.log.problem(path, what, "give each listener a port of its own");
        }
        address
    }

    /// The value under `key`, which has no sensible default. When it is missing a problem is noted and `example`, which must
    /// itself be a right value, is returned so that reading goes on.
    pub fn required<T: Setting>(&mut self, key: &'static str, example: &'static str, doc: &'static str) -> T {
        match self.lookup(key, DefaultText::Required, doc) {
            Lookup::Value(value) => return value,
            Lookup::Invalid => {}
            Lookup::Absent => {
                let path = join(&self.path, key);
                let remedy =
                    format!("set it, for instance to `{example}`, or set {}", self.source.env_name(&path));
                if !self.log.file_is_unusable {
                    self.log.problem(path, "is required and missing", remedy);
                }
            }
        }
        T::from_text(example).expect("the example of a required key is a right value")
    }

    /// The value under `key`, when there is one.
    pub fn optional<T: Setting>(&mut self, key: &'static str, doc: &'static str) -> Option<T> {
        match self.lookup(key, DefaultText::Unset, doc) {
            Lookup::Value(value) => Some(value),
            Lookup::Absent | Lookup::Invalid => None,
        }
    }

    /// A secret: from the environment variable of `key`, or from the file named by `<key>_file` (trailing line breaks cut
    /// off). Its text in the configuration file is refused.
    pub fn secret(&mut self, key: &'static str, doc: &'static str) -> Option<Secret> {
        let path = join(&self.path, key);
        let file_path = format!("{path}_file");
        let expected = "text, only from the environment".to_owned();
        self.log.note(&path, doc, EntryKind::Value { expected, default: DefaultText::Unset });
        let doc = "path of a file that holds the same, instead of the environment variable";
        let expected = PathBuf::expected();
        self.log.note(&file_path, doc, EntryKind::Value { expected, default: DefaultText::Unset });

        if !matches!(self.raw(key), None | Some(Value::Null)) {
            let remedy =
                format!("give the path of a file in `{key}_file`, or set {}", self.source.env_name(&path));
            self.log.problem(&path, "a secret stands in the configuration file", remedy);
        }
        let text = self.source.env(&path).map(Secret::new);
        let file = self.lookup_noted::<PathBuf>(&file_path);
        match (text, file) {
            (Some(_), Lookup::Value(_)) => {
                self.log.problem(
                    &path,
                    format!("is given twice, also by `{key}_file`"),
                    "give one of the two",
                );
                None
            }
            (Some(secret), _) => Some(secret),
            (None, Lookup::Value(file)) => self.secret_from_file(&file_path, &file),
            (None, _) => None,
        }
    }

    /// Notes a problem that only the reader can see: a rule across fields, a bound.
    pub fn problem(&mut self, key: &str, what: impl Into<String>, remedy: impl Into<String>) {
        self.log.problem(join(&self.path, key), what, remedy);
    }

    /// Notes what is allowed and probably not meant; the process starts all the same.
    pub fn warning(&mut self, key: &str, what: impl Into<String>, remedy: impl Into<String>) {
        let path = join(&self.path, key);
        self.log.warnings.push(Problem { path, what: what.into(), remedy: remedy.into() });
    }

    /// Notes a problem under `key` unless `directory` is one that files can be made in, or can be made itself. Returns whether it
    /// is. To find out, a directory is made where it would be, and removed. One that is there on a disk that is full, broken or
    /// read-only just now is right.
    pub fn require_directory(&mut self, key: &str, directory: &Path) -> bool {
        match try_directory(directory) {
            Ok(()) => true,
            Err((place, error)) => {
                let what =
                    format!("`{}` cannot be made: `{}`: {error}", directory.display(), place.display());
                self.problem(key, what, "give a directory that this user may write to, or make it first");
                false
            }
        }
    }

    /// Notes a problem under `key` unless `file` can be opened. Returns whether it can.
    pub fn require_readable(&mut self, key: &str, file: &Path) -> bool {
        match fs::File::open(file) {
            Ok(_) => true,
            Err(error) => {
                self.problem(
                    key,
                    format!("cannot read `{}`: {error}", file.display()),
                    "give the path of a readable file",
                );
                false
            }
        }
    }

    fn secret_from_file(&mut self, path: &str, file: &Path) -> Option<Secret> {
        match fs::read_to_string(file) {
            Ok(text) if text.trim_end_matches(['\r', '\n']).is_empty() => {
                self.log.problem(
                    path,
                    format!("`{}` is empty", file.display()),
                    "write the secret into the file",
                );
                None
            }
            Ok(text) => Some(Secret::new(text.trim_end_matches(['\r', '\n']))),
            Err(error) => {
                let what = format!("cannot read `{}`: {error}", file.display());
                self.log.problem(path, what, "give the path of a readable text file");
                None
            }
        }
    }

    fn lookup<T: Setting>(
        &mut self,
        key: &'static str,
        default: DefaultText,
        doc: &'static str,
    ) -> Lookup<T> {
        let path = join(&self.path, key);
        self.log.note(&path, doc, EntryKind::Value { expected: T::expected(), default });
        self.lookup_noted(&path)
    }

    fn lookup_noted<T: Setting>(&mut self, path: &str) -> Lookup<T> {
        let key = path.rsplit('.').next().unwrap_or(path);
        let (read, place) = if let Some(text) = self.source.env(path) {
            (T::from_text(text), format!("{path} (from {})", self.source.env_name(path)))
        } else {
            match self.raw(key) {
                None | Some(Value::Null) => return Lookup::Absent,
                Some(value) => (T::from_value(value), path.to_owned()),
            }
        };
        match read {
            Ok(value) => Lookup::Value(value),
            Err(what) => {
                self.log.problem(place, what, format!("give {}", T::expected()));
                Lookup::Invalid
            }
        }
    }

    fn raw(&self, key: &str) -> Option<&'a Value> {
        self.node.and_then(|node| node.get(key))
    }
}

/// Makes a directory in `directory`, or in the nearest above it that is there, and removes it. `Err` names where it failed.
fn try_directory(directory: &Path) -> Result<(), (PathBuf, io::Error)> {
    let mut place = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
    loop {
        match fs::symlink_metadata(place) {
            Ok(_) => break,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                place = match place.parent() {
                    Some(parent) if !parent.as_os_str().is_empty() => parent,
                    _ => Path::new("."),
                };
            }
            Err(error) => return Err((place.to_owned(), error)),
        }
    }
    let attempt = place.join(format!(".check-{}", std::process::id()));
    let attempted = fs::create_dir(&attempt).and_then(|()| fs::remove_dir(&attempt));
    attempted.or_else(|error| {
        // What a disk takes just now is no matter of the configuration: it is mended while the process runs.
        let is_the_disks = place == directory && is_of_the_disk(&error);
        if is_the_disks { Ok(()) } else { Err((place.to_owned(), error)) }
    })
}

/// Whether a disk refuses to be written to that was right when its directory was made.
fn is_of_the_disk(error: &io::Error) -> bool {
    const EIO: i32 = 5;
    let kinds = [io::ErrorKind::ReadOnlyFilesystem, io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded];
    kinds.contains(&error.kind()) || error.raw_os_error() == Some(EIO)
}
