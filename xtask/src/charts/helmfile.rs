//! What `deploy/helmfile.yaml` says of an environment: which releases there are, and which files each gets its values from.
//!
//! The file is plain YAML with three template expressions in it; helmfile itself is not needed to read that.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

/// One environment as helmfile would see it.
#[derive(Debug)]
pub(crate) struct Environment {
    /// Its releases that are switched on, in the file's order, those of upstream charts among them.
    pub(crate) releases: Vec<Release>,
    /// Secrets that the environment expects to be there: namespace, name, keys.
    pub(crate) external_secrets: BTreeMap<(String, String), BTreeSet<String>>,
}

/// One release.
#[derive(Debug, Clone)]
pub(crate) struct Release {
    pub(crate) name: String,
    pub(crate) namespace: String,
    /// The chart's folder, when it is one of ours.
    pub(crate) own_chart: Option<PathBuf>,
    /// Files with values that exist, later ones win.
    pub(crate) values: Vec<PathBuf>,
}

impl Environment {
    /// # Errors
    /// The file, or an environment's, cannot be read, or says what does not go together; the error says what.
    pub(crate) fn read(root: &Path, name: &str) -> Result<Self> {
        let deploy = root.join("deploy");
        let documents = yaml_documents(&deploy.join("helmfile.yaml"))?;
        let [environments, releases] = documents.as_slice() else {
            bail!("deploy/helmfile.yaml has {} documents: environments, then releases", documents.len());
        };
        let mut values = Value::Null;
        let files = environments["environments"][name]["values"].as_array();
        for file in files.with_context(|| format!("deploy/helmfile.yaml has no environment {name}"))? {
            values = yaml(&deploy.join(text(file)?))?;
        }
        let profile = text(&values["profile"]).with_context(|| format!("profile of {name}"))?.to_owned();
        let all = releases["releases"].as_array().context("deploy/helmfile.yaml lists releases")?;
        check_needs(all)?;
        let mut found = Vec::new();
        for release in all {
            if is_on(release, &values)? {
                found.push(read_release(release, &profile, &deploy)?);
            }
        }
        Ok(Self { releases: found, external_secrets: external_secrets(&values)? })
    }
}

/// `condition: part.enabled` against the environment's values.
fn is_on(release: &Value, values: &Value) -> Result<bool> {
    let Some(condition) = release["condition"].as_str() else { return Ok(true) };
    let switch = condition.split('.').fold(values, |value, key| &value[key]);
    switch.as_bool().with_context(|| format!("the environment does not say whether {condition}"))
}

fn read_release(release: &Value, profile: &str, deploy: &Path) -> Result<Release> {
    let name = text(&release["name"])?.to_owned();
    let fill = |template: &str| {
        template.replace("{{ .Release.Name }}", &name).replace("{{ .Values.profile }}", profile)
    };
    let chart = fill(text(&release["chart"])?);
    ensure!(!chart.contains("{{"), "release {name}: {chart} has an expression that is not known here");
    let own_chart = chart.starts_with("..").then(|| deploy.join(&chart));
    if own_chart.is_none() {
        let version = release["version"].as_str().unwrap_or_default();
        let is_exact = version.split('.').count() == 3 && version.starts_with(|c: char| c.is_ascii_digit());
        ensure!(is_exact, "release {name}: its upstream chart has no exact version");
    }
    let mut values = Vec::new();
    for file in release["values"].as_array().with_context(|| format!("release {name} has no values"))? {
        let path = deploy.join(fill(text(file)?));
        if path.exists() {
            values.push(path);
        }
    }
    Ok(Release { namespace: text(&release["namespace"])?.to_owned(), own_chart, values, name })
}

/// What is needed exists and comes before, so there is an order.
fn check_needs(releases: &[Value]) -> Result<()> {
    let mut before = BTreeSet::new();
    for release in releases {
        let id = format!("{}/{}", text(&release["namespace"])?, text(&release["name"])?);
        for need in release["needs"].as_array().map(Vec::as_slice).unwrap_or_default() {
            let need = text(need)?;
            ensure!(before.contains(need), "release {id} needs {need}, which is not listed before it");
        }
        ensure!(before.insert(id.clone()), "release {id} is listed twice");
    }
    Ok(())
}

fn external_secrets(values: &Value) -> Result<BTreeMap<(String, String), BTreeSet<String>>> {
    let mut all = BTreeMap::new();
    let Some(namespaces) = values["externalSecrets"].as_object() else { return Ok(all) };
    for (namespace, secrets) in namespaces {
        for (name, keys) in secrets.as_object().context("externalSecrets: secrets by namespace")? {
            let keys = keys.as_array().context("externalSecrets: a list of keys")?;
            let keys = keys.iter().map(|key| text(key).map(str::to_owned)).collect::<Result<_>>()?;
            all.insert((namespace.clone(), name.clone()), keys);
        }
    }
    Ok(all)
}

fn yaml(path: &Path) -> Result<Value> {
    let mut documents = yaml_documents(path)?;
    ensure!(documents.len() == 1, "{} has {} documents", path.display(), documents.len());
    documents.pop().context("one document")
}

fn yaml_documents(path: &Path) -> Result<Vec<Value>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    serde_saphyr::from_multiple(&text).with_context(|| format!("read {}", path.display()))
}

fn text(value: &Value) -> Result<&str> {
    value.as_str().with_context(|| format!("{value} is no text"))
}
