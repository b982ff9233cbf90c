//! What the Kubernetes API says of the pods of the own node, kept while it is away.
//!
//! ```text
//!   API ── watch of the own node's pods ──► Pods ◄── asked for every batch, by the uid in the log's path
//! ```
//!
//! A pod that is gone stays known for an hour, since its log is still read. A log whose pod is not known yet waits a little,
//! and then it is read with what its path says: lines are never held back for their attributes.

use std::{
    collections::{HashMap, HashSet},
    path::PathBuf,
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, Instant},
};

mod pod;
mod watch;

pub(super) use pod::Pod;
pub(super) use watch::watch;

/// The attribute that names the cluster.
pub(super) const CLUSTER_NAME: &str = "k8s.cluster.name";

/// How long a pod that is gone is remembered.
const GONE_KEPT: Duration = Duration::from_secs(3600);

/// How the Kubernetes API is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KubernetesConfig {
    /// The own node's name; only its pods are watched.
    pub node: String,
    /// How to reach the API; inside a pod that is known.
    pub kubeconfig: Option<PathBuf>,
    /// The cluster's name, `k8s.cluster.name`.
    pub cluster: Option<String>,
    /// Patterns of the pod labels that become attributes.
    pub labels: Vec<String>,
    /// Whether `app.kubernetes.io/*` labels say a service's name and version.
    pub is_by_well_known_labels: bool,
    /// How long a new pod's log waits for the API to know the pod.
    pub wait: Duration,
}

/// The pods that are known; clones share them.
#[derive(Debug, Clone, Default)]
pub(super) struct Pods(Arc<RwLock<Known>>);

#[derive(Debug, Default)]
struct Known {
    by_uid: HashMap<String, Entry>,
    /// What is the same for all pods of the cluster.
    cluster: Vec<(&'static str, String)>,
}

#[derive(Debug)]
struct Entry {
    pod: Arc<Pod>,
    gone_at: Option<Instant>,
}

impl Pods {
    /// The pod whose logs have this uid in their path.
    pub(super) fn get(&self, uid: &str) -> Option<Arc<Pod>> {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        known.by_uid.get(uid).map(|entry| Arc::clone(&entry.pod))
    }

    /// What is said of the cluster.
    pub(super) fn cluster(&self) -> Vec<(&'static str, String)> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).cluster.clone()
    }

    fn set_cluster(&self, cluster: Vec<(&'static str, String)>) {
        self.with(|known| known.cluster = cluster);
    }

    /// Takes what the API says. True when it may change which logs are read: the pod is new, or its labels are.
    pub(super) fn apply(&self, uid: String, pod: Pod) -> bool {
        self.with(|known| {
            let labels_of = |entry: &Entry| entry.pod.labels != pod.labels;
            let is_news = known.by_uid.get(&uid).is_none_or(labels_of);
            known.by_uid.insert(uid, Entry { pod: Arc::new(pod), gone_at: None });
            is_news
        })
    }

    fn is_gone(&self, uid: &str, now: Instant) {
        self.with(|known| {
            known.by_uid.entry(uid.to_owned()).and_modify(|entry| entry.gone_at = Some(now));
            known.forget(now);
        });
    }

    /// All that are not in a complete list are gone.
    fn are_only(&self, uids: &HashSet<String>, now: Instant) {
        self.with(|known| {
            let others = known.by_uid.iter_mut().filter(|(uid, _)| !uids.contains(*uid));
            others.for_each(|(_, entry)| entry.gone_at = entry.gone_at.or(Some(now)));
            known.forget(now);
        });
    }

    fn with<T>(&self, act: impl FnOnce(&mut Known) -> T) -> T {
        act(&mut self.0.write().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Known {
    fn forget(&mut self, now: Instant) {
        let is_kept = |gone_at: Instant| now.saturating_duration_since(gone_at) < GONE_KEPT;
        self.by_uid.retain(|_, entry| entry.gone_at.is_none_or(is_kept));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(label: &str) -> Pod {
        Pod { labels: [("app".to_owned(), label.to_owned())].into(), ..Pod::default() }
    }

    #[test]
    fn a_pod_that_is_gone_stays_known_for_an_hour() {
        let (pods, start) = (Pods::default(), Instant::now());
        pods.apply("1".to_owned(), pod("menu"));
        pods.apply("2".to_owned(), pod("cart"));
        pods.is_gone("1", start);
        pods.are_only(&HashSet::from(["2".to_owned()]), start + GONE_KEPT / 2);
        assert!(pods.get("1").is_some());
        pods.are_only(&HashSet::from(["2".to_owned()]), start + GONE_KEPT);
        assert!(pods.get("1").is_none(), "kept longer than an hour after it was gone");
        assert!(pods.get("2").is_some());
    }

    #[test]
    fn a_pod_that_is_back_is_not_forgotten() {
        let (pods, start) = (Pods::default(), Instant::now());
        pods.apply("1".to_owned(), pod("menu"));
        pods.are_only(&HashSet::new(), start);
        pods.apply("1".to_owned(), pod("menu"));
        pods.are_only(&HashSet::from(["1".to_owned()]), start + 2 * GONE_KEPT);
        assert!(pods.get("1").is_some());
    }

    #[test]
    fn only_new_pods_and_new_labels_are_news() {
        let pods = Pods::default();
        assert!(pods.apply("1".to_owned(), pod("menu")));
        assert!(!pods.apply("1".to_owned(), pod("menu")));
        assert!(pods.apply("1".to_owned(), pod("cart")));
    }
}
