//! JSON schemas of the API's kinds, made from its own description, and kubeconform's judgement by them.
//!
//! A schema is strict: a field that the API does not know is a fault, since the API server would drop it without a word.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value, json};

use super::Tools;
use super::manifest::Set;
use super::render::KUBERNETES;

/// Kinds that are not of Kubernetes itself; nothing here knows their fields.
const FOREIGN: &str = "ScaledObject,TriggerAuthentication";

const DEFINITION: &str = "#/definitions/";

/// A folder with a schema for each kind.
#[derive(Debug)]
pub(crate) struct Schemas {
    folder: tempfile::TempDir,
}

impl Schemas {
    /// # Errors
    /// The description cannot be read, or the folder not be written.
    pub(crate) fn write(openapi: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(openapi).context("read the API's description")?;
        let openapi: Value = serde_json::from_str(&text).context("read the API's description")?;
        let definitions = openapi["definitions"].as_object().context("the description has definitions")?;
        let strict: Map<String, Value> =
            definitions.iter().map(|(name, schema)| (name.clone(), strict(name, schema.clone()))).collect();
        let folder = tempfile::tempdir().context("make a folder for schemas")?;
        for (name, schema) in definitions {
            let Some(kinds) = schema["x-kubernetes-group-version-kind"].as_array() else { continue };
            // The options of requests are listed under every group.
            let [kind] = kinds.as_slice() else { continue };
            let file = folder.path().join(file_name(kind)?);
            let mut document = strict.get(name).cloned().context("every definition is there")?;
            document["definitions"] = Value::Object(closure(name, &strict));
            std::fs::write(&file, document.to_string())
                .with_context(|| format!("write {}", file.display()))?;
        }
        Ok(Self { folder })
    }

    /// What kubeconform has against the objects.
    ///
    /// # Errors
    /// It does not start, or does not judge all of them.
    pub(crate) fn validate(&self, tools: &Tools, set: &Set) -> Result<Vec<String>> {
        let location =
            format!("{}/{{{{ .ResourceKind }}}}{{{{ .KindSuffix }}}}.json", self.folder.path().display());
        let mut child = Command::new(&tools.kubeconform)
            .args(["-strict", "-summary", "-output", "json", "-skip", FOREIGN])
            .args(["-kubernetes-version", KUBERNETES, "-schema-location", &location])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("start kubeconform")?;
        let mut stdin = child.stdin.take().context("its input is piped")?;
        let input: String = set.objects.iter().map(|object| format!("---\n{}\n", object.value)).collect();
        let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
        let output = child.wait_with_output().context("wait for kubeconform")?;
        writer.join().ok().context("write to kubeconform")?.context("write to kubeconform")?;
        let verdict: Value = serde_json::from_slice(&output.stdout).context("read kubeconform's verdict")?;
        let summary = &verdict["summary"];
        let judged: u64 =
            ["valid", "invalid", "errors", "skipped"].iter().filter_map(|name| summary[name].as_u64()).sum();
        if judged != set.objects.len() as u64 {
            bail!("kubeconform has judged {judged} of {} objects", set.objects.len());
        }
        let resources = verdict["resources"].as_array().context("the verdict has resources")?;
        let words = |resource: &Value| {
            let name = |key: &str| resource[key].as_str().unwrap_or_default().to_owned();
            format!("{} {}: {}", name("kind"), name("name"), name("msg"))
        };
        Ok(resources.iter().map(words).collect())
    }
}

/// `deployment-apps-v1.json`, as kubeconform asks for it.
fn file_name(kind: &Value) -> Result<String> {
    let part = |name: &str| kind[name].as_str().with_context(|| format!("a kind has a {name}"));
    let group = part("group")?.split('.').next().unwrap_or_default();
    let suffix = if group.is_empty() { String::new() } else { format!("-{group}") };
    Ok(format!("{}{suffix}-{}.json", part("kind")?.to_lowercase(), part("version")?))
}

/// A definition that allows no field but its own.
fn strict(name: &str, mut schema: Value) -> Value {
    // What the description calls text may also be a number in a manifest.
    if name.ends_with(".IntOrString") || name.ends_with(".Quantity") {
        return json!({"type": ["string", "number"]});
    }
    let open = schema.get("additionalProperties").is_some();
    if schema.get("properties").is_some() && !open {
        schema["additionalProperties"] = Value::Bool(false);
    }
    schema
}

/// The definitions that one leads to, itself among them.
fn closure(name: &str, all: &Map<String, Value>) -> Map<String, Value> {
    let (mut found, mut open) = (Map::new(), vec![name.to_owned()]);
    while let Some(name) = open.pop() {
        let Some(schema) = all.get(&name).filter(|_| !found.contains_key(&name)) else { continue };
        let mut references = BTreeSet::new();
        collect_references(schema, &mut references);
        open.extend(references);
        found.insert(name, schema.clone());
    }
    found
}

fn collect_references(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            if let Some(name) = map.get("$ref").and_then(Value::as_str) {
                found.extend(name.strip_prefix(DEFINITION).map(str::to_owned));
            }
            map.values().for_each(|value| collect_references(value, found));
        }
        Value::Array(values) => values.iter().for_each(|value| collect_references(value, found)),
        _ => {}
    }
}
