//! Keeps what is known of the own node's pods as the API has it.

use std::{collections::HashSet, time::Instant};

use anyhow::Context as _;
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod as ApiPod};
use kube::{
    Api, Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
    runtime::{
        WatchStreamExt as _,
        watcher::{self, Event, watcher},
    },
};
use serde_saphyr as yaml;
use service_runtime::{CancellationToken, Condition};

use super::{
    CLUSTER_NAME, KubernetesConfig, Pods,
    pod::{LabelRules, Pod},
};
use crate::filelog::select::pattern;

/// Where kubeadm says what the cluster is called.
const KUBE_SYSTEM: &str = "kube-system";
const KUBEADM_CONFIG: &str = "kubeadm-config";

/// The code of an answer that something is too old to go on from.
const EXPIRED: u16 = 410;

/// What watches until it is stopped; `changed` is called when logs may be read that were not, or the other way round.
///
/// # Errors
/// Nothing says where the API is. That it does not answer is none: then `condition` is degraded, and what is known stays.
pub(crate) async fn watch(
    config: &KubernetesConfig,
    pods: Pods,
    condition: Condition,
    changed: impl Fn() + Send + 'static,
    stopped: CancellationToken,
) -> anyhow::Result<impl Future<Output = ()> + Send + 'static> {
    let client = client(config).await?;
    let patterns = config.labels.iter().map(|text| pattern(text).map_err(anyhow::Error::msg));
    let rules = LabelRules {
        attributes: patterns.collect::<anyhow::Result<_>>()?,
        is_by_well_known: config.is_by_well_known_labels,
    };
    let (node, is_named) = (config.node.clone(), config.cluster.is_some());
    condition.degraded("the Kubernetes API was not heard of yet");
    let watching = async move {
        let of_node = watcher::Config::default().fields(&format!("spec.nodeName={node}")).any_semantic();
        let events = watcher(Api::<ApiPod>::all(client.clone()), of_node).default_backoff();
        let mut events = std::pin::pin!(events);
        let (mut listed, mut is_cluster_known) = (HashSet::new(), false);
        while let Some(event) = events.next().await {
            let event = match event {
                Ok(event) => event,
                // It has forgotten what we had last; all is listed again.
                Err(watcher::Error::WatchError(status)) if status.code == EXPIRED => continue,
                Err(error) => {
                    // Its causes are in its text.
                    condition.degraded(format!("the Kubernetes API does not answer: {error}"));
                    continue;
                }
            };
            let is_news = match event {
                Event::Init => {
                    listed.clear();
                    false
                }
                Event::InitApply(pod) => Pod::of(pod, &rules).is_some_and(|(uid, pod)| {
                    listed.insert(uid.clone());
                    pods.apply(uid, pod)
                }),
                Event::InitDone => {
                    pods.are_only(&listed, Instant::now());
                    // What could not be asked is asked again after the next list.
                    if !is_cluster_known {
                        let cluster = ask_for_cluster(&client, is_named).await;
                        is_cluster_known = !cluster.is_empty();
                        pods.set_cluster(cluster);
                    }
                    tracing::info!(pods = listed.len(), "the pods of the node are known");
                    condition.ready();
                    false
                }
                Event::Apply(pod) => Pod::of(pod, &rules).is_some_and(|(uid, pod)| pods.apply(uid, pod)),
                Event::Delete(pod) => {
                    if let Some((uid, _)) = Pod::of(pod, &rules) {
                        pods.is_gone(&uid, Instant::now());
                    }
                    false
                }
            };
            if is_news {
                changed();
            }
        }
    };
    Ok(async move {
        stopped.run_until_cancelled(watching).await;
    })
}

async fn client(config: &KubernetesConfig) -> anyhow::Result<Client> {
    let found = match &config.kubeconfig {
        Some(path) => {
            let kubeconfig = Kubeconfig::read_from(path)
                .with_context(|| format!("read filelog.kubernetes.kubeconfig, {}", path.display()))?;
            Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?
        }
        None => Config::incluster().context(
            "find the Kubernetes API from inside a pod; elsewhere filelog.kubernetes.kubeconfig names it, \
             and without filelog.kubernetes.node it is not asked",
        )?,
    };
    Client::try_from(found).context("make a client of the Kubernetes API")
}

/// What is the same for all pods. What may not be read, or is not there, is not said.
async fn ask_for_cluster(client: &Client, is_named: bool) -> Vec<(&'static str, String)> {
    let system = Api::<Namespace>::all(client.clone()).get(KUBE_SYSTEM).await;
    let uid = system.ok().and_then(|namespace| namespace.metadata.uid).map(|uid| ("k8s.cluster.uid", uid));
    let name = if is_named { None } else { kubeadm_name(client).await };
    uid.into_iter().chain(name.map(|name| (CLUSTER_NAME, name))).collect()
}

async fn kubeadm_name(client: &Client) -> Option<String> {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct ClusterConfiguration {
        cluster_name: Option<String>,
    }
    let maps = Api::<ConfigMap>::namespaced(client.clone(), KUBE_SYSTEM);
    let text = maps.get(KUBEADM_CONFIG).await.ok()?.data?.remove("ClusterConfiguration")?;
    yaml::from_str::<ClusterConfiguration>(&text).ok()?.cluster_name
}
