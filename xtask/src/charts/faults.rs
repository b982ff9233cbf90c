//! Faults that are made on purpose, each of which the gate has to see. They are made in what was rendered, or in values.

use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::manifest::Set;
use super::schemas::Schemas;
use super::{Tools, helmfile, programs, render, rules};

/// A fault, and words of the complaint that it has to bring about.
struct Fault {
    name: &'static str,
    complaint: &'static str,
    make: Make,
}

enum Make {
    /// In the manifests of `production`, before they are judged.
    InManifests(fn(&mut Set) -> Option<()>),
    /// In the values of a release of `production`: Helm has to refuse it.
    InValues { release: &'static str, setting: &'static str },
}

const FAULTS: [Fault; 16] = [
    Fault {
        name: "a missing label",
        complaint: "lacks the label app.kubernetes.io/part-of",
        make: Make::InManifests(|set| {
            let labels = hub(set)?["metadata"]["labels"].as_object_mut()?;
            labels.remove("app.kubernetes.io/part-of").map(drop)
        }),
    },
    Fault {
        name: "a Service that leads to a wrong port",
        complaint: "leads to port \"amdin\"",
        make: Make::InManifests(|set| {
            assign(
                find(set, "Service", "hub-consumer")?.pointer_mut("/spec/ports/0/targetPort")?,
                json!("amdin"),
            )
        }),
    },
    Fault {
        name: "a Service that selects nobody",
        complaint: "selects no pods",
        make: Make::InManifests(|set| {
            assign(
                find(set, "Service", "mimir")?.pointer_mut("/spec/selector")?,
                json!({"app.kubernetes.io/name": "mimmir"}),
            )
        }),
    },
    Fault {
        name: "a container without a limit of memory",
        complaint: "has no limits.memory",
        make: Make::InManifests(|set| {
            container(hub(set)?)?["resources"]["limits"].as_object_mut()?.remove("memory").map(drop)
        }),
    },
    Fault {
        name: "a Secret that nobody makes",
        complaint: "names the Secret clickhouse-uesrs",
        make: Make::InManifests(|set| {
            let variables = container(hub(set)?)?["env"].as_array_mut()?;
            let of_clickhouse = |variable: &&mut Value| variable["name"] == "HUB__CLICKHOUSE__PASSWORD";
            let variable = variables.iter_mut().find(of_clickhouse)?;
            assign(variable.pointer_mut("/valueFrom/secretKeyRef/name")?, json!("clickhouse-uesrs"))
        }),
    },
    Fault {
        name: "a key that a Secret does not have",
        complaint: "wants the key hubb",
        make: Make::InManifests(|set| {
            let variables = container(hub(set)?)?["env"].as_array_mut()?;
            let of_clickhouse = |variable: &&mut Value| variable["name"] == "HUB__CLICKHOUSE__PASSWORD";
            let variable = variables.iter_mut().find(of_clickhouse)?;
            assign(variable.pointer_mut("/valueFrom/secretKeyRef/key")?, json!("hubb"))
        }),
    },
    Fault {
        name: "a field that the API does not know",
        complaint: "additional properties 'replica' not allowed",
        make: Make::InManifests(|set| {
            hub(set)?["spec"].as_object_mut()?.insert("replica".to_owned(), json!(3));
            Some(())
        }),
    },
    Fault {
        name: "a field of a wrong type",
        complaint: "got string, want integer",
        make: Make::InManifests(|set| {
            assign(find(set, "StatefulSet", "mimir")?.pointer_mut("/spec/replicas")?, json!("three"))
        }),
    },
    Fault {
        name: "an image without a fixed tag",
        complaint: "has no fixed tag",
        make: Make::InManifests(|set| {
            assign(&mut container(hub(set)?)?["image"], json!("eventline/hub-consumer:latest"))
        }),
    },
    Fault {
        name: "pods that may run as root",
        complaint: "may run as root",
        make: Make::InManifests(|set| {
            assign(hub(set)?.pointer_mut("/spec/template/spec/securityContext/runAsNonRoot")?, json!(false))
        }),
    },
    Fault {
        name: "a connection that no policy lets out",
        complaint: "hub-consumer connects to clickhouse.central-observability.svc:8443, and no policy lets it out",
        make: Make::InManifests(|set| remove(set, "NetworkPolicy", "hub-to-clickhouse")),
    },
    Fault {
        name: "a connection that no policy lets in",
        complaint: "connects to mimir.central-observability.svc:8080, and no policy lets it in there",
        make: Make::InManifests(|set| remove(set, "NetworkPolicy", "mimir-from-edge")),
    },
    Fault {
        name: "a setting that the program does not know",
        complaint: "edge-forwarder refuses its configuration",
        make: Make::InManifests(|set| {
            let file = find(set, "ConfigMap", "edge-forwarder")?.pointer_mut("/data/edge.yaml")?;
            let text = format!("{}sporl: {{}}\n", file.as_str()?);
            assign(file, json!(text))
        }),
    },
    Fault {
        name: "a value that no chart knows",
        complaint: "replcas",
        make: Make::InValues { release: "mock-service", setting: "replcas=2" },
    },
    Fault {
        name: "a value of a wrong type",
        complaint: "want integer",
        make: Make::InValues { release: "clickhouse", setting: "replicas=many" },
    },
    Fault {
        name: "values that do not go together",
        complaint: "set keeper.enabled",
        make: Make::InValues { release: "clickhouse", setting: "keeper.enabled=false" },
    },
];

/// Faults that were not seen.
///
/// # Errors
/// A fault cannot be made: what it breaks is not there any more.
pub(crate) fn escaped(root: &Path, tools: &Tools, schemas: &Schemas) -> Result<Vec<String>> {
    let environment = helmfile::Environment::read(root, "production")?;
    let whole = render::environment(root, tools, &environment)?;
    let mut escaped = Vec::new();
    for fault in &FAULTS {
        let complaints = match &fault.make {
            Make::InManifests(make) => {
                let mut set = whole.clone();
                make(&mut set).with_context(|| format!("make the fault \"{}\"", fault.name))?;
                let mut complaints = rules::check(&set, &environment);
                complaints.extend(schemas.validate(tools, &set)?);
                complaints.extend(programs::check(root, &set)?);
                complaints
            }
            Make::InValues { release, setting } => {
                let release = environment.releases.iter().find(|found| found.name == *release);
                let release = release.with_context(|| format!("make the fault \"{}\"", fault.name))?;
                let outcome = render::release_objects(root, tools, release, &[setting]);
                outcome.err().map(|error| format!("{error:#}")).into_iter().collect()
            }
        };
        if !complaints.iter().any(|complaint| complaint.contains(fault.complaint)) {
            escaped.push(format!("{} is not seen; the complaints are {complaints:?}", fault.name));
        }
    }
    eprintln!(
        "charts: {} of {} faults that were made on purpose are seen",
        FAULTS.len() - escaped.len(),
        FAULTS.len()
    );
    Ok(escaped)
}

fn find<'a>(set: &'a mut Set, kind: &str, name: &str) -> Option<&'a mut Value> {
    let object = set.objects.iter_mut().find(|object| object.kind() == kind && object.name() == name)?;
    Some(&mut object.value)
}

fn hub(set: &mut Set) -> Option<&mut Value> {
    find(set, "Deployment", "hub-consumer")
}

fn container(workload: &mut Value) -> Option<&mut Value> {
    workload.pointer_mut("/spec/template/spec/containers/0")
}

fn assign(place: &mut Value, value: Value) -> Option<()> {
    *place = value;
    Some(())
}

fn remove(set: &mut Set, kind: &str, name: &str) -> Option<()> {
    let before = set.objects.len();
    set.objects.retain(|object| object.kind() != kind || object.name() != name);
    (set.objects.len() < before).then_some(())
}
