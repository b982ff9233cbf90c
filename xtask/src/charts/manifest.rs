//! Objects as they were rendered, and how to walk in them.

use std::collections::BTreeMap;

use serde_json::Value;

/// Everything of our own that one environment consists of.
#[derive(Debug, Clone)]
pub(crate) struct Set {
    pub(crate) objects: Vec<Object>,
}

/// One object, and the release that it is of.
#[derive(Debug, Clone)]
pub(crate) struct Object {
    pub(crate) release: String,
    pub(crate) value: Value,
}

/// A template of pods in a workload.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pod<'a> {
    pub(crate) owner: &'a Object,
    /// With `metadata` and `spec`.
    pub(crate) template: &'a Value,
}

impl Object {
    pub(crate) fn kind(&self) -> &str {
        self.value["kind"].as_str().unwrap_or_default()
    }

    pub(crate) fn name(&self) -> &str {
        self.value["metadata"]["name"].as_str().unwrap_or_default()
    }

    pub(crate) fn namespace(&self) -> &str {
        self.value["metadata"]["namespace"].as_str().unwrap_or_default()
    }

    /// For messages: release, kind, name.
    pub(crate) fn title(&self) -> String {
        format!("{}: {} {}", self.release, self.kind(), self.name())
    }

    /// The template of pods that it makes, if it makes any.
    pub(crate) fn pod(&self) -> Option<Pod<'_>> {
        let template = match self.kind() {
            "Deployment" | "DaemonSet" | "StatefulSet" | "Job" => &self.value["spec"]["template"],
            "CronJob" => &self.value["spec"]["jobTemplate"]["spec"]["template"],
            _ => return None,
        };
        Some(Pod { owner: self, template })
    }

    /// Whether its pods are to go on for ever.
    pub(crate) fn is_long_running(&self) -> bool {
        matches!(self.kind(), "Deployment" | "DaemonSet" | "StatefulSet")
    }
}

impl<'a> Pod<'a> {
    pub(crate) fn spec(self) -> &'a Value {
        &self.template["spec"]
    }

    pub(crate) fn labels(self) -> BTreeMap<&'a str, &'a str> {
        labels(&self.template["metadata"]["labels"])
    }

    /// Containers and init containers.
    pub(crate) fn all_containers(self) -> impl Iterator<Item = &'a Value> {
        list(&self.spec()["initContainers"]).iter().chain(self.containers())
    }

    pub(crate) fn containers(self) -> &'a [Value] {
        list(&self.spec()["containers"])
    }

    /// Numbers of its ports by name.
    pub(crate) fn ports(self) -> BTreeMap<&'a str, i64> {
        let ports = self.containers().iter().flat_map(|container| list(&container["ports"]));
        ports.filter_map(|port| Some((port["name"].as_str()?, port["containerPort"].as_i64()?))).collect()
    }
}

impl Set {
    pub(crate) fn pods(&self) -> impl Iterator<Item = Pod<'_>> {
        self.objects.iter().filter_map(Object::pod)
    }

    pub(crate) fn of_kind<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Object> {
        self.objects.iter().filter(move |object| object.kind() == kind)
    }

    pub(crate) fn get(&self, kind: &str, namespace: &str, name: &str) -> Option<&Object> {
        self.objects
            .iter()
            .find(|object| object.kind() == kind && object.namespace() == namespace && object.name() == name)
    }

    /// Pods of a namespace that a selector matches. An empty selector matches none: a Service without one has no pods.
    pub(crate) fn selected<'a>(
        &'a self,
        namespace: &'a str,
        selector: &BTreeMap<&str, &str>,
    ) -> Vec<Pod<'a>> {
        let pods = self.pods().filter(|pod| pod.owner.namespace() == namespace);
        pods.filter(|pod| !selector.is_empty() && includes(&pod.labels(), selector)).collect()
    }
}

/// A mapping of text to text.
pub(crate) fn labels(value: &Value) -> BTreeMap<&str, &str> {
    let entries = value.as_object().into_iter().flatten();
    entries.filter_map(|(key, value)| Some((key.as_str(), value.as_str()?))).collect()
}

/// Whether `all` has everything of `part`.
pub(crate) fn includes(all: &BTreeMap<&str, &str>, part: &BTreeMap<&str, &str>) -> bool {
    part.iter().all(|(key, value)| all.get(key) == Some(value))
}

/// A list, or nothing.
pub(crate) fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}
