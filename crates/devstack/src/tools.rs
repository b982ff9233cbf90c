//! The programs that fetch and run the servers: which are missing, what brings them, and bringing them.

use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::cache::Cache;
use crate::command;
use crate::progress::Task;
use crate::{Error, Result};

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
pub(crate) const GO: Tool = Tool { program: "go", package: "golang-go", purpose: "builds Mimir" };

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
