//! What is said of a log beside its lines: the resource that they come from, and whether it is read.

use std::{borrow::Cow, collections::BTreeMap, path::Path, time::Duration};

use telemetry_wire::pb;

use super::{
    container::Container,
    kubernetes::{CLUSTER_NAME, KubernetesConfig, Pods},
    select::Selection,
};

/// Names of the semantic conventions.
const LOG_FILE_PATH: &str = "log.file.path";

/// Fields of `KeyValue`, `AnyValue`, `Resource`, `LogRecord`.
const KEY: u32 = 1;
const VALUE: u32 = 2;
const STRING_VALUE: u32 = 1;
const INT_VALUE: u32 = 3;
const RESOURCE_ATTRIBUTES: u32 = 1;
const RECORD_ATTRIBUTES: u32 = 6;

/// Where logs come from.
#[derive(Debug)]
pub(super) struct Sources {
    /// Resource attributes of all of them.
    fixed: BTreeMap<String, String>,
    selection: Selection,
    /// What the Kubernetes API says, where it is asked.
    pods: Option<Pods>,
    /// How long a log waits for its pod to be known.
    wait: Duration,
}

/// What is to be done with the lines of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// They become records.
    Take,
    /// Its pod is not known yet.
    Wait,
    /// A rule leaves them out.
    Leave,
}

impl Sources {
    /// `resource` is said of all of them.
    pub(super) fn new(resource: &BTreeMap<String, String>, selection: Selection) -> Sources {
        Sources { fixed: resource.clone(), selection, pods: None, wait: Duration::ZERO }
    }

    /// What the Kubernetes API says is said too.
    pub(super) fn with_pods(mut self, config: &KubernetesConfig, pods: Pods) -> Sources {
        if let Some(name) = &config.cluster {
            self.fixed.entry(CLUSTER_NAME.to_owned()).or_insert_with(|| name.clone());
        }
        self.wait = config.wait;
        self.pods = Some(pods);
        self
    }

    /// What to do with a log that is there for so long.
    pub(super) fn verdict(&self, path: &Path, is_there_for: Duration) -> Verdict {
        let Some(container) = Container::of_path(path) else { return Verdict::Take };
        if !self.selection.selects(&container) {
            return Verdict::Leave;
        }
        let Some(pods) = &self.pods else { return Verdict::Take };
        match pods.get(container.uid) {
            Some(pod) if self.selection.selects_labels(&pod.labels) => Verdict::Take,
            Some(_) => Verdict::Leave,
            None if is_there_for < self.wait => Verdict::Wait,
            // The API is away, or the pod was gone before: rather more than is wanted than less.
            None => Verdict::Take,
        }
    }

    /// The encoded `Resource` of a log.
    pub(super) fn resource_of(&self, path: &Path) -> Vec<u8> {
        let Some(container) = Container::of_path(path) else {
            return encoded(self.fixed.iter().map(|(name, value)| (&**name, &**value)), None);
        };
        let pod = self.pods.as_ref().and_then(|pods| pods.get(container.uid));
        let cluster = self.pods.as_ref().map_or_else(Vec::new, Pods::cluster);
        let mut attributes: BTreeMap<&str, Cow<'_, str>> = BTreeMap::new();
        let instance = format!("{}.{}.{}", container.namespace, container.pod, container.name);
        for (name, value) in [
            ("k8s.namespace.name", container.namespace),
            ("k8s.pod.name", container.pod),
            ("k8s.pod.uid", container.uid),
            ("k8s.container.name", container.name),
            // Nothing better is known of the service without the Kubernetes API.
            ("service.name", container.name),
            ("service.namespace", container.namespace),
            ("service.instance.id", &instance),
        ] {
            attributes.insert(name, value.into());
        }
        for (name, value) in &cluster {
            attributes.insert(name, value.into());
        }
        if let Some(pod) = &pod {
            pod.attributes_of(container.name, &mut |name, value| {
                attributes.insert(name, value.into());
            });
        }
        for (name, value) in &self.fixed {
            attributes.insert(name, value.into());
        }
        encoded(attributes.iter().map(|(name, value)| (*name, &**value)), Some(container.restarts))
    }

    /// The encoded attributes that every record of a log has: its path, unless the resource says as much.
    pub(super) fn attributes_of(&self, path: &Path, attributes: &mut Vec<u8>) {
        attributes.clear();
        if Container::of_path(path).is_none() {
            put_string_attribute(attributes, RECORD_ATTRIBUTES, LOG_FILE_PATH, &path.to_string_lossy());
        }
    }
}

/// A `Resource` with these attributes, and with the container's restarts.
fn encoded<'a>(attributes: impl Iterator<Item = (&'a str, &'a str)>, restarts: Option<u32>) -> Vec<u8> {
    let mut resource = Vec::new();
    for (name, value) in attributes {
        put_string_attribute(&mut resource, RESOURCE_ATTRIBUTES, name, value);
    }
    if let Some(restarts) = restarts.map(u64::from) {
        let name = "k8s.container.restart_count";
        let value_bytes = 1 + pb::varint_len(restarts);
        let bytes = pb::len_field_size(KEY, name.len()) + pb::len_field_size(VALUE, value_bytes);
        pb::put_len_header(&mut resource, RESOURCE_ATTRIBUTES, bytes);
        pb::put_len_field(&mut resource, KEY, name.as_bytes());
        pb::put_len_header(&mut resource, VALUE, value_bytes);
        pb::put_varint_field(&mut resource, INT_VALUE, restarts);
    }
    resource
}

fn put_string_attribute(out: &mut Vec<u8>, field: u32, name: &str, value: &str) {
    let value_bytes = pb::len_field_size(STRING_VALUE, value.len());
    let bytes = pb::len_field_size(KEY, name.len()) + pb::len_field_size(VALUE, value_bytes);
    pb::put_len_header(out, field, bytes);
    pb::put_len_field(out, KEY, name.as_bytes());
    pb::put_len_header(out, VALUE, value_bytes);
    pb::put_len_field(out, STRING_VALUE, value.as_bytes());
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::{common::v1::any_value::Value, resource::v1::Resource};
    use prost::Message as _;

    use super::*;
    use crate::filelog::{kubernetes::Pod, select::SelectionConfig};

    const PATH: &str = "/var/log/pods/production_menu-7d4b9c-x2x_0c1d/app/3.log";

    fn shown(sources: &Sources, path: &str) -> BTreeMap<String, String> {
        let encoded = sources.resource_of(Path::new(path));
        let attributes = Resource::decode(&*encoded).unwrap().attributes.into_iter();
        let shown = |value| match value {
            Value::StringValue(text) => text,
            Value::IntValue(number) => number.to_string(),
            other => panic!("{other:?}"),
        };
        let pairs: Vec<_> =
            attributes.map(|one| (one.key, shown(one.value.unwrap().value.unwrap()))).collect();
        let map: BTreeMap<_, _> = pairs.iter().cloned().collect();
        assert_eq!(map.len(), pairs.len(), "each name once");
        map
    }

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn kubernetes() -> KubernetesConfig {
        KubernetesConfig {
            node: "node-1".to_owned(),
            kubeconfig: None,
            cluster: Some("west".to_owned()),
            labels: Vec::new(),
            is_by_well_known_labels: false,
            wait: Duration::from_secs(5),
        }
    }

    #[test]
    fn a_pods_log_tells_its_container() {
        let told = map(&[
            ("k8s.namespace.name", "production"),
            ("k8s.pod.name", "menu-7d4b9c-x2x"),
            ("k8s.pod.uid", "0c1d"),
            ("k8s.container.name", "app"),
            ("service.name", "app"),
            ("service.namespace", "production"),
            ("service.instance.id", "production.menu-7d4b9c-x2x.app"),
            ("k8s.container.restart_count", "3"),
        ]);
        let sources = |given| Sources::new(&map(given), Selection::default());
        assert_eq!(shown(&sources(&[]), PATH), told);
        assert_eq!(shown(&sources(&[("service.name", "menu")]), PATH)["service.name"], "menu");
    }

    #[test]
    fn any_other_path_tells_only_what_is_said_of_all() {
        let given = map(&[("host.name", "node-1")]);
        assert_eq!(shown(&Sources::new(&given, Selection::default()), "/var/log/app.log"), given);
    }

    #[test]
    fn a_log_waits_for_its_pod_and_is_read_without_it_in_the_end() {
        let pods = Pods::default();
        let only_menu =
            SelectionConfig { include_labels: map(&[("app", "menu")]), ..SelectionConfig::default() };
        let selection = Selection::new(&only_menu).unwrap();
        let sources = Sources::new(&BTreeMap::new(), selection).with_pods(&kubernetes(), pods.clone());
        let verdict = |seconds| sources.verdict(Path::new(PATH), Duration::from_secs(seconds));
        assert_eq!((verdict(0), verdict(5)), (Verdict::Wait, Verdict::Take));
        let labelled = |value| Pod { labels: map(&[("app", value)]), ..Pod::default() };
        pods.apply("0c1d".to_owned(), labelled("cart"));
        assert_eq!((verdict(0), verdict(5)), (Verdict::Leave, Verdict::Leave));
        pods.apply("0c1d".to_owned(), labelled("menu"));
        assert_eq!(verdict(0), Verdict::Take);
        assert_eq!(sources.verdict(Path::new("/var/log/app.log"), Duration::ZERO), Verdict::Take);
        assert_eq!(shown(&sources, PATH)["k8s.cluster.name"], "west");
    }
}
