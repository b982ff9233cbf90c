//! What the programs themselves say of the configuration that their charts give them.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

use super::manifest::{Pod, Set, list};

/// Programs by the name of their image, with the file that their configuration is in.
const PROGRAMS: [(&str, &str); 2] = [("edge-forwarder", "edge.yaml"), ("hub-consumer", "hub.yaml")];

/// Runs `--check-config` for every pod of ours: with its file, and with its variables.
///
/// # Errors
/// A program does not start.
pub(crate) fn check(root: &Path, set: &Set) -> Result<Vec<String>> {
    let mut problems = Vec::new();
    for pod in set.pods() {
        for (program, file) in PROGRAMS {
            let image = |container: &&Value| {
                let image = container["image"].as_str().unwrap_or_default();
                image.rsplit('/').next().and_then(|last| last.split(':').next()) == Some(program)
            };
            let Some(container) = pod.containers().iter().find(image) else { continue };
            if let Some(words) = refusal(root, program, file, pod, container, set)? {
                problems.push(format!("{}: {program} refuses its configuration: {words}", pod.owner.title()));
            }
        }
    }
    Ok(problems)
}

/// An authority whose key nobody has.
const AUTHORITY: &str = include_str!("authority.pem");

/// The configuration with every `ca_file` pointing to `authority`.
fn with_authority(text: &str, authority: &Path) -> String {
    let line = |line: &str| match line.split_once("ca_file: ") {
        Some((before, _)) => format!("{before}ca_file: {}\n", authority.display()),
        None => format!("{line}\n"),
    };
    text.lines().map(line).collect()
}

fn refusal(
    root: &Path,
    program: &str,
    file: &str,
    pod: Pod<'_>,
    container: &Value,
    set: &Set,
) -> Result<Option<String>> {
    let names = list(&pod.spec()["volumes"]).iter().filter_map(|volume| volume["configMap"]["name"].as_str());
    let maps = names.filter_map(|name| set.get("ConfigMap", pod.owner.namespace(), name));
    let text = maps.filter_map(|map| map.value["data"][file].as_str()).next();
    let Some(text) = text else { return Ok(Some(format!("there is no {file}"))) };
    let folder = tempfile::tempdir().context("make a folder for configuration")?;
    // A certificate is of a Secret, which is not here; any serves as well.
    let authority = folder.path().join("ca.crt");
    std::fs::write(&authority, AUTHORITY).with_context(|| format!("write {}", authority.display()))?;
    let path = folder.path().join(file);
    let text = with_authority(text, &authority);
    std::fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
    let mut command = Command::new(root.join("target/debug").join(program));
    if program == "hub-consumer" {
        command.arg("run");
    }
    command.arg("--config").arg(&path).arg("--check-config").env_clear();
    for variable in list(&container["env"]) {
        let name = variable["name"].as_str().unwrap_or_default();
        // What comes from a Secret or of the pod is some text.
        command.env(name, variable["value"].as_str().unwrap_or("text"));
    }
    let output = command.output().with_context(|| format!("start {program}"))?;
    if output.status.success() {
        return Ok(None);
    }
    Ok(Some(String::from_utf8_lossy(&output.stderr).trim().replace('\n', "; ")))
}
