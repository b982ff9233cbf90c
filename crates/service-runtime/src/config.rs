//! The keys that every binary has: logs, admin server, push of own metrics, worker threads, shutdown.

use std::{net::SocketAddr, num::NonZeroUsize, thread::available_parallelism, time::Duration};

use crate::{Section, log::LogConfig, telemetry::TelemetryConfig};

/// All interfaces, since probes and scrapers come from outside the process's own address.
const ADMIN_LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED), 9464);

/// Shorter than the 30 s that Kubernetes waits before it kills, so that the exit code and the last log lines get out.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(25);

/// A process of this pipeline waits for the network most of the time; more threads cost memory and gain nothing on the machines
/// we measured.
const WORKER_THREADS_CAP: usize = 4;

/// What [`crate::run()`] itself is configured by.
#[derive(Debug, Clone)]
pub struct RuntimeConfig {
    /// Form and level of the logs.
    pub log: LogConfig,
    /// Address of the admin server.
    pub admin_listen: SocketAddr,
    /// Push of the metrics that the admin server serves.
    pub telemetry: TelemetryConfig,
    /// Threads that run the asynchronous tasks.
    pub worker_threads: NonZeroUsize,
    /// Time from the first signal to giving up on what is still in hand.
    pub shutdown_grace: Duration,
}

impl RuntimeConfig {
    /// Reads the sections `log`, `admin`, `telemetry`, `runtime` and `shutdown`.
    pub fn read(root: &mut Section<'_>) -> Self {
        let log = LogConfig::read(&mut root.section("log", "Logs of the process itself, on standard error."));
        let admin_listen = root
            .section("admin", "Health and metrics: `/livez`, `/readyz`, `/metrics`, `/version`.")
            .listener(
                "listen",
                ADMIN_LISTEN,
                "Address and port of the admin server; port 0 takes a free one, told in the log.",
            );
        let telemetry = TelemetryConfig::of(root);
        let worker_threads = root
            .section("runtime", "Resources of the process.")
            .optional(
                "worker_threads",
                "Threads that run the asynchronous tasks; when unset the number of cores, at most 4.",
            )
            .unwrap_or_else(default_worker_threads);
        let shutdown_grace = root.section("shutdown", "End of the process on SIGTERM or SIGINT.").value(
            "grace",
            SHUTDOWN_GRACE,
            "Time to finish accepted work; past it the process leaves with 1 and names what was late.",
        );
        Self { log, admin_listen, telemetry, worker_threads, shutdown_grace }
    }
}

fn default_worker_threads() -> NonZeroUsize {
    let cap = NonZeroUsize::new(WORKER_THREADS_CAP).expect("the cap is not 0");
    available_parallelism().unwrap_or(NonZeroUsize::MIN).min(cap)
}
