//! Health and metrics on a port, a thread and a runtime of their own, so that they answer while the data path is busy or stuck.
//!
//! | Path | Answer |
//! |---|---|
//! | `/livez` | 200, or 503 naming the loops that have been silent for too long |
//! | `/readyz` | 200 when every condition holds, degraded or not, else 503; the text lists every condition |
//! | `/metrics` | OpenMetrics text |
//! | `/version` | JSON: name, version, commit, rustc |

use std::{fmt::Write as _, io, net::SocketAddr, num::NonZeroUsize, thread::JoinHandle, time::Duration};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use prometheus_client::metrics::info::Info;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::{
    Runtime, Service,
    http_server::{self, HttpServerConfig},
    process_metrics::ProcessMetrics,
    readiness::ConditionState,
    telemetry::{End, Telemetry},
};

/// Content type of what prometheus-client writes.
const OPENMETRICS_TEXT: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Probes and scrapers are few; more than this many at a time are a mistake or an attack.
const MAX_CONNECTIONS: NonZeroUsize = NonZeroUsize::new(64).expect("64 is not 0");

/// A scrape in hand when the process ends has this long.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(1);

/// The commit this was built from, as the build script found it.
const COMMIT: &str = env!("SERVICE_RUNTIME_COMMIT");

/// The compiler, as the build script found it.
const RUSTC: &str = env!("SERVICE_RUNTIME_RUSTC");

/// The listener is bound before the runtime exists, so that a taken port is seen at start.
#[derive(Debug)]
pub(crate) struct AdminListener(std::net::TcpListener);

/// The running server; [`AdminServer::stop`] ends it.
#[derive(Debug)]
pub(crate) struct AdminServer {
    stop: CancellationToken,
    /// Tells the push of own metrics whether there is time for its last one.
    end: oneshot::Sender<End>,
    thread: JoinHandle<()>,
}

#[derive(Debug, Clone)]
struct Admin {
    service: Service,
    runtime: Runtime,
}

impl AdminListener {
    pub(crate) fn bind(address: SocketAddr) -> io::Result<Self> {
        let listener = std::net::TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        Ok(Self(listener))
    }

    pub(crate) fn address(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    /// Starts serving on a new thread, and pushing if there is somewhere to push to.
    pub(crate) fn serve(
        self,
        service: &Service,
        runtime: &Runtime,
        telemetry: Option<Telemetry>,
    ) -> io::Result<AdminServer> {
        register(service, runtime);
        let router = router(service, runtime);
        let executor = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let (end, ended) = oneshot::channel();
        let serve = async {
            match tokio::net::TcpListener::from_std(self.0) {
                Ok(listener) => {
                    http_server::serve(listener, router, &server_config(), stopped).await;
                }
                Err(error) => tracing::error!(%error, "cannot serve the admin port"),
            }
        };
        let push = async {
            if let Some(telemetry) = telemetry {
                telemetry.run(async { ended.await.unwrap_or(End::Cut) }).await;
            }
        };
        let thread = std::thread::Builder::new().name("admin".to_owned());
        let both = async {
            tokio::join!(serve, push);
        };
        let thread = thread.spawn(move || executor.block_on(both))?;
        Ok(AdminServer { stop, end, thread })
    }
}

impl AdminServer {
    pub(crate) fn stop(self, end: End) {
        self.stop.cancel();
        // Nobody hears it when nothing is pushed.
        let _ = self.end.send(end);
        if self.thread.join().is_err() {
            tracing::error!("the admin server panicked");
        }
    }
}

/// The admin endpoints as a router, for a program that serves them itself.
pub fn router(service: &Service, runtime: &Runtime) -> Router {
    Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route("/version", get(version))
        .with_state(Admin { service: *service, runtime: runtime.clone() })
}

/// The commit this was built from, or `unknown`.
pub(crate) fn commit() -> &'static str {
    COMMIT
}

fn register(service: &Service, runtime: &Runtime) {
    runtime.register_metrics(|registry| {
        let labels =
            vec![("name", service.name), ("version", service.version), ("commit", COMMIT), ("rustc", RUSTC)];
        registry.register("build", "What is running", Info::new(labels));
        registry.register_collector(Box::new(ProcessMetrics::new()));
    });
}

fn server_config() -> HttpServerConfig {
    HttpServerConfig {
        max_connections: MAX_CONNECTIONS,
        drain_timeout: DRAIN_TIMEOUT,
        ..HttpServerConfig::default()
    }
}

async fn livez(State(admin): State<Admin>) -> Response {
    let silent = admin.runtime.liveness().silent();
    if silent.is_empty() {
        return (StatusCode::OK, "ok\n").into_response();
    }
    let mut text = String::new();
    for silence in silent {
        let _ = writeln!(text, "{silence}");
    }
    (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
}

async fn readyz(State(admin): State<Admin>) -> Response {
    let conditions = admin.runtime.readiness().report();
    let ready = conditions.iter().all(ConditionState::is_met);
    let mut text = String::from(if ready { "ready\n" } else { "not ready\n" });
    for condition in conditions {
        let _ = writeln!(text, "{}: {}", condition.name, condition.holding);
    }
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, text).into_response()
}

async fn metrics(State(admin): State<Admin>) -> Response {
    match admin.runtime.encode_metrics() {
        Ok(text) => ([(header::CONTENT_TYPE, OPENMETRICS_TEXT)], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "cannot encode the metrics");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

async fn version(State(admin): State<Admin>) -> Response {
    let service = admin.service;
    let answer = serde_json::json!({
        "name": service.name, "version": service.version, "commit": COMMIT, "rustc": RUSTC,
    });
    ([(header::CONTENT_TYPE, "application/json")], answer.to_string()).into_response()
}
