//! The gate of charts: every environment is rendered with the real Helm, and judged.
//!
//! `deploy/helmfile.yaml` says which release gets which values; kubeconform knows the API's kinds, and [`rules`] what one
//! manifest has to do with another. [`faults`] breaks what was rendered on purpose: a gate that lets one pass is broken itself.
//! What is upstream is not rendered here; its charts are not on this machine.

mod faults;
mod generated;
mod helmfile;
mod manifest;
mod network;
mod programs;
mod references;
mod render;
mod rules;
mod schemas;
mod values;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::steps::Steps;

/// Paths of what charts are rendered and judged with.
#[derive(Debug)]
pub(crate) struct Tools {
    helm: PathBuf,
    kubeconform: PathBuf,
    openapi: PathBuf,
}

/// The environments that `deploy/helmfile.yaml` has; `default` is `local`.
const ENVIRONMENTS: [&str; 4] = ["local", "production", "edge-only", "bare"];

/// Writes the READMEs and schemas of all charts anew.
pub(crate) fn write(steps: &Steps) -> Result<()> {
    generated::write(steps.root())
}

/// Runs the whole gate and reports all that is wrong.
pub(crate) fn check(steps: &mut Steps) -> Result<()> {
    steps.cargo(
        "build the programs that judge their configuration",
        &["build", "-p", "devstack", "-p", "edge-forwarder", "-p", "hub-consumer"],
    )?;
    let tools = tools(steps)?;
    steps.timed("charts", |steps| {
        let mut problems = generated::drift(steps.root())?;
        problems.extend(render::alone(steps.root(), &tools)?);
        let schemas = schemas::Schemas::write(&tools.openapi)?;
        for name in ENVIRONMENTS {
            let environment = helmfile::Environment::read(steps.root(), name)?;
            let set = render::environment(steps.root(), &tools, &environment)?;
            let found = rules::check(&set, &environment);
            problems.extend(found.into_iter().map(|problem| format!("{name}: {problem}")));
            let found = schemas.validate(&tools, &set)?;
            problems.extend(found.into_iter().map(|problem| format!("{name}: {problem}")));
            let found = programs::check(steps.root(), &set)?;
            problems.extend(found.into_iter().map(|problem| format!("{name}: {problem}")));
            eprintln!(
                "charts: {name}: {} objects of {} releases",
                set.objects.len(),
                environment.releases.len()
            );
        }
        problems.extend(faults::escaped(steps.root(), &tools, &schemas)?);
        if problems.is_empty() {
            return Ok(());
        }
        for problem in &problems {
            eprintln!("charts: {problem}");
        }
        bail!("{} problem(s)", problems.len())
    })
}

/// Asks devstack, which builds what is not in the cache.
fn tools(steps: &Steps) -> Result<Tools> {
    let mut devstack = Command::new(steps.root().join("target/debug/devstack"));
    let output = devstack.arg("chart-tools").stderr(std::process::Stdio::inherit()).output();
    let output = output.context("ask devstack for Helm and kubeconform")?;
    if !output.status.success() {
        bail!("devstack has no Helm or kubeconform ({})", output.status);
    }
    let text = String::from_utf8(output.stdout).context("read what devstack says")?;
    let paths: BTreeMap<&str, &str> = text.lines().filter_map(|line| line.split_once('=')).collect();
    let path = |name: &str| {
        paths.get(name).map(PathBuf::from).with_context(|| format!("devstack does not say {name}"))
    };
    Ok(Tools { helm: path("HELM")?, kubeconform: path("KUBECONFORM")?, openapi: path("KUBERNETES_OPENAPI")? })
}

/// The charts of this repository, the library left out.
fn own_charts(root: &std::path::Path) -> Result<Vec<String>> {
    let mut charts = Vec::new();
    for entry in std::fs::read_dir(root.join("charts")).context("list charts/")? {
        let name = entry.context("list charts/")?.file_name().to_string_lossy().into_owned();
        if name != "common" {
            charts.push(name);
        }
    }
    charts.sort();
    Ok(charts)
}
