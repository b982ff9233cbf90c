//! What one manifest must say, and what it has to do with others. Each rule gives its problems as sentences.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::helmfile::Environment;
use super::manifest::{Object, Pod, Set, includes, labels, list};
use super::{network, references};

/// Labels that every object has.
const LABELS: [&str; 5] = [
    "app.kubernetes.io/name",
    "app.kubernetes.io/instance",
    "app.kubernetes.io/version",
    "app.kubernetes.io/part-of",
    "app.kubernetes.io/managed-by",
];

/// Kinds without a namespace.
const CLUSTER_WIDE: [&str; 3] = ["Namespace", "ClusterRole", "ClusterRoleBinding"];

/// Volumes that Pod Security's `restricted` allows.
const RESTRICTED_VOLUMES: [&str; 7] =
    ["configMap", "csi", "downwardAPI", "emptyDir", "persistentVolumeClaim", "projected", "secret"];

/// All that is wrong with an environment.
pub(crate) fn check(set: &Set, environment: &Environment) -> Vec<String> {
    let mut problems = Vec::new();
    each_is_named_once(set, &mut problems);
    for object in &set.objects {
        is_labelled(object, &mut problems);
    }
    let levels = security_levels(set);
    for pod in set.pods() {
        selects_itself(pod, &mut problems);
        is_secure(pod, &levels, &mut problems);
        has_token_only_for_a_role(pod, set, &mut problems);
        for container in pod.all_containers() {
            has_an_image(pod, container, &mut problems);
            has_limits(pod, container, &mut problems);
        }
        for container in pod.containers() {
            is_probed(pod, container, &mut problems);
        }
        rolls_with_its_configuration(pod, &mut problems);
    }
    for service in set.of_kind("Service") {
        finds_its_pods(service, set, &mut problems);
    }
    for budget in set.of_kind("PodDisruptionBudget") {
        leaves_a_pod_to_drain(budget, set, &mut problems);
    }
    references::check(set, environment, &mut problems);
    network::check(set, environment, &mut problems);
    let mut seen = BTreeSet::new();
    problems.retain(|problem| seen.insert(problem.clone()));
    problems
}

fn each_is_named_once(set: &Set, problems: &mut Vec<String>) {
    let mut seen = BTreeSet::new();
    for object in &set.objects {
        if !seen.insert((object.kind(), object.namespace(), object.name())) {
            problems.push(format!("{} is there twice in namespace {}", object.title(), object.namespace()));
        }
    }
}

fn is_labelled(object: &Object, problems: &mut Vec<String>) {
    let found = labels(&object.value["metadata"]["labels"]);
    for label in LABELS.iter().filter(|label| !found.contains_key(**label)) {
        problems.push(format!("{} lacks the label {label}", object.title()));
    }
    if object.namespace().is_empty() && !CLUSTER_WIDE.contains(&object.kind()) {
        problems.push(format!("{} does not say its namespace", object.title()));
    }
    if let Some(pod) = object.pod() {
        let found = pod.labels();
        for label in LABELS.iter().filter(|label| !found.contains_key(**label)) {
            problems.push(format!("pods of {} lack the label {label}", object.title()));
        }
    }
}

/// What Pod Security enforces, by namespace.
fn security_levels(set: &Set) -> BTreeMap<&str, &str> {
    let levels = set.of_kind("Namespace").filter_map(|namespace| {
        let labels = labels(&namespace.value["metadata"]["labels"]);
        Some((namespace.name(), *labels.get("pod-security.kubernetes.io/enforce")?))
    });
    levels.collect()
}

fn selects_itself(pod: Pod<'_>, problems: &mut Vec<String>) {
    if !pod.owner.is_long_running() {
        return;
    }
    let selector = labels(&pod.owner.value["spec"]["selector"]["matchLabels"]);
    if selector.is_empty() || !includes(&pod.labels(), &selector) {
        problems.push(format!("{} does not select its own pods", pod.owner.title()));
    }
}

fn is_secure(pod: Pod<'_>, levels: &BTreeMap<&str, &str>, problems: &mut Vec<String>) {
    let mut refuse = |what: String| problems.push(format!("{}: {what}", pod.owner.title()));
    let Some(level) = levels.get(pod.owner.namespace()) else {
        refuse(format!("namespace {} is made by no release", pod.owner.namespace()));
        return;
    };
    let spec = pod.spec();
    if spec["securityContext"]["seccompProfile"]["type"] != "RuntimeDefault" {
        refuse("its pods have no seccomp profile".to_owned());
    }
    for flag in ["hostNetwork", "hostPID", "hostIPC"] {
        if spec[flag] == true {
            refuse(format!("its pods use {flag}"));
        }
    }
    for container in pod.all_containers() {
        let name = container["name"].as_str().unwrap_or_default();
        let context = &container["securityContext"];
        if context["allowPrivilegeEscalation"] != false || context["privileged"] == true {
            refuse(format!("container {name} may gain privileges"));
        }
        if !list(&context["capabilities"]["drop"]).iter().any(|capability| capability == "ALL") {
            refuse(format!("container {name} keeps capabilities"));
        }
        if context["readOnlyRootFilesystem"] != true {
            refuse(format!("container {name} may write to its root file system"));
        }
        if *level == "restricted" && !list(&context["capabilities"]["add"]).is_empty() {
            refuse(format!("container {name} adds capabilities in a restricted namespace"));
        }
    }
    if *level != "restricted" {
        return;
    }
    if spec["securityContext"]["runAsNonRoot"] != true {
        refuse("its pods may run as root in a restricted namespace".to_owned());
    }
    for volume in list(&spec["volumes"]) {
        let kinds = volume.as_object().into_iter().flatten().map(|(kind, _)| kind.as_str());
        for kind in kinds.filter(|kind| *kind != "name" && !RESTRICTED_VOLUMES.contains(kind)) {
            refuse(format!("a volume is of kind {kind}, which a restricted namespace refuses"));
        }
    }
}

fn has_token_only_for_a_role(pod: Pod<'_>, set: &Set, problems: &mut Vec<String>) {
    let account = pod.spec()["serviceAccountName"].as_str();
    let bindings = set.of_kind("ClusterRoleBinding").chain(set.of_kind("RoleBinding"));
    let is_bound = bindings.flat_map(|binding| list(&binding.value["subjects"])).any(|subject| {
        subject["name"].as_str() == account && subject["namespace"].as_str() == Some(pod.owner.namespace())
    });
    let has_token = pod.spec()["automountServiceAccountToken"] != false;
    if has_token != is_bound {
        let what = if has_token { "has an API token and no role" } else { "has a role and no API token" };
        problems.push(format!("{} {what}", pod.owner.title()));
    }
}

fn has_an_image(pod: Pod<'_>, container: &Value, problems: &mut Vec<String>) {
    let image = container["image"].as_str().unwrap_or_default();
    let tag = image.rsplit('/').next().and_then(|last| last.split_once(':')).map_or("", |(_, tag)| tag);
    if !image.contains("@sha256:") && (tag.is_empty() || tag == "latest") {
        problems.push(format!("{}: the image `{image}` has no fixed tag", pod.owner.title()));
    }
}

fn has_limits(pod: Pod<'_>, container: &Value, problems: &mut Vec<String>) {
    let resources = &container["resources"];
    let parts = [("requests", "cpu"), ("requests", "memory"), ("limits", "memory")];
    for (what, of) in parts.into_iter().filter(|(what, of)| resources[what][of].is_null()) {
        let name = container["name"].as_str().unwrap_or_default();
        problems.push(format!("{}: container {name} has no {what}.{of}", pod.owner.title()));
    }
}

/// Ports that are named exist, and what serves is asked whether it is ready.
fn is_probed(pod: Pod<'_>, container: &Value, problems: &mut Vec<String>) {
    let name = container["name"].as_str().unwrap_or_default();
    let ports = pod.ports();
    for probe in ["startupProbe", "readinessProbe", "livenessProbe"] {
        for way in ["httpGet", "tcpSocket"] {
            let Some(port) = container[probe][way]["port"].as_str() else { continue };
            if !ports.contains_key(port) {
                problems.push(format!(
                    "{}: {probe} of {name} asks port {port}, which no container has",
                    pod.owner.title()
                ));
            }
        }
    }
    let serves = pod.owner.is_long_running() && !list(&container["ports"]).is_empty();
    if serves && container["readinessProbe"].is_null() {
        problems.push(format!("{}: container {name} serves and has no readinessProbe", pod.owner.title()));
    }
    if !container["livenessProbe"]["tcpSocket"].is_null() {
        problems.push(format!(
            "{}: livenessProbe of {name} asks whether a port is open, which says nothing of progress",
            pod.owner.title()
        ));
    }
}

/// A changed ConfigMap makes new pods, if the template bears its checksum.
fn rolls_with_its_configuration(pod: Pod<'_>, problems: &mut Vec<String>) {
    let reads = list(&pod.spec()["volumes"])
        .iter()
        .any(|volume| !volume["configMap"].is_null() && volume["configMap"]["optional"] != true);
    let is_marked = labels(&pod.template["metadata"]["annotations"]).contains_key("checksum/config");
    if reads && pod.owner.is_long_running() && !is_marked {
        problems.push(format!("pods of {} lack the annotation checksum/config", pod.owner.title()));
    }
}

fn finds_its_pods(service: &Object, set: &Set, problems: &mut Vec<String>) {
    let selector = labels(&service.value["spec"]["selector"]);
    let pods = set.selected(service.namespace(), &selector);
    if pods.is_empty() {
        problems.push(format!("{} selects no pods", service.title()));
    }
    for pod in pods {
        let ports = pod.ports();
        for port in list(&service.value["spec"]["ports"]) {
            let target = &port["targetPort"];
            let is_there = match target.as_str() {
                Some(name) => ports.contains_key(name),
                None => target.as_i64().is_some_and(|number| ports.values().any(|port| *port == number)),
            };
            if !is_there {
                problems.push(format!(
                    "{} leads to port {target}, which {} does not have",
                    service.title(),
                    pod.owner.title()
                ));
            }
        }
    }
}

fn leaves_a_pod_to_drain(budget: &Object, set: &Set, problems: &mut Vec<String>) {
    let selector = labels(&budget.value["spec"]["selector"]["matchLabels"]);
    let pods = set.selected(budget.namespace(), &selector);
    // A workload whose replicas an autoscaler counts says none.
    let replicas: i64 =
        pods.iter().map(|pod| pod.owner.value["spec"]["replicas"].as_i64().unwrap_or(2)).sum();
    if replicas < 2 {
        problems.push(format!(
            "{} covers {replicas} pods: with fewer than two a node cannot be drained",
            budget.title()
        ));
    }
}
