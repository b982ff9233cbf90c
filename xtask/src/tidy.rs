//! The rules about the source tree that no other tool knows.
//!
//! Dependency directions are stated as absences and checked against `cargo metadata`; the rest is read from the files.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;
use walkdir::WalkDir;

/// Longer files ask to be cut by responsibility.
const MAX_FILE_LINES: usize = 500;

/// Crates that only one crate of ours may name, and why.
const CONFINED: &[(&str, &str, &str)] = &[
    ("rdkafka", "kafka-client", "every Kafka setting and error is decided in one place"),
    ("backoff", "service-runtime", "it is unmaintained; one module uses it"),
    ("libloading", "devstack", "only the ClickHouse launcher loads code at run time"),
];

/// What a crate of ours must not depend on, directly.
const ABSENT: &[(&str, &[&str], &str)] = &[
    (
        "telemetry-wire",
        &["tokio", "kafka-client", "service-runtime", "reqwest", "hyper", "axum"],
        "the contract does no I/O",
    ),
    (
        "service-runtime",
        &["kafka-client", "telemetry-wire"],
        "the runtime knows nothing of the telemetry that passes through, or of Kafka",
    ),
    ("kafka-client", &["telemetry-wire"], "the client knows nothing of OTLP"),
    (
        "disk-spool",
        &["kafka-client", "telemetry-wire", "service-runtime", "prost"],
        "the spool knows nothing of OTLP or Kafka",
    ),
    ("edge-forwarder", &["hub-consumer", "mock-service"], "services never see each other"),
    ("hub-consumer", &["edge-forwarder", "mock-service"], "services never see each other"),
    (
        "mock-service",
        &["edge-forwarder", "hub-consumer", "kafka-client", "telemetry-wire"],
        "the application knows only OTLP",
    ),
    (
        "devstack",
        &["kafka-client", "telemetry-wire", "edge-forwarder", "hub-consumer"],
        "devstack knows only servers",
    ),
];

/// Checks every rule and reports all that is broken.
pub(crate) fn check(root: &Path) -> Result<()> {
    let mut problems = Vec::new();
    check_sources(root, &mut problems)?;
    check_dependencies(root, &mut problems)?;
    if problems.is_empty() {
        return Ok(());
    }
    for problem in &problems {
        eprintln!("tidy: {problem}");
    }
    bail!("{} problem(s)", problems.len());
}

fn check_sources(root: &Path, problems: &mut Vec<String>) -> Result<()> {
    let skipped = ["target", ".git", "node_modules"];
    let entries = WalkDir::new(root)
        .into_iter()
        .filter_entry(|entry| !entry.file_name().to_str().is_some_and(|name| skipped.contains(&name)));
    for entry in entries {
        let entry = entry.context("walk the tree")?;
        let path = entry.path();
        let relative = path.strip_prefix(root).context("entries lie below the root")?.display().to_string();
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("rs") => check_rust(&relative, &read(path)?, problems),
            Some("toml") if path.ends_with("Cargo.toml") => check_manifest(&relative, &read(path)?, problems),
            Some("md" | "sql" | "yaml" | "yml" | "py" | "sh") => {
                check_blanks(&relative, &read(path)?, problems)
            }
            _ => {}
        }
    }
    Ok(())
}

fn check_rust(path: &str, text: &str, problems: &mut Vec<String>) {
    if !text.starts_with("//!") {
        problems.push(format!("{path}: the first line must be `//!` and say what the file is for"));
    }
    let lines = text.lines().count();
    if lines > MAX_FILE_LINES {
        problems.push(format!(
            "{path}: {lines} lines; split it by responsibility, {MAX_FILE_LINES} is the limit"
        ));
    }
    // Spelled in halves, or this file would break its own rules.
    let banned = [
        (concat!("#[ign", "ore"), "assert today's behaviour instead of ignoring a test"),
        (concat!("#[should_", "panic"), "match on the error instead"),
    ];
    for (needle, remedy) in banned {
        if text.contains(needle) {
            problems.push(format!("{path}: `{needle}]` is not used here; {remedy}"));
        }
    }
    check_blanks(path, text, problems);
}

fn check_manifest(path: &str, text: &str, problems: &mut Vec<String>) {
    let is_package = text.contains("[package]");
    let is_member = !text.contains("\n[workspace]") && !text.starts_with("[workspace]");
    if is_package && is_member && !text.contains("[lints]\nworkspace = true") {
        problems.push(format!("{path}: add `[lints]` with `workspace = true`"));
    }
}

fn check_blanks(path: &str, text: &str, problems: &mut Vec<String>) {
    for (number, line) in text.lines().enumerate() {
        if line.ends_with([' ', '\t']) {
            problems.push(format!("{path}:{}: trailing blank", number + 1));
        }
    }
    if !text.is_empty() && !text.ends_with('\n') {
        problems.push(format!("{path}: the last line has no line end"));
    }
}

fn check_dependencies(root: &Path, problems: &mut Vec<String>) -> Result<()> {
    let direct = direct_dependencies(root)?;
    for (crate_name, owner, why) in CONFINED {
        for (package, dependencies) in &direct {
            if package != owner && dependencies.contains(*crate_name) {
                problems.push(format!("{package}: only {owner} may depend on {crate_name}: {why}"));
            }
        }
    }
    for (package, absent, why) in ABSENT {
        let dependencies = direct.get(*package).with_context(|| format!("no package {package}"))?;
        for name in absent.iter().filter(|name| dependencies.contains(**name)) {
            problems.push(format!("{package}: must not depend on {name}: {why}"));
        }
    }
    Ok(())
}

/// Package name to the names of its direct dependencies, those of its tests left out.
fn direct_dependencies(root: &Path) -> Result<BTreeMap<String, BTreeSet<String>>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--format-version=1", "--no-deps", "--offline"])
        .current_dir(root)
        .output()
        .context("run cargo metadata")?;
    if !output.status.success() {
        bail!("cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    }
    let metadata: Value = serde_json::from_slice(&output.stdout).context("read cargo metadata")?;
    let packages = metadata["packages"].as_array().context("cargo metadata lists packages")?;
    Ok(packages.iter().map(|package| (text(&package["name"]), dependencies_of(package))).collect())
}

fn dependencies_of(package: &Value) -> BTreeSet<String> {
    let all = package["dependencies"].as_array().map(Vec::as_slice).unwrap_or_default();
    all.iter()
        .filter(|dependency| dependency["kind"] != "dev")
        .map(|dependency| text(&dependency["name"]))
        .collect()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))
}
