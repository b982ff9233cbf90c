//! What every binary of eventline needs and none should write twice: configuration, logs, shutdown, readiness, the admin
//! server, the push of own metrics, the HTTP server and client shells, TLS settings, backoff.
//!
//! ```text
//!   main.rs ── run(service, args, read, app) ──┬─ settings   file + environment -> your config, or every problem at once
//!                                              ├─ log        one JSON (or text) line per event on stderr
//!                                              ├─ admin      /livez /readyz /metrics /version on a thread of its own
//!                                              ├─ app        your code, given its config and a `Runtime`
//!                                              └─ shutdown   signal -> token -> drain -> exit code
//! ```
//!
//! The crate knows nothing of the telemetry that passes through, of Kafka, ClickHouse or Mimir, and starts no work that a binary
//! did not ask for.

pub mod admin;
pub mod backoff;
mod config;
pub mod error_chain;
pub mod http_client;
pub mod http_server;
pub mod liveness;
pub mod log;
mod process_metrics;
pub mod readiness;
mod run;
mod runtime;
mod secret;
pub mod settings;
pub mod telemetry;
pub mod tls;

pub use config::RuntimeConfig;
pub use readiness::{Condition, Readiness};
pub use run::{EXIT_BAD_CONFIG, RunArgs, Service, command, run, run_once};
pub use runtime::{DrainGuard, Runtime};
pub use secret::Secret;
pub use settings::{Section, Setting, Settings};

// Named in this crate's public signatures, so that users need not depend on the same versions by hand.
pub use prometheus_client;
pub use tokio_util::sync::CancellationToken;
