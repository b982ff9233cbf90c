//! Every connection that a configuration names is one that policies allow, on both sides.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::helmfile::Environment;
use super::manifest::{Object, Pod, Set, includes, labels, list};

/// An address in the cluster, as a configuration names it: `service.namespace.svc:port`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Address {
    service: String,
    namespace: String,
    port: i64,
}

/// Every namespace refuses what is not allowed, and every address can be reached.
pub(crate) fn check(set: &Set, environment: &Environment, problems: &mut Vec<String>) {
    if set.of_kind("NetworkPolicy").next().is_none() {
        return;
    }
    for namespace in set.of_kind("Namespace") {
        let policy = set.get("NetworkPolicy", namespace.name(), "default-deny");
        let is_closed = policy.is_some_and(|policy| {
            let spec = &policy.value["spec"];
            labels(&spec["podSelector"]["matchLabels"]).is_empty() && list(&spec["policyTypes"]).len() == 2
        });
        if !is_closed {
            problems.push(format!("namespace {} does not refuse what no policy allows", namespace.name()));
        }
    }
    for pod in set.pods() {
        for address in addresses(pod, set) {
            is_allowed(pod, &address, set, environment, problems);
        }
    }
}

/// What the pod's arguments, variables and configuration files name.
fn addresses(pod: Pod<'_>, set: &Set) -> BTreeSet<Address> {
    let mut found = BTreeSet::new();
    for container in pod.all_containers() {
        let words = ["command", "args"].into_iter().flat_map(|name| list(&container[name]));
        let values = list(&container["env"]).iter().map(|variable| &variable["value"]);
        words.chain(values).filter_map(Value::as_str).for_each(|text| collect(text, &mut found));
    }
    for volume in list(&pod.spec()["volumes"]) {
        let Some(name) = volume["configMap"]["name"].as_str() else { continue };
        let Some(map) = set.get("ConfigMap", pod.owner.namespace(), name) else { continue };
        let files = map.value["data"].as_object().into_iter().flatten();
        files.filter_map(|(_, text)| text.as_str()).for_each(|text| collect(text, &mut found));
    }
    // What others are told to come to is no connection of its own.
    found.retain(|address| !address.service.starts_with('$'));
    found
}

fn collect(text: &str, found: &mut BTreeSet<Address>) {
    for (at, _) in text.match_indices(".svc:") {
        let port: String = text[at + ".svc:".len()..].chars().take_while(char::is_ascii_digit).collect();
        let host = text[..at].rsplit(|c: char| !(c.is_ascii_alphanumeric() || "-.$_".contains(c))).next();
        let Some((service, namespace)) = host.and_then(|host| host.rsplit_once('.')) else { continue };
        if let Ok(port) = port.parse() {
            let (service, namespace) = (service.to_owned(), namespace.to_owned());
            found.insert(Address { service, namespace, port });
        }
    }
}

fn is_allowed(
    pod: Pod<'_>,
    address: &Address,
    set: &Set,
    environment: &Environment,
    problems: &mut Vec<String>,
) {
    let Address { service, namespace, port } = address;
    let title = format!("{} connects to {service}.{namespace}.svc:{port}", pod.owner.title());
    // A pod behind a Service that governs a StatefulSet has a name of its own before the Service's.
    let service = service.rsplit('.').next().unwrap_or_default();
    let target = set.get("Service", namespace, service);
    let is_upstream = environment.releases.iter().any(|release| {
        release.own_chart.is_none() && release.name == service && release.namespace == *namespace
    });
    let (target_labels, port) = match target {
        Some(target) => match behind(target, *port, set) {
            Some((pod, port)) => (Some(pod.labels()), port),
            None => {
                problems.push(format!("{title}, and that Service has no such port"));
                return;
            }
        },
        None if is_upstream => (None, *port),
        None => {
            problems.push(format!("{title}, and no release makes that Service"));
            return;
        }
    };
    let own = pod.labels();
    let source = (pod.owner.namespace(), Some(&own));
    let to = (namespace.as_str(), target_labels.as_ref());
    if !allows(set, "egress", source, to, port) {
        problems.push(format!("{title}, and no policy lets it out to there"));
    }
    if !allows(set, "ingress", to, source, port) {
        problems.push(format!("{title}, and no policy lets it in there"));
    }
}

/// The pod behind a Service, and the number of its port.
fn behind<'a>(service: &'a Object, port: i64, set: &'a Set) -> Option<(Pod<'a>, i64)> {
    let is_headless = service.value["spec"]["clusterIP"] == "None";
    let selector = labels(&service.value["spec"]["selector"]);
    let pod = *set.selected(service.namespace(), &selector).first()?;
    if is_headless && pod.ports().values().any(|number| *number == port) {
        return Some((pod, port));
    }
    let entry = list(&service.value["spec"]["ports"]).iter().find(|entry| entry["port"] == port)?;
    let target = &entry["targetPort"];
    let number = target.as_i64().or_else(|| pod.ports().get(target.as_str()?).copied())?;
    Some((pod, number))
}

type Side<'a> = (&'a str, Option<&'a BTreeMap<&'a str, &'a str>>);

/// Whether a policy of the one side's namespace allows the other side and the port. Labels that are not known match all.
fn allows(set: &Set, direction: &str, one: Side<'_>, other: Side<'_>, port: i64) -> bool {
    let key = if direction == "egress" { "to" } else { "from" };
    let matches = |selector: &Value, labels_of: Option<&BTreeMap<&str, &str>>| {
        let selector = labels(&selector["matchLabels"]);
        labels_of.is_none_or(|labels| includes(labels, &selector))
    };
    set.of_kind("NetworkPolicy").filter(|policy| policy.namespace() == one.0).any(|policy| {
        let spec = &policy.value["spec"];
        matches(&spec["podSelector"], one.1)
            && list(&spec[direction]).iter().any(|rule| {
                let has_port = list(&rule["ports"]).iter().any(|entry| entry["port"] == port);
                let has_peer = list(&rule[key]).iter().any(|peer| {
                    let namespace = labels(&peer["namespaceSelector"]["matchLabels"]);
                    let is_there = namespace.get("kubernetes.io/metadata.name") == Some(&other.0);
                    is_there && matches(&peer["podSelector"], other.1)
                });
                has_port && has_peer
            })
    })
}
