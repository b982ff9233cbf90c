//! Rendering with the real Helm.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::helmfile::{Environment, Release};
use super::manifest::{Object, Set};
use super::{Tools, own_charts};

/// The Kubernetes that charts are rendered for.
pub(crate) const KUBERNETES: &str = "1.36.3";

/// Everything of our own in an environment.
///
/// # Errors
/// A chart refuses its values; the error has Helm's words.
pub(crate) fn environment(root: &Path, tools: &Tools, environment: &Environment) -> Result<Set> {
    let mut objects = Vec::new();
    for release in environment.releases.iter().filter(|release| release.own_chart.is_some()) {
        objects.extend(release_objects(root, tools, release, &[])?);
    }
    Ok(Set { objects })
}

/// Every chart of ours with its default values, linted and rendered: what is wrong with it.
///
/// # Errors
/// Helm does not start.
pub(crate) fn alone(root: &Path, tools: &Tools) -> Result<Vec<String>> {
    let mut problems = Vec::new();
    for chart in own_charts(root)? {
        let path = format!("charts/{chart}");
        for args in [&["lint", "--strict", "--quiet", &path][..], &["template", &chart, &path][..]] {
            if let Err(error) = helm(root, tools, args) {
                problems.push(format!("chart {chart} with default values: {error:#}"));
            }
        }
    }
    Ok(problems)
}

/// The objects of one release, with settings as `--set` takes them.
///
/// # Errors
/// The chart refuses its values.
pub(crate) fn release_objects(
    root: &Path,
    tools: &Tools,
    release: &Release,
    settings: &[&str],
) -> Result<Vec<Object>> {
    let chart = release.own_chart.as_ref().context("only charts of our own are rendered")?;
    let mut args = vec!["template".to_owned(), release.name.clone(), chart.display().to_string()];
    args.extend(["--namespace".to_owned(), release.namespace.clone()]);
    args.extend(["--kube-version".to_owned(), KUBERNETES.to_owned()]);
    for file in &release.values {
        args.extend(["--values".to_owned(), file.display().to_string()]);
    }
    for setting in settings {
        args.extend(["--set".to_owned(), (*setting).to_owned()]);
    }
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let text = helm(root, tools, &args).with_context(|| format!("release {}", release.name))?;
    let documents: Vec<Value> = serde_saphyr::from_multiple(&text)
        .with_context(|| format!("release {}: what was rendered is no YAML", release.name))?;
    let documents = documents.into_iter().filter(|document| !document.is_null());
    Ok(documents.map(|value| Object { release: release.name.clone(), value }).collect())
}

fn helm(root: &Path, tools: &Tools, args: &[&str]) -> Result<String> {
    // A person's repositories and plugins have no say in it.
    let home = std::env::temp_dir().join("eventline-helm");
    let output = Command::new(&tools.helm)
        .args(args)
        .current_dir(root)
        .env("HELM_CACHE_HOME", home.join("cache"))
        .env("HELM_CONFIG_HOME", home.join("config"))
        .env("HELM_DATA_HOME", home.join("data"))
        .output()
        .context("start helm")?;
    if !output.status.success() {
        // What it says of links is no fault.
        let words =
            String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
        let words: Vec<&str> = words.lines().filter(|line| !line.contains("found symbolic link")).collect();
        bail!("{}", words.join(" ").trim());
    }
    String::from_utf8(output.stdout).context("what helm prints is no text")
}
