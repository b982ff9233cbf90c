//! What [`crate::run()`] hands to the app: the shutdown token, readiness, liveness, the metric registry, and the count of work that
//! must be finished before the process may leave.

use std::{
    fmt,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use prometheus_client::registry::Registry;
use tokio::{sync::watch, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use crate::{
    liveness::{Heartbeat, Liveness},
    readiness::{Readiness, ReadinessMetrics},
};

/// Handles of the running process. Clones share them.
#[derive(Clone)]
pub struct Runtime {
    inner: Arc<Inner>,
}

struct Inner {
    shutdown: CancellationToken,
    readiness: Readiness,
    liveness: Liveness,
    /// Locked to register and to scrape, never on the data path.
    registry: Mutex<Registry>,
    /// Names of the work in hand, one entry a guard.
    in_hand: watch::Sender<Vec<&'static str>>,
    task_panicked: AtomicBool,
    admin_address: Option<SocketAddr>,
}

/// Held by work that must end before the process may leave in order. The name is told when it is late.
#[derive(Debug)]
pub struct DrainGuard {
    name: &'static str,
    runtime: Runtime,
}

impl Runtime {
    /// A runtime that no process stands behind, for tests of components: its token is cancelled by nobody but the test.
    pub fn detached() -> Self {
        Self::new(None)
    }

    pub(crate) fn new(admin_address: Option<SocketAddr>) -> Self {
        let readiness = Readiness::new();
        let mut registry = Registry::default();
        registry.register_collector(Box::new(ReadinessMetrics::new(readiness.clone())));
        Self {
            inner: Arc::new(Inner {
                shutdown: CancellationToken::new(),
                readiness,
                liveness: Liveness::new(),
                registry: Mutex::new(registry),
                in_hand: watch::Sender::new(Vec::new()),
                task_panicked: AtomicBool::new(false),
                admin_address,
            }),
        }
    }

    /// Cancelled when the process must stop: on the first signal, when a task panicked, or when the app has returned.
    pub fn shutdown(&self) -> CancellationToken {
        self.inner.shutdown.clone()
    }

    /// The conditions behind `/readyz`.
    pub fn readiness(&self) -> Readiness {
        self.inner.readiness.clone()
    }

    /// The heartbeats behind `/livez`.
    pub fn liveness(&self) -> Liveness {
        self.inner.liveness.clone()
    }

    /// Watches a loop: see [`Liveness::heartbeat`].
    pub fn heartbeat(&self, name: &'static str, bound: std::time::Duration) -> Heartbeat {
        self.inner.liveness.heartbeat(name, bound)
    }

    /// Adds metrics to `/metrics`. Counters are registered without `_total`, which the text format appends.
    pub fn register_metrics<T>(&self, register: impl FnOnce(&mut Registry) -> T) -> T {
        register(&mut self.inner.registry.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The metrics in the OpenMetrics text format.
    pub fn encode_metrics(&self) -> Result<String, fmt::Error> {
        let registry = self.inner.registry.lock().unwrap_or_else(PoisonError::into_inner);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry)?;
        Ok(text)
    }

    /// Where the admin server listens, when there is one.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.inner.admin_address
    }

    /// Keeps the process from leaving until the guard is dropped, within the grace time.
    pub fn guard(&self, name: &'static str) -> DrainGuard {
        self.inner.in_hand.send_modify(|names| names.push(name));
        DrainGuard { name, runtime: self.clone() }
    }

    /// Spawns a task in a span of its name, with a guard. If it panics the process shuts down and leaves with 1.
    pub fn spawn<F>(&self, name: &'static str, task: F) -> JoinHandle<F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        let guard = self.guard(name);
        let task = async move {
            let _guard = guard;
            task.await
        };
        tokio::spawn(task.instrument(tracing::info_span!("task", name)))
    }

    /// Waits until no guard is held.
    pub(crate) async fn drained(&self) {
        let mut changes = self.inner.in_hand.subscribe();
        let _ = changes.wait_for(Vec::is_empty).await;
    }

    /// Names of the guards still held.
    pub(crate) fn in_hand(&self) -> Vec<&'static str> {
        self.inner.in_hand.borrow().clone()
    }

    pub(crate) fn task_panicked(&self) -> bool {
        self.inner.task_panicked.load(Ordering::Acquire)
    }
}

impl fmt::Debug for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runtime").field("in_hand", &self.in_hand()).finish_non_exhaustive()
    }
}

impl Drop for DrainGuard {
    fn drop(&mut self) {
        let inner = &self.runtime.inner;
        if std::thread::panicking() {
            tracing::error!(task = self.name, "task panicked; the process shuts down");
            inner.task_panicked.store(true, Ordering::Release);
            inner.shutdown.cancel();
        }
        inner.in_hand.send_modify(|names| {
            if let Some(index) = names.iter().position(|name| *name == self.name) {
                names.swap_remove(index);
            }
        });
    }
}
