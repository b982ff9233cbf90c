//! A pod as the API gives it, made into resource attributes.
//!
//! Names and their order of precedence are those of the semantic conventions, "Specify resource attributes using Kubernetes
//! annotations".

use std::collections::BTreeMap;

use glob::Pattern;
use k8s_openapi::api::core::v1 as api;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;

/// Annotations that are attributes under the rest of their name.
const RESOURCE_ANNOTATIONS: &str = "resource.opentelemetry.io/";

/// The uid in the log path of a pod that the kubelet runs from a file; the API knows it under another one.
const STATIC_POD_UID: &str = "kubernetes.io/config.hash";

/// What a Deployment adds to the names of its ReplicaSets.
const TEMPLATE_HASH: &str = "pod-template-hash";

/// A CronJob adds the minutes since 1970 to the names of its Jobs.
const LEAST_MINUTES_DIGITS: usize = 8;

/// What is said of a pod's records.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Pod {
    pub(crate) labels: BTreeMap<String, String>,
    /// Of all containers.
    pub(crate) attributes: BTreeMap<String, String>,
    /// Such that the pod says itself, by annotations.
    pub(crate) declared: BTreeMap<String, String>,
    /// By container: `container.image.name`, and its tag.
    pub(crate) images: BTreeMap<String, (String, Option<String>)>,
}

/// Which labels say what.
#[derive(Debug, Clone)]
pub(crate) struct LabelRules {
    pub(crate) attributes: Vec<Pattern>,
    pub(crate) is_by_well_known: bool,
}

impl Pod {
    /// The uid in its logs' paths, and what is said of them.
    pub(crate) fn of(pod: api::Pod, rules: &LabelRules) -> Option<(String, Pod)> {
        let metadata = pod.metadata;
        let labels = metadata.labels.unwrap_or_default();
        let annotations = metadata.annotations.unwrap_or_default();
        let uid = annotations.get(STATIC_POD_UID).cloned().or(metadata.uid)?;
        let (spec, status) = (pod.spec.unwrap_or_default(), pod.status.unwrap_or_default());

        let mut attributes = BTreeMap::new();
        let mut say = |name: &str, value: String| attributes.insert(name.to_owned(), value);
        if let Some(node) = spec.node_name {
            say("k8s.node.name", node);
        }
        if let Some(address) = status.pod_ip {
            say("k8s.pod.ip", address);
        }
        if let Some(start) = status.start_time {
            say("k8s.pod.start_time", start.0.to_string());
        }
        let owner = metadata.owner_references.unwrap_or_default();
        let owner = owner.into_iter().find(|owner| owner.controller == Some(true));
        let workload = owner.map_or_else(Vec::new, |owner| workload(owner, &labels));
        let service =
            workload.iter().rev().find(|(name, _)| name.ends_with(".name")).map(|(_, name)| name.clone());
        workload.into_iter().for_each(|(name, value)| drop(say(name, value)));
        let well_known = |label: &str| {
            let value = rules.is_by_well_known.then(|| labels.get(label)).flatten();
            value.filter(|value| !value.is_empty()).cloned()
        };
        let name = well_known("app.kubernetes.io/instance").or_else(|| well_known("app.kubernetes.io/name"));
        if let Some(name) = name.or(service).or(metadata.name) {
            say("service.name", name);
        }
        if let Some(version) = well_known("app.kubernetes.io/version") {
            say("service.version", version);
        }
        for (label, value) in &labels {
            if rules.attributes.iter().any(|pattern| pattern.matches(label)) {
                say(&format!("k8s.pod.label.{label}"), value.clone());
            }
        }
        let declared = annotations.into_iter().filter_map(|(name, value)| {
            Some((name.strip_prefix(RESOURCE_ANNOTATIONS).filter(|name| !name.is_empty())?.to_owned(), value))
        });
        let containers = spec.containers.into_iter().map(|one| (one.name, one.image));
        let initial = spec.init_containers.into_iter().flatten().map(|one| (one.name, one.image));
        let images = containers.chain(initial).filter_map(|(name, image)| Some((name, split_image(&image?))));
        let (declared, images) = (declared.collect(), images.collect());
        Some((uid, Pod { labels, attributes, declared, images }))
    }

    /// Calls `say` for each attribute of a container; a later one of a name counts.
    pub(crate) fn attributes_of<'a>(&'a self, container: &str, say: &mut impl FnMut(&'a str, &'a str)) {
        if let Some((name, tag)) = self.images.get(container) {
            say("container.image.name", name);
            tag.iter().for_each(|tag| say("service.version", tag));
        }
        self.attributes.iter().chain(&self.declared).for_each(|(name, value)| say(name, value));
    }
}

/// The workloads that a pod belongs to, the one that a person made last.
fn workload(owner: OwnerReference, labels: &BTreeMap<String, String>) -> Vec<(&'static str, String)> {
    let OwnerReference { kind, name, uid, .. } = owner;
    match kind.as_str() {
        "ReplicaSet" => {
            let of_deployment =
                labels.get(TEMPLATE_HASH).and_then(|hash| name.strip_suffix(hash)?.strip_suffix('-'));
            let deployment = of_deployment.map(|name| ("k8s.deployment.name", name.to_owned()));
            [("k8s.replicaset.uid", uid), ("k8s.replicaset.name", name.clone())]
                .into_iter()
                .chain(deployment)
                .collect()
        }
        "Job" => {
            let is_minutes = |end: &str| {
                end.len() >= LEAST_MINUTES_DIGITS && end.bytes().all(|byte| byte.is_ascii_digit())
            };
            let of_cron_job = name.rsplit_once('-').filter(|(_, end)| is_minutes(end));
            let cron_job = of_cron_job.map(|(name, _)| ("k8s.cronjob.name", name.to_owned()));
            [("k8s.job.uid", uid), ("k8s.job.name", name.clone())].into_iter().chain(cron_job).collect()
        }
        "StatefulSet" => vec![("k8s.statefulset.uid", uid), ("k8s.statefulset.name", name)],
        "DaemonSet" => vec![("k8s.daemonset.uid", uid), ("k8s.daemonset.name", name)],
        // A pod of a node's own, or of a controller that the conventions have no name for.
        _ => Vec::new(),
    }
}

/// `registry:5000/team/menu:1.2@sha256:…` to its name and tag.
fn split_image(image: &str) -> (String, Option<String>) {
    let image = image.split_once('@').map_or(image, |(image, _)| image);
    match image.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name.to_owned(), Some(tag.to_owned())),
        _ => (image.to_owned(), None),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn attributes(pod: Value, container: &str, is_by_well_known: bool) -> BTreeMap<String, String> {
        let pod: api::Pod = serde_json::from_value(pod).unwrap();
        let rules = LabelRules { attributes: vec![Pattern::new("*").unwrap()], is_by_well_known };
        let (_, pod) = Pod::of(pod, &rules).unwrap();
        let mut said = BTreeMap::new();
        pod.attributes_of(container, &mut |name, value| drop(said.insert(name.to_owned(), value.to_owned())));
        said
    }

    fn owned_by(kind: &str, name: &str) -> Value {
        json!({"metadata": {
            "uid": "u", "name": "p", "labels": {"pod-template-hash": "7d4b9c"},
            "ownerReferences": [{"apiVersion": "v1", "kind": kind, "name": name, "uid": "o", "controller": true}],
        }})
    }

    #[test]
    fn a_deployments_pod_says_all_of_it() {
        let said = attributes(
            json!({
                "metadata": {
                    "uid": "u", "name": "menu-7d4b9c-x2x",
                    "labels": {"pod-template-hash": "7d4b9c", "app.kubernetes.io/name": "menu-label"},
                    "annotations": {"resource.opentelemetry.io/deployment.environment.name": "production", "other": "x"},
                    "ownerReferences": [
                        {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "menu-7d4b9c", "uid": "r", "controller": true},
                    ],
                },
                "spec": {"nodeName": "node-1", "containers": [{"name": "app", "image": "registry:5000/menu:1.2@sha256:00"}]},
                "status": {"podIP": "10.0.0.7", "startTime": "2026-01-02T03:04:05Z"},
            }),
            "app",
            false,
        );
        let expected = [
            ("container.image.name", "registry:5000/menu"),
            ("deployment.environment.name", "production"),
            ("k8s.deployment.name", "menu"),
            ("k8s.node.name", "node-1"),
            ("k8s.pod.ip", "10.0.0.7"),
            ("k8s.pod.label.app.kubernetes.io/name", "menu-label"),
            ("k8s.pod.label.pod-template-hash", "7d4b9c"),
            ("k8s.pod.start_time", "2026-01-02T03:04:05Z"),
            ("k8s.replicaset.name", "menu-7d4b9c"),
            ("k8s.replicaset.uid", "r"),
            ("service.name", "menu"),
            ("service.version", "1.2"),
        ];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(said, BTreeMap::from(expected));
    }

    #[test]
    fn the_service_is_named_in_the_order_of_the_conventions() {
        let name =
            |pod: Value, is_by_well_known| attributes(pod, "app", is_by_well_known)["service.name"].clone();
        let mut pod = owned_by("ReplicaSet", "menu-7d4b9c");
        assert_eq!(name(pod.clone(), true), "menu");
        pod["metadata"]["labels"]["app.kubernetes.io/name"] = json!("by-name");
        assert_eq!(name(pod.clone(), true), "by-name");
        pod["metadata"]["labels"]["app.kubernetes.io/instance"] = json!("by-instance");
        assert_eq!(name(pod.clone(), true), "by-instance");
        assert_eq!(name(pod.clone(), false), "menu", "labels count only when they are asked for");
        pod["metadata"]["annotations"] = json!({"resource.opentelemetry.io/service.name": "declared"});
        assert_eq!(name(pod, true), "declared");
    }

    #[test]
    fn every_kind_of_workload_names_the_service() {
        for (kind, owner, attribute, service) in [
            ("ReplicaSet", "lone", "k8s.replicaset.name", "lone"),
            ("StatefulSet", "db", "k8s.statefulset.name", "db"),
            ("DaemonSet", "agent", "k8s.daemonset.name", "agent"),
            ("Job", "import", "k8s.job.name", "import"),
            ("Job", "import-5", "k8s.job.name", "import-5"),
            ("Job", "backup-29401920", "k8s.cronjob.name", "backup"),
            ("Node", "node-1", "service.name", "p"),
        ] {
            let said = attributes(owned_by(kind, owner), "app", false);
            assert_eq!((&*said[attribute], &*said["service.name"]), (service, service), "{kind} {owner}");
        }
    }

    #[test]
    fn a_static_pod_has_the_uid_that_its_logs_have() {
        let pod = json!({"metadata": {"uid": "api", "name": "etcd", "annotations": {"kubernetes.io/config.hash": "path"}}});
        let rules = LabelRules { attributes: Vec::new(), is_by_well_known: false };
        let (uid, _) = Pod::of(serde_json::from_value(pod).unwrap(), &rules).unwrap();
        assert_eq!(uid, "path");
    }

    #[test]
    fn images_are_split_at_their_tag() {
        let split = |image| split_image(image);
        assert_eq!(split("menu"), ("menu".to_owned(), None));
        assert_eq!(split("menu:1"), ("menu".to_owned(), Some("1".to_owned())));
        assert_eq!(split("host:5000/menu"), ("host:5000/menu".to_owned(), None));
        assert_eq!(split("menu@sha256:00"), ("menu".to_owned(), None));
    }
}
