//! What a build needs from the system, by Debian's names; installed without asking when root on Debian.
//!
//! The servers' own tools (Java, Maven, npm, Go) are devstack's business.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// A question that tells whether a thing is there, and the Debian package that brings it.
struct Prerequisite {
    package: &'static str,
    why: &'static str,
    present: fn() -> bool,
    needed_by: Scope,
}

/// What is going to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Scope {
    /// Building and running.
    Programs,
    /// Also testing.
    Tests,
}

const PREREQUISITES: &[Prerequisite] = &[
    Prerequisite {
        package: "build-essential",
        why: "compiles librdkafka, zstd and lz4",
        present: || runs("cc") && runs("c++") && runs("make"),
        needed_by: Scope::Programs,
    },
    Prerequisite {
        package: "pkg-config",
        why: "finds OpenSSL",
        present: || runs("pkg-config"),
        needed_by: Scope::Programs,
    },
    Prerequisite {
        package: "libssl-dev",
        why: "TLS of every connection",
        present: || library("openssl"),
        needed_by: Scope::Programs,
    },
    Prerequisite {
        package: "zlib1g-dev",
        why: "gzip in librdkafka",
        present: || library("zlib"),
        needed_by: Scope::Programs,
    },
    Prerequisite {
        package: "python3",
        why: "the OpenTelemetry SDK of another language in the tests",
        present: || runs("python3"),
        needed_by: Scope::Tests,
    },
    Prerequisite {
        package: "python3-venv",
        why: "keeps that SDK apart",
        present: || python_module("ensurepip"),
        needed_by: Scope::Tests,
    },
    Prerequisite {
        package: "chromium",
        why: "opens the preview of boards in the tests, and takes their pictures",
        present: || runs("chromium"),
        needed_by: Scope::Tests,
    },
];

/// Installs what is missing, or says which command does.
pub(crate) fn ensure(scope: Scope) -> Result<()> {
    let missing: Vec<_> =
        PREREQUISITES.iter().filter(|item| item.needed_by <= scope && !(item.present)()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    for item in &missing {
        eprintln!("missing: {} ({})", item.package, item.why);
    }
    let packages: Vec<_> = missing.iter().map(|item| item.package).collect();
    if !is_root() || !Path::new("/etc/debian_version").exists() {
        bail!("install what is missing, on Debian with: sudo apt-get install -y {}", packages.join(" "));
    }
    apt_get(&["update"])?;
    apt_get(&[&["install", "-y", "--no-install-recommends"], packages.as_slice()].concat())
}

fn apt_get(args: &[&str]) -> Result<()> {
    let status = Command::new("apt-get")
        .args(args)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdout(Stdio::null())
        .status()
        .context("start apt-get")?;
    if !status.success() {
        bail!("apt-get {} ended with {status}", args.join(" "));
    }
    Ok(())
}

fn runs(program: &str) -> bool {
    succeeds(Command::new(program).arg("--version"))
}

fn library(name: &str) -> bool {
    succeeds(Command::new("pkg-config").args(["--exists", name]))
}

fn python_module(name: &str) -> bool {
    succeeds(Command::new("python3").args(["-c", &format!("import {name}")]))
}

fn is_root() -> bool {
    Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}

fn succeeds(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}
