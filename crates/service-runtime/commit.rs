//! The commit that a build is made from; a part of build scripts.

use std::{env, process::Command};

/// Tells cargo the commit as the environment variable `variable`, and when to look again.
#[allow(clippy::print_stdout, reason = "this is how a build script speaks to cargo")]
pub(crate) fn tell(variable: &str) {
    let commit = commit();
    println!("cargo::rustc-env={variable}={}", commit.name);
    println!("cargo::rerun-if-env-changed=EVENTLINE_COMMIT");
    for file in commit.files {
        println!("cargo::rerun-if-changed={file}");
    }
}

/// A commit, and the files that change when another is checked out.
struct Commit {
    name: String,
    files: Vec<String>,
}

/// What `EVENTLINE_COMMIT` says; else, for a release, what git says. A build for tests is not made anew with each commit, so it
/// knows none: it would name one that it was not built from.
fn commit() -> Commit {
    if let Ok(name) = env::var("EVENTLINE_COMMIT") {
        return Commit { name, files: Vec::new() };
    }
    let is_release = env::var("PROFILE").is_ok_and(|profile| profile == "release");
    let name = is_release.then(|| output("git", &["rev-parse", "--short=12", "HEAD"])).flatten();
    let Some(name) = name else { return Commit { name: "unknown".to_owned(), files: Vec::new() } };
    let head = output("git", &["rev-parse", "--path-format=absolute", "--git-path", "HEAD"]);
    let log = output("git", &["rev-parse", "--path-format=absolute", "--git-path", "logs/HEAD"]);
    Commit { name, files: head.into_iter().chain(log).collect() }
}

/// The first line that a command prints, when it ends well.
pub(crate) fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let line = text.lines().next()?.trim();
    (output.status.success() && !line.is_empty()).then(|| line.to_owned())
}
