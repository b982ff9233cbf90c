//! Container logs and the real Kubernetes API: pods are created, relabelled and deleted, and the API goes away.

use std::{
    collections::BTreeMap,
    fs::{self, OpenOptions},
    io::Write as _,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use devstack::{Cache, KubernetesApi, Progress};
use k8s_openapi::api::{
    core::v1::{ConfigMap, Namespace, Pod},
    rbac::v1::{ClusterRole, ClusterRoleBinding},
};
use kube::{
    Api, Client, Config, Resource,
    api::{DeleteParams, Patch, PatchParams, PostParams},
    config::{KubeConfigOptions, Kubeconfig},
};
use opentelemetry_proto::tonic::{
    collector::logs::v1::ExportLogsServiceRequest, common::v1::any_value::Value,
};
use prost::Message as _;
use serde::de::DeserializeOwned;
use serde_json::{json, to_value};
use telemetry_wire::Signal;

use crate::support::{Edge, PATIENCE};

/// The API, and a directory of pod logs as a kubelet lays it out.
struct Node {
    api: KubernetesApi,
    client: Client,
    logs: tempfile::TempDir,
}

/// By the text of a line, the resource attributes that it came with.
type Stored = BTreeMap<String, BTreeMap<String, String>>;

impl Node {
    async fn new() -> Node {
        let up = || KubernetesApi::up(&Cache::from_env(), &Progress::silent()).unwrap();
        let api = tokio::task::spawn_blocking(up).await.unwrap();
        let kubeconfig = Kubeconfig::read_from(api.kubeconfig("admin").unwrap()).unwrap();
        let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
        let client = Client::try_from(config).unwrap();
        let node = Node { api, client, logs: tempfile::tempdir().unwrap() };
        node.allow_the_edge().await;
        node.create::<Namespace>(None, json!({"metadata": {"name": "production"}})).await;
        node
    }

    /// What the chart gives to the edge's service account, and no more.
    async fn allow_the_edge(&self) {
        let rules = json!([
            {"apiGroups": [""], "resources": ["pods"], "verbs": ["list", "watch"]},
            {"apiGroups": [""], "resources": ["namespaces"], "resourceNames": ["kube-system"], "verbs": ["get"]},
            {"apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["kubeadm-config"], "verbs": ["get"]},
        ]);
        let role = json!({"metadata": {"name": "edge"}, "rules": rules});
        let binding = json!({
            "metadata": {"name": "edge"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "edge"},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "edge"}],
        });
        self.create::<ClusterRole>(None, role).await;
        self.create::<ClusterRoleBinding>(None, binding).await;
    }

    async fn create<K>(&self, namespace: Option<&str>, object: serde_json::Value) -> K
    where
        K: Resource<DynamicType = ()> + DeserializeOwned + serde::Serialize + Clone + std::fmt::Debug,
    {
        let api: Api<kube::api::DynamicObject> = {
            let kind = kube::api::ApiResource::erase::<K>(&());
            match namespace {
                Some(namespace) => Api::namespaced_with(self.client.clone(), namespace, &kind),
                None => Api::all_with(self.client.clone(), &kind),
            }
        };
        let mut object = object;
        object["apiVersion"] = json!(K::api_version(&()));
        object["kind"] = json!(K::kind(&()));
        let object = serde_json::from_value(object).unwrap();
        let made = api.create(&PostParams::default(), &object).await.unwrap();
        serde_json::from_value(to_value(made).unwrap()).unwrap()
    }

    fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), "production")
    }

    /// A pod of a Deployment on a node; the path of its container's log.
    async fn pod(&self, name: &str, node: &str, labels: &[(&str, &str)]) -> PathBuf {
        let mut all = BTreeMap::from([("pod-template-hash", "7d4b9c")]);
        all.extend(labels.iter().copied());
        let owner = json!({
            "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": format!("{name}-7d4b9c"), "uid": "r", "controller": true,
        });
        let pod = json!({
            "metadata": {"name": format!("{name}-7d4b9c-x2x"), "labels": all, "ownerReferences": [owner]},
            "spec": {"nodeName": node, "containers": [{"name": "app", "image": "registry.local/menu:1.2"}]},
        });
        let pod: Pod = self.create(Some("production"), pod).await;
        self.log_of(&format!("{name}-7d4b9c-x2x"), &pod.metadata.uid.unwrap())
    }

    fn log_of(&self, pod: &str, uid: &str) -> PathBuf {
        self.logs.path().join(format!("production_{pod}_{uid}")).join("app/0.log")
    }

    fn write(&self, log: &Path, text: &str) {
        fs::create_dir_all(log.parent().unwrap()).unwrap();
        let mut file = OpenOptions::new().create(true).append(true).open(log).unwrap();
        writeln!(file, "2026-01-02T03:04:05.000000006Z stdout F {text}").unwrap();
    }

    /// An edge that reads the pods' logs and watches the API as the user whom the role is for.
    async fn edge(&self, spool: &Path, filelog: &str, kubernetes: &str) -> Edge {
        let kubeconfig = self.api.kubeconfig("edge").unwrap();
        let yaml = format!(
            "spool: {{directory: '{}'}}\nfilelog: {{include: ['{}/*/*/*.log'], {filelog} \
             kubernetes: {{node: node-1, kubeconfig: '{}', {kubernetes}}}}}\n",
            spool.display(),
            self.logs.path().display(),
            kubeconfig.display(),
        );
        Edge::ready(&yaml).await
    }

    async fn stop_api(self: &std::sync::Arc<Node>) {
        let node = std::sync::Arc::clone(self);
        tokio::task::spawn_blocking(move || node.api.stop()).await.unwrap();
    }

    async fn start_api(self: &std::sync::Arc<Node>) {
        let node = std::sync::Arc::clone(self);
        tokio::task::spawn_blocking(move || node.api.start().unwrap()).await.unwrap();
    }
}

async fn stored(edge: &Edge) -> Stored {
    let records = edge.topics.read(&edge.topics.of(Signal::Logs)).await;
    let mut stored = Stored::new();
    for record in records {
        let request = ExportLogsServiceRequest::decode(record.value).unwrap();
        for resource_logs in request.resource_logs {
            let text = |value: Value| match value {
                Value::StringValue(text) => text,
                other => format!("{other:?}"),
            };
            let attributes: BTreeMap<_, _> = resource_logs
                .resource
                .unwrap()
                .attributes
                .into_iter()
                .map(|one| (one.key, text(one.value.unwrap().value.unwrap())))
                .collect();
            for log in resource_logs.scope_logs.into_iter().flat_map(|scope| scope.log_records) {
                let line = text(log.body.unwrap().value.unwrap());
                assert!(stored.insert(line, attributes.clone()).is_none(), "a line came twice");
            }
        }
    }
    stored
}

async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < PATIENCE, "waited for {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn taken(edge: &Edge) -> f64 {
    edge.metric("edge_publisher_acked_items_total", "signal=\"logs\"")
}

fn left_out(edge: &Edge) -> f64 {
    edge.metric("edge_filelog_dropped_records_total", "rule=\"not_selected\"")
}

/// Whether what the API says is up to date, in words.
fn condition(edge: &Edge) -> String {
    let report = edge.runtime.readiness().report();
    report.iter().find(|state| state.name == "kubernetes").unwrap().holding.to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_says_what_the_api_knows_of_its_pod_also_while_the_api_is_away() {
    let node = std::sync::Arc::new(Node::new().await);
    let kubeadm = json!({
        "metadata": {"name": "kubeadm-config"}, "data": {"ClusterConfiguration": "clusterName: west\n"},
    });
    node.create::<ConfigMap>(Some("kube-system"), kubeadm).await;
    let (spool, known) =
        (tempfile::tempdir().unwrap(), node.pod("menu", "node-1", &[("team", "food")]).await);
    let elsewhere = node.pod("cart", "node-2", &[]).await;
    node.write(&known, "one");
    node.write(&elsewhere, "of another node");
    let edge = node.edge(spool.path(), "", "wait: 2s").await;
    until("both lines", || taken(&edge) >= 2.0).await;

    node.stop_api().await;
    until("word that the API is away", || condition(&edge).contains("does not answer")).await;
    assert!(edge.runtime.readiness().is_ready(), "degraded, and no error: {}", condition(&edge));
    node.write(&known, "two");
    node.write(&node.log_of("late-7d4b9c-x2x", "5f5f"), "of a pod that the API cannot tell of");
    until("lines without the API", || taken(&edge) >= 4.0).await;

    node.start_api().await;
    until("the API again", || condition(&edge) == "ok").await;
    let new = node.pod("new", "node-1", &[]).await;
    node.write(&new, "three");
    until("a line of a new pod", || taken(&edge) >= 5.0).await;

    let stored = stored(&edge).await;
    edge.stop().await;
    for line in ["one", "two"] {
        let said = &stored[line];
        for (name, value) in [
            ("k8s.cluster.name", "west"),
            ("k8s.deployment.name", "menu"),
            ("k8s.node.name", "node-1"),
            ("k8s.pod.label.team", "food"),
            ("k8s.pod.name", "menu-7d4b9c-x2x"),
            ("container.image.name", "registry.local/menu"),
            ("service.name", "menu"),
            ("service.version", "1.2"),
        ] {
            assert_eq!(said.get(name).map(String::as_str), Some(value), "{line}: {name}");
        }
        assert!(said.contains_key("k8s.cluster.uid"), "{said:?}");
    }
    assert_eq!(stored["three"]["k8s.deployment.name"], "new");
    for line in ["of another node", "of a pod that the API cannot tell of"] {
        assert_eq!(stored[line]["service.name"], "app", "only the path tells of it");
        assert!(!stored[line].contains_key("k8s.node.name"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_are_selected_by_their_labels_as_these_change() {
    let node = std::sync::Arc::new(Node::new().await);
    let (spool, wanted) =
        (tempfile::tempdir().unwrap(), node.pod("menu", "node-1", &[("team", "food")]).await);
    let unwanted = node.pod("noise", "node-1", &[("team", "food"), ("logs", "off")]).await;
    node.write(&wanted, "wanted 1");
    node.write(&unwanted, "unwanted 1");
    let rules = "include_labels: {team: 'f*'}, exclude_labels: {logs: 'off'}, poll_interval: 100ms, scan_interval: 1s,";
    let edge = node.edge(spool.path(), rules, "").await;
    until("the wanted line", || taken(&edge) >= 1.0).await;

    // The other way round: what was read is left out from here on, what was not begins with its first line.
    let change = |name: &'static str, value: serde_json::Value| {
        let (pods, patch) = (node.pods(), json!({"metadata": {"labels": {"logs": value}}}));
        async move { pods.patch(name, &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap() }
    };
    change("menu-7d4b9c-x2x", json!("off")).await;
    change("noise-7d4b9c-x2x", json!(null)).await;
    until("the line that is wanted now", || taken(&edge) >= 2.0).await;
    node.write(&wanted, "wanted no more");
    until("a line that is left out", || left_out(&edge) >= 1.0).await;
    change("menu-7d4b9c-x2x", json!(null)).await;
    // The watch brings both changes in their order, so the first is known once the second is.
    let marker = node.pod("marker", "node-1", &[("team", "food")]).await;
    node.write(&marker, "marker");
    until("the marker", || taken(&edge) >= 3.0).await;
    node.write(&wanted, "wanted again");
    until("all lines", || taken(&edge) >= 4.0).await;
    node.pods().delete("menu-7d4b9c-x2x", &DeleteParams::default().grace_period(0)).await.unwrap();
    node.write(&wanted, "last words");
    until("the last words of a pod that is gone", || taken(&edge) >= 5.0).await;

    let stored = stored(&edge).await;
    edge.stop().await;
    let lines: Vec<&str> = stored.keys().map(String::as_str).collect();
    assert_eq!(lines, ["last words", "marker", "unwanted 1", "wanted 1", "wanted again"]);
    assert_eq!(stored["last words"]["k8s.deployment.name"], "menu");
}
