//! The programs that fetch and run the servers: which are missing, what brings them, and bringing them.

use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::cache::Cache;
use crate::command;
use crate::progress::Task;
use crate::{Error, Progress, Result};

/// A program and the Debian package it comes in.
#[derive(Debug)]
pub(crate) struct Tool {
    program: &'static str,
    package: &'static str,
    purpose: &'static str,
}

pub(crate) const JAVA: Tool =
    Tool { program: "java", package: "default-jre-headless", purpose: "runs Kafka" };
pub(crate) const MAVEN: Tool = Tool { program: "mvn", package: "maven", purpose: "fetches Kafka" };
pub(crate) const NPM: Tool = Tool { program: "npm", package: "npm", purpose: "fetches ClickHouse" };
pub(crate) const TAR: Tool = Tool { program: "tar", package: "tar", purpose: "unpacks ClickHouse" };
pub(crate) const GO: Tool = Tool { program: "go", package: "golang-go", purpose: "builds servers" };

/// Programs that faults are made with, beyond what every Debian has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultTool {
    /// Makes system calls of a running process fail or wait.
    Strace,
}

impl FaultTool {
    /// Installs the program when that needs no question (root on Debian).
    ///
    /// # Errors
    /// It is missing and cannot be installed; the error names the command that does.
    pub fn ensure(self, cache: &Cache) -> Result<()> {
        let tool = match self {
            Self::Strace => Tool { program: "strace", package: "strace", purpose: "makes system calls fail" },
        };
        ensure(&[tool], cache, &Progress::silent().task(""))
    }
}

/// Installs what is missing of `tools` when that needs no question (root on Debian); else says how to.
pub(crate) fn ensure(tools: &[Tool], cache: &Cache, task: &Task) -> Result<()> {
    if missing(tools).is_empty() {
        return Ok(());
    }
    if !may_install() {
        return Err(refusal(&missing(tools)));
    }
    // Two package managers at once would refuse each other.
    let _lock = cache.lock("apt", task)?;
    let missing = missing(tools);
    if missing.is_empty() {
        return Ok(());
    }
    static UPDATED: AtomicBool = AtomicBool::new(false);
    if !UPDATED.swap(true, Ordering::Relaxed) {
        task.say("apt-get update");
        command::run("apt-get update", Command::new("apt-get").arg("update"), |_| {})?;
    }
    let packages: Vec<_> = missing.iter().map(|tool| tool.package).collect();
    let what = format!("apt-get install {}", packages.join(" "));
    task.say(what.as_str());
    let mut install = Command::new("apt-get");
    install.args(["install", "-y", "--no-install-recommends"]).args(&packages);
    command::run(&what, install.env("DEBIAN_FRONTEND", "noninteractive"), |_| {})
}

/// The oldest Java that runs the pinned Kafka.
const OLDEST_JAVA: u32 = 17;

/// A Java that is new enough for Kafka; an old one that is there is not replaced without asking.
pub(crate) fn ensure_java(cache: &Cache, task: &Task) -> Result<()> {
    ensure(&[JAVA], cache, task)?;
    let says = command::output("ask java for its version", Command::new(JAVA.program).arg("--version"))?;
    match java_version(&says) {
        Some(version) if version < OLDEST_JAVA => Err(Error::MissingTools {
            programs: vec![format!("java {OLDEST_JAVA} or newer ({}; found {version})", JAVA.purpose)],
            command: format!("sudo apt-get install openjdk-{OLDEST_JAVA}-jre-headless"),
        }),
        // A Java that does not say its version in the usual way may still be right.
        _ => Ok(()),
    }
}

/// `openjdk 17.0.15 2025-04-15` to 17.
fn java_version(says: &str) -> Option<u32> {
    let number = says.split_whitespace().nth(1)?;
    number.split('.').next()?.parse().ok()
}

fn missing(tools: &[Tool]) -> Vec<&Tool> {
    tools.iter().filter(|tool| command::find(tool.program).is_none()).collect()
}

fn may_install() -> bool {
    rustix::process::geteuid().is_root() && std::path::Path::new("/etc/debian_version").exists()
}

fn refusal(missing: &[&Tool]) -> Error {
    let packages: Vec<_> = missing.iter().map(|tool| tool.package).collect();
    Error::MissingTools {
        programs: missing.iter().map(|tool| format!("{} ({})", tool.program, tool.purpose)).collect(),
        command: format!("sudo apt-get install {}", packages.join(" ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_of_java_is_the_first_number() {
        let openjdk = "openjdk 17.0.15 2025-04-15\nOpenJDK Runtime Environment";
        assert_eq!(java_version(openjdk), Some(17));
        assert_eq!(java_version("java 11 2018-09-25 LTS"), Some(11));
        assert_eq!(java_version("something else"), None);
    }

    #[test]
    fn a_missing_tool_is_named_with_its_purpose_and_the_command_that_installs_it() {
        let absent = Tool { program: "no-such-program", package: "its-package", purpose: "serves this test" };
        let shell = Tool { program: "sh", package: "dash", purpose: "is everywhere" };
        let tools = [absent, shell];
        let text = refusal(&missing(&tools)).to_string();
        assert_eq!(
            text,
            "missing no-such-program (serves this test); install with: sudo apt-get install its-package"
        );
    }
}
