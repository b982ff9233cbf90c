//! What a pattern of log files matches at this moment.

use glob::{MatchOptions, Pattern, glob_with};

/// Paths looked at before a pattern counts as matching nothing that is read.
const MAX_PATHS: usize = 10_000;

/// As the files are looked for later.
const OPTIONS: MatchOptions =
    MatchOptions { case_sensitive: true, require_literal_separator: true, require_literal_leading_dot: true };

/// The best that was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// At least one file is read.
    Files,
    /// There are files, all of them left out.
    Excluded,
    /// There are directories only.
    Directories,
    /// There is nothing.
    Nothing,
}

/// Looks at what is there. A pattern that is none is refused elsewhere, and finds files here.
pub(super) fn look(pattern: &str, exclude: &[String]) -> Found {
    let Ok(paths) = glob_with(pattern, OPTIONS) else { return Found::Files };
    let exclude: Vec<Pattern> = exclude.iter().filter_map(|pattern| Pattern::new(pattern).ok()).collect();
    let mut found = Found::Nothing;
    for path in paths.filter_map(Result::ok).take(MAX_PATHS) {
        found = match found {
            _ if path.is_dir() && found == Found::Nothing => Found::Directories,
            _ if path.is_dir() => found,
            _ if exclude.iter().any(|pattern| pattern.matches_path_with(&path, OPTIONS)) => Found::Excluded,
            _ => return Found::Files,
        };
    }
    found
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_pattern_is_judged_by_the_best_that_it_matches() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        fs::create_dir_all(path("app/inner")).unwrap();
        fs::write(path("app/a.log"), "").unwrap();
        let check = |pattern: &str, exclude: &[String], expected| {
            assert_eq!(look(&path(pattern), exclude), expected, "{pattern}")
        };
        check("app", &[], Found::Directories);
        check("app/", &[], Found::Directories);
        check("*", &[], Found::Directories);
        check("app/*", &[], Found::Files);
        check("**/*.log", &[], Found::Files);
        check("app/*", &[path("app/*.log")], Found::Excluded);
        check("app/*.txt", &[], Found::Nothing);
        check("other/*.log", &[], Found::Nothing);
    }
}
