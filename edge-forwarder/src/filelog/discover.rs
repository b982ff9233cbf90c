//! Finds the log files, and every directory that has to be watched for new ones.
//!
//! A pattern is walked component by component, so what is read is what the pattern can match, and every directory on the way
//! is told to the watcher *before* it is listed: what appears between the two is seen by one of them. A symbolic link to a
//! file is followed, as container runtimes make them; one to a directory is too, but not below `**`, and never further than
//! the pattern is deep, so a loop of links ends.

use std::{
    fs, io,
    path::{Component, Path, PathBuf},
};

use glob::{MatchOptions, Pattern, PatternError};

/// How deep `**` goes.
const MAX_DEPTH: usize = 16;

/// A star does not match a separator, nor a leading dot.
const OPTIONS: MatchOptions =
    MatchOptions { case_sensitive: true, require_literal_separator: true, require_literal_leading_dot: true };

/// A path with wildcards.
#[derive(Debug, Clone)]
pub(super) struct PathPattern {
    root: PathBuf,
    parts: Vec<Part>,
    whole: Pattern,
}

#[derive(Debug, Clone)]
enum Part {
    Literal(PathBuf),
    Wild(Pattern),
    /// `**`: any number of directories.
    Any,
}

/// What the walk meets.
pub(super) trait Visitor {
    /// A directory that is about to be listed.
    fn directory(&mut self, path: &Path);
    /// A path that matches and is not a directory.
    fn file(&mut self, path: PathBuf);
    /// A directory that cannot be listed.
    fn failed(&mut self, path: &Path, error: &io::Error);
}

impl PathPattern {
    /// Reads a pattern; `?`, `*`, `[a-z]` within a name, and `**` for any number of directories.
    pub(super) fn new(text: &str) -> Result<PathPattern, PatternError> {
        let whole = Pattern::new(text)?;
        let (mut root, mut parts) = (PathBuf::new(), Vec::new());
        for component in Path::new(text).components() {
            let name = component.as_os_str().to_string_lossy();
            let is_literal = !matches!(component, Component::Normal(_)) || Pattern::escape(&name) == name;
            match (&*name, is_literal) {
                ("**", _) => parts.push(Part::Any),
                (_, true) if parts.is_empty() => root.push(component),
                (_, true) => parts.push(Part::Literal(PathBuf::from(component.as_os_str()))),
                (name, false) => parts.push(Part::Wild(Pattern::new(name)?)),
            }
        }
        // The directory of a file with a name of its own is watched as well.
        if parts.is_empty()
            && let Some(name) = root.file_name().map(PathBuf::from)
        {
            root.pop();
            parts.push(Part::Literal(name));
        }
        Ok(PathPattern { root, parts, whole })
    }

    /// Whether a path is one of those.
    pub(super) fn matches(&self, path: &Path) -> bool {
        self.whole.matches_path_with(path, OPTIONS)
    }

    /// Visits everything that matches now.
    pub(super) fn walk(&self, visitor: &mut dyn Visitor) {
        walk(&self.root, &self.parts, MAX_DEPTH, visitor);
    }
}

fn walk(at: &Path, parts: &[Part], depth_left: usize, visitor: &mut dyn Visitor) {
    let Some((part, rest)) = parts.split_first() else {
        if fs::metadata(at).is_ok_and(|metadata| !metadata.is_dir()) {
            visitor.file(at.to_owned());
        }
        return;
    };
    match part {
        Part::Literal(name) => {
            visitor.directory(at);
            walk(&at.join(name), rest, depth_left, visitor);
        }
        Part::Wild(pattern) => {
            for entry in list(at, visitor) {
                let is_match = pattern.matches_with(&entry.file_name().to_string_lossy(), OPTIONS);
                if is_match && (rest.is_empty() || leads_on(&entry, true)) {
                    walk(&entry.path(), rest, depth_left, visitor);
                }
            }
        }
        Part::Any => {
            walk(at, rest, depth_left, visitor);
            if depth_left == 0 {
                return;
            }
            for entry in list(at, visitor) {
                if leads_on(&entry, false) {
                    walk(&entry.path(), parts, depth_left - 1, visitor);
                }
            }
        }
    }
}

/// Whether it is a directory, or a link to one where those are followed.
fn leads_on(entry: &fs::DirEntry, follows_links: bool) -> bool {
    let Ok(kind) = entry.file_type() else { return false };
    kind.is_dir() || (follows_links && kind.is_symlink() && entry.path().is_dir())
}

fn list(directory: &Path, visitor: &mut dyn Visitor) -> Vec<fs::DirEntry> {
    visitor.directory(directory);
    match fs::read_dir(directory) {
        // An entry that vanishes while it is read is one that is not there.
        Ok(entries) => entries.filter_map(Result::ok).collect(),
        Err(error) if is_gone(&error) => Vec::new(),
        Err(error) => {
            visitor.failed(directory, &error);
            Vec::new()
        }
    }
}

/// Whether the error says that the path leads nowhere any more.
pub(super) fn is_gone(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[derive(Default)]
    struct Seen {
        directories: Vec<PathBuf>,
        files: Vec<PathBuf>,
        failed: Vec<PathBuf>,
    }

    impl Visitor for Seen {
        fn directory(&mut self, path: &Path) {
            self.directories.push(path.to_owned());
        }
        fn file(&mut self, path: PathBuf) {
            self.files.push(path);
        }
        fn failed(&mut self, path: &Path, _: &io::Error) {
            self.failed.push(path.to_owned());
        }
    }

    fn tree(files: &[&str]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for file in files {
            let path = root.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "line\n").unwrap();
        }
        root
    }

    fn seen(root: &Path, pattern: &str) -> (Vec<String>, Vec<String>) {
        let mut seen = Seen::default();
        PathPattern::new(root.join(pattern).to_str().unwrap()).unwrap().walk(&mut seen);
        let names = |paths: Vec<PathBuf>| {
            let name = |path: &PathBuf| path.strip_prefix(root).unwrap().to_string_lossy().into_owned();
            let mut names: Vec<String> = paths.iter().map(name).collect();
            names.sort();
            names.dedup();
            names
        };
        (names(seen.files), names(seen.directories))
    }

    #[test]
    fn the_logs_of_pods_are_found_and_every_directory_on_the_way_is_watched() {
        let root =
            tree(&["a_p_1/app/0.log", "a_p_1/app/0.log.20260101", "a_p_1/side/1.log", "b_q_2/app/0.log"]);
        fs::create_dir_all(root.path().join("c_r_3")).unwrap();
        let (files, directories) = seen(root.path(), "*/*/*.log");
        assert_eq!(files, ["a_p_1/app/0.log", "a_p_1/side/1.log", "b_q_2/app/0.log"]);
        assert_eq!(directories, ["", "a_p_1", "a_p_1/app", "a_p_1/side", "b_q_2", "b_q_2/app", "c_r_3"]);
    }

    #[test]
    fn two_stars_are_any_number_of_directories() {
        let root = tree(&["x.log", "a/x.log", "a/b/c/x.log", "a/b/c/y.txt"]);
        assert_eq!(seen(root.path(), "**/*.log").0, ["a/b/c/x.log", "a/x.log", "x.log"]);
        assert_eq!(seen(root.path(), "a/**/x.log").0, ["a/b/c/x.log", "a/x.log"]);
    }

    #[test]
    fn links_to_files_are_followed_and_loops_of_links_end() {
        let root = tree(&["real/x.log"]);
        symlink(root.path().join("real/x.log"), root.path().join("link.log")).unwrap();
        symlink(root.path(), root.path().join("real/loop")).unwrap();
        symlink("self.log", root.path().join("self.log")).unwrap();
        assert_eq!(seen(root.path(), "*.log").0, ["link.log"]);
        assert_eq!(seen(root.path(), "**/*.log").0, ["link.log", "real/x.log"]);
        assert_eq!(seen(root.path(), "*/*/*.log").0, ["real/loop/link.log"]);
    }

    #[test]
    fn what_is_not_there_is_watched_for() {
        let root = tree(&[]);
        let (files, directories) = seen(root.path(), "logs/app/x.log");
        assert!(files.is_empty());
        assert_eq!(directories, ["logs/app"]);
        assert_eq!(seen(root.path(), "logs/*/x.log").1, ["logs"]);
    }

    #[test]
    fn a_path_is_told_whether_it_matches() {
        let pattern = PathPattern::new("/var/log/pods/*/*/*.log").unwrap();
        assert!(pattern.matches(Path::new("/var/log/pods/a/b/0.log")));
        assert!(!pattern.matches(Path::new("/var/log/pods/a/b/c/0.log")));
        assert!(!pattern.matches(Path::new("/var/log/pods/a/b/.0.log")));
        assert!(PathPattern::new("/var/[log").is_err());
    }
}
