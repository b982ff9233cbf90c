//! What is said of a log beside its lines: the resource that they come from.

use std::{collections::BTreeMap, path::Path};

use telemetry_wire::pb;

/// Names of the semantic conventions.
const LOG_FILE_PATH: &str = "log.file.path";
const SERVICE_NAME: &str = "service.name";

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
}

/// A container, as its log's path tells: `<pods>/<namespace>_<pod>_<uid>/<container>/<restarts>.log`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Container<'a> {
    namespace: &'a str,
    pod: &'a str,
    uid: &'a str,
    container: &'a str,
    restarts: u32,
}

impl Sources {
    /// `resource` is said of all of them.
    pub(super) fn new(resource: &BTreeMap<String, String>) -> Sources {
        Sources { fixed: resource.clone() }
    }

    /// The encoded `Resource` of a log.
    pub(super) fn resource_of(&self, path: &Path) -> Vec<u8> {
        let mut resource = Vec::new();
        if let Some(container) = Container::of_path(path) {
            container.put(&mut resource, &self.fixed);
        }
        for (name, value) in &self.fixed {
            put_string_attribute(&mut resource, RESOURCE_ATTRIBUTES, name, value);
        }
        resource
    }

    /// The encoded attributes that every record of a log has: its path, unless the resource says as much.
    pub(super) fn attributes_of(&self, path: &Path, attributes: &mut Vec<u8>) {
        attributes.clear();
        if Container::of_path(path).is_none() {
            put_string_attribute(attributes, RECORD_ATTRIBUTES, LOG_FILE_PATH, &path.to_string_lossy());
        }
    }
}

impl<'a> Container<'a> {
    fn of_path(path: &'a Path) -> Option<Container<'a>> {
        let restarts = path.file_name()?.to_str()?.strip_suffix(".log")?.parse().ok()?;
        let container = path.parent()?.file_name()?.to_str()?;
        let mut pod = path.parent()?.parent()?.file_name()?.to_str()?.split('_');
        let (namespace, name, uid) = (pod.next()?, pod.next()?, pod.next()?);
        let is_whole = pod.next().is_none() && ![namespace, name, uid].contains(&"");
        is_whole.then_some(Container { namespace, pod: name, uid, container, restarts })
    }

    /// Its resource attributes, without those that are `given`.
    fn put(&self, resource: &mut Vec<u8>, given: &BTreeMap<String, String>) {
        let told = [
            ("k8s.namespace.name", self.namespace),
            ("k8s.pod.name", self.pod),
            ("k8s.pod.uid", self.uid),
            ("k8s.container.name", self.container),
            // Nothing better is known of the service without the Kubernetes API.
            (SERVICE_NAME, self.container),
        ];
        for (name, value) in told.into_iter().filter(|(name, _)| !given.contains_key(*name)) {
            put_string_attribute(resource, RESOURCE_ATTRIBUTES, name, value);
        }
        let restarts = u64::from(self.restarts);
        let name = "k8s.container.restart_count";
        let value_bytes = 1 + pb::varint_len(restarts);
        let bytes = pb::len_field_size(KEY, name.len()) + pb::len_field_size(VALUE, value_bytes);
        pb::put_len_header(resource, RESOURCE_ATTRIBUTES, bytes);
        pb::put_len_field(resource, KEY, name.as_bytes());
        pb::put_len_header(resource, VALUE, value_bytes);
        pb::put_varint_field(resource, INT_VALUE, restarts);
    }
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

    fn resource(path: &str, given: &[(&str, &str)]) -> Vec<(String, String)> {
        let given = given.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let encoded = Sources::new(&given).resource_of(Path::new(path));
        let attributes = Resource::decode(&*encoded).unwrap().attributes.into_iter();
        let shown = |value| match value {
            Value::StringValue(text) => text,
            Value::IntValue(number) => number.to_string(),
            other => panic!("{other:?}"),
        };
        attributes.map(|one| (one.key, shown(one.value.unwrap().value.unwrap()))).collect()
    }

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn a_pods_log_tells_its_container() {
        let path = "/var/log/pods/production_menu-7d4b9c-x2x_0c1d/app/3.log";
        let told = [
            ("k8s.namespace.name", "production"),
            ("k8s.pod.name", "menu-7d4b9c-x2x"),
            ("k8s.pod.uid", "0c1d"),
            ("k8s.container.name", "app"),
            ("service.name", "app"),
            ("k8s.container.restart_count", "3"),
        ];
        assert_eq!(resource(path, &[]), pairs(&told));
        let given = resource(path, &[("service.name", "menu")]);
        assert_eq!(given.iter().filter(|(name, _)| name == "service.name").count(), 1);
        assert!(given.contains(&("service.name".to_owned(), "menu".to_owned())));
    }

    #[test]
    fn any_other_path_tells_only_itself() {
        for path in [
            "/var/log/app.log",
            "/var/log/pods/a_b/app/0.log",
            "/a_b_c_d/app/0.log",
            "/a_b_c/app/x.log",
            "/a__c/app/0.log",
            "/",
        ] {
            assert_eq!(
                resource(path, &[("host.name", "node-1")]),
                pairs(&[("host.name", "node-1")]),
                "{path}"
            );
        }
    }
}
