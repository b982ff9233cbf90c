//! Whatever a pod names is there: ConfigMaps, Secrets and their keys, accounts; and configuration files can be read.

use std::collections::BTreeSet;

use serde_json::Value;

use super::helmfile::Environment;
use super::manifest::{Object, Pod, Set, list};

/// Kinds of objects that hold files or values by key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Holder {
    ConfigMap,
    Secret,
}

/// One mention of a holder in a pod.
#[derive(Debug)]
struct Mention<'a> {
    holder: Holder,
    name: &'a str,
    keys: Vec<&'a str>,
}

/// All that is named and not there.
pub(crate) fn check(set: &Set, environment: &Environment, problems: &mut Vec<String>) {
    for pod in set.pods() {
        for mention in mentions(pod) {
            is_there(pod, &mention, set, environment, problems);
        }
        if let Some(account) = pod.spec()["serviceAccountName"].as_str()
            && set.get("ServiceAccount", pod.owner.namespace(), account).is_none()
        {
            problems
                .push(format!("{} names the account {account}, which no release makes", pod.owner.title()));
        }
        let claims = list(&pod.owner.value["spec"]["volumeClaimTemplates"]);
        let claims = claims.iter().filter_map(|claim| claim["metadata"]["name"].as_str());
        let volumes = list(&pod.spec()["volumes"]).iter().filter_map(|volume| volume["name"].as_str());
        let volumes: BTreeSet<&str> = claims.chain(volumes).collect();
        for mount in pod.all_containers().flat_map(|container| list(&container["volumeMounts"])) {
            let name = mount["name"].as_str().unwrap_or_default();
            if !volumes.contains(name) {
                problems
                    .push(format!("{} mounts the volume {name}, which it does not have", pod.owner.title()));
            }
        }
    }
    for map in set.of_kind("ConfigMap") {
        can_be_read(map, problems);
    }
}

fn mentions(pod: Pod<'_>) -> Vec<Mention<'_>> {
    let mut all = Vec::new();
    for volume in list(&pod.spec()["volumes"]) {
        let sources = [
            (Holder::ConfigMap, &volume["configMap"], "name"),
            (Holder::Secret, &volume["secret"], "secretName"),
        ];
        for (holder, source, key) in sources {
            let Some(name) = source[key].as_str().filter(|_| source["optional"] != true) else { continue };
            let keys = list(&source["items"]).iter().filter_map(|item| item["key"].as_str()).collect();
            all.push(Mention { holder, name, keys });
        }
    }
    for variable in pod.all_containers().flat_map(|container| list(&container["env"])) {
        let from = &variable["valueFrom"];
        for (holder, reference) in
            [(Holder::Secret, &from["secretKeyRef"]), (Holder::ConfigMap, &from["configMapKeyRef"])]
        {
            if let (Some(name), Some(key)) = (reference["name"].as_str(), reference["key"].as_str()) {
                all.push(Mention { holder, name, keys: vec![key] });
            }
        }
    }
    // One file of a ConfigMap.
    for mount in pod.all_containers().flat_map(|container| list(&container["volumeMounts"])) {
        let volume = list(&pod.spec()["volumes"]).iter().find(|volume| volume["name"] == mount["name"]);
        let name = volume.and_then(|volume| volume["configMap"]["name"].as_str());
        if let (Some(name), Some(key)) = (name, mount["subPath"].as_str()) {
            all.push(Mention { holder: Holder::ConfigMap, name, keys: vec![key] });
        }
    }
    all
}

fn is_there(
    pod: Pod<'_>,
    mention: &Mention<'_>,
    set: &Set,
    environment: &Environment,
    problems: &mut Vec<String>,
) {
    let (owner, namespace) = (pod.owner, pod.owner.namespace());
    let kind = if mention.holder == Holder::Secret { "Secret" } else { "ConfigMap" };
    let known: Option<BTreeSet<&str>> = match set.get(kind, namespace, mention.name) {
        Some(object) => Some(keys(object)),
        None if mention.holder == Holder::Secret => environment
            .external_secrets
            .get(&(namespace.to_owned(), mention.name.to_owned()))
            .map(|keys| keys.iter().map(String::as_str).collect()),
        None => None,
    };
    let Some(known) = known else {
        problems.push(format!(
            "{} names the {kind} {} in {namespace}, which no release makes and externalSecrets does not list",
            owner.title(),
            mention.name
        ));
        return;
    };
    for key in mention.keys.iter().filter(|key| !known.contains(**key)) {
        problems.push(format!(
            "{} wants the key {key} of {kind} {}, which has none such",
            owner.title(),
            mention.name
        ));
    }
}

fn keys(object: &Object) -> BTreeSet<&str> {
    let fields = ["data", "stringData"].into_iter().filter_map(|field| object.value[field].as_object());
    fields.flatten().map(|(key, _)| key.as_str()).collect()
}

/// Files with a known ending are what the ending says.
fn can_be_read(map: &Object, problems: &mut Vec<String>) {
    for (name, text) in map.value["data"].as_object().into_iter().flatten() {
        let Some(text) = text.as_str() else { continue };
        let fault = match name.rsplit('.').next() {
            Some("json") => serde_json::from_str::<Value>(text).err().map(|error| error.to_string()),
            Some("yaml") => serde_saphyr::from_str::<Value>(text).err().map(|error| error.to_string()),
            Some("xml") => unbalanced(text),
            _ => None,
        };
        if let Some(fault) = fault {
            problems.push(format!("{}: {name} cannot be read: {fault}", map.title()));
        }
    }
}

/// The first tag of a configuration in XML that is not closed by its own name.
fn unbalanced(text: &str) -> Option<String> {
    let mut open = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find('<') {
        rest = &rest[at + 1..];
        if let Some(comment) = rest.strip_prefix("!--") {
            let Some(end) = comment.find("-->") else { return Some("a comment does not end".to_owned()) };
            rest = &comment[end + 3..];
            continue;
        }
        let Some(end) = rest.find('>') else { return Some("a tag does not end".to_owned()) };
        let tag = &rest[..end];
        rest = &rest[end + 1..];
        let name = tag.trim_start_matches('/').split([' ', '/']).next().unwrap_or_default();
        if tag.starts_with('/') {
            match open.pop() {
                Some(last) if last == name => {}
                last => return Some(format!("</{name}> closes <{}>", last.unwrap_or("nothing"))),
            }
        } else if !tag.ends_with('/') {
            open.push(name);
        }
    }
    open.pop().map(|name| format!("<{name}> is not closed"))
}
